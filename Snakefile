# So that the commands work here, beside profiles/ and config/: everything is in workflow/Snakefile.


include: "workflow/Snakefile"


# an included file cannot set the default target
workflow.default_target = "all"
