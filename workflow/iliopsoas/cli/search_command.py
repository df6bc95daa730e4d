"""``iliopsoas search``: participants' data in a folder, or in what git would take in."""

from iliopsoas.cli.report import Report
from iliopsoas.privacy import Cohort, commit, scan_folder
from iliopsoas.status import InputError


def run(options) -> Report:
    """Search a folder, what is staged, or every tracked file."""
    asked = [options.folder is not None, options.staged, options.tracked]
    if sum(asked) != 1:
        raise InputError("search: expected one of FOLDER, --staged and --tracked")
    if options.folder is None:
        found = commit.search(options.results, everything=options.tracked)
        known = commit.REFUSAL if found else ""
    else:
        if not options.folder.is_dir():
            raise InputError(f"{options.folder}: no such folder")
        cohort = Cohort.read(options.results, options.phenotypes)
        found = scan_folder(options.folder, cohort)
        known = f" ({len(cohort.ids)} ids known)"
    lines = [
        *map(str, found),
        f"{len(found)} findings{known}" if found else f"nothing found{known}",
    ]
    return Report("\n".join(lines), [str(finding) for finding in found], good=not found)
