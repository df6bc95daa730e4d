"""Search a folder for participants: ``python -m iliopsoas.privacy FOLDER [--results results]``."""

import argparse
import sys
from pathlib import Path

from iliopsoas.privacy import Cohort, scan_folder


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m iliopsoas.privacy", description=__doc__)
    parser.add_argument("folder", type=Path, help="everything below it is searched")
    parser.add_argument("--results", default="results", help="results whose participants count")
    parser.add_argument("--phenotypes", nargs="*", default=[], help="tables whose ids count too")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        parser.error(f"{options.folder}: no such folder")
    cohort = Cohort.read(options.results, options.phenotypes)
    found = scan_folder(options.folder, cohort)
    for finding in found:
        print(finding)
    known = f"{len(cohort.ids)} ids known"
    print(f"{len(found)} findings ({known})" if found else f"nothing found ({known})")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
