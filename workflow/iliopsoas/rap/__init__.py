"""One machine of many that share no disk and may be taken away: UK Biobank's platform.

`store` keeps archives in a folder of the project, `archives` packs and unpacks results,
`copies` brings zips from the unsteady mount to the machine's disk, `worker` is a machine's work.
docs/rap.md tells how it is used; ``profiles/rap/worker.sh`` starts it.
"""
