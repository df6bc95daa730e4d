"""The documentation site, `make docs`: docs/ and pages that lie beside what they describe."""

project = "Iliopsoas volumes from UK Biobank Dixon MRI"
html_title = project
extensions = ["myst_parser"]
html_theme = "furo"

# the source folder is the repository's, so that links between pages work here and on a code host
root_doc = "docs/index"
include_patterns = ["docs/**.md", "config/README.md", "benchmarks/*.md", "CHANGELOG.md"]
exclude_patterns = [".*", "results", "resources", "site", "tests", "workflow", "**/.*"]

myst_heading_anchors = 3
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False


def setup(app):
    """The page of columns ends with the tables' declarations, read when the site is built."""
    from iliopsoas import tables

    def add_tables(app, page, text):
        if page == "docs/columns":
            text[0] += tables.markdown()

    app.connect("source-read", add_tables)
