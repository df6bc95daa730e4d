"""Arguments of all commands; standard library only, so that ``--help`` is quick."""

import argparse
from pathlib import Path

EXIT_CODES = """\
exit codes:
  0    done, or nothing wrong
  1    unexpected error (a bug)
  2    wrong usage
  3    an input was refused, or check found something wrong
  4    the system failed: file not readable or writable, disk full, out of memory
  130  interrupted
"""
MEASURE = """\
examples:
  iliopsoas measure scan.zip -o out      with the package's own starter network
  iliopsoas measure 1234567_20201_2_0.zip -o out --weights model.h5
  iliopsoas measure dicom_folder -o out --weights model.h5 --json
  iliopsoas measure water.nii.gz --fat fat.nii.gz -o out --weights model.h5
  iliopsoas measure scan.zip -o out --annotation mask.nrrd
  iliopsoas measure scan.zip -o out --weights model.h5 \\
      --reference reference.tsv --sex female --age 63 --height 165 --weight 70
  iliopsoas measure scan.zip -o out --vertebrae spine.nii.gz --vertebra-labels totalspineseg
"""
CHECK = """\
examples:
  iliopsoas check                        the installation
  iliopsoas check scan.zip model.h5      each file, its kind told by its content or name
  iliopsoas check phenotypes.tsv --json
  iliopsoas check mask.nii.gz --water water.nii.gz
"""
PHANTOM = """\
examples:
  iliopsoas phantom -o phantom                 one participant
  iliopsoas phantom -o phantom -n 5 --seed 7
  iliopsoas phantom -o phantom -n 3 --fault swapped:4 --fault truncated
"""
SHOW = """\
examples:
  iliopsoas show water.nii.gz -o water.png
  iliopsoas show water.nii.gz --mask iliopsoas.nii.gz -o both.png
  iliopsoas show scan.zip -o scan.png          stitches the scan first
"""
PLAN = """\
examples:
  iliopsoas plan config/mine.yaml --pilot results_of_pilot
  iliopsoas plan config/mine.yaml --pilot results_of_pilot --scans 100000 --json
  iliopsoas plan config/mine.yaml --pilot results_of_pilot --cores 64 --gpus 1 \\
    --core-hour 0.04 --gpu-hour 1.50
"""
EXAMPLE = """\
examples:
  iliopsoas example config/example.yaml -o results/example
  iliopsoas example config/example.yaml -o results/example --download-only
"""
FREEZE = """\
example:
  iliopsoas freeze first --results results
"""
DRIFT = """\
example:
  iliopsoas drift first --results results
"""
SEARCH = """\
examples:
  iliopsoas search results/egress --phenotypes phenotypes.csv
  iliopsoas search --staged              what the next commit would hold (the git hook)
  iliopsoas search --tracked             every file of the repository
"""
PAPER = """\
example:
  iliopsoas paper results/paper
"""
PAGES = """\
example:
  iliopsoas pages                        in a checkout of the workflow
"""


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    top = argparse.ArgumentParser(
        prog="iliopsoas",
        description="Iliopsoas muscle volumes from neck-to-knee Dixon MRI, one scan at a time. "
        "Whole cohorts are the workflow's: see the README.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action=_Version)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _measure(_command(commands, "measure", "one scan to masks and volumes", MEASURE))
    _check(_command(commands, "check", "say what is wrong with a file or the set-up", CHECK))
    _phantom(_command(commands, "phantom", "make synthetic participants", PHANTOM))
    _example(_command(commands, "example", "the public example, fetched and compared", EXAMPLE))
    _show(_command(commands, "show", "a picture for a quick look", SHOW))
    _plan(_command(commands, "plan", "what a cohort will cost, from a pilot", PLAN))
    _tag(_command(commands, "freeze", "keep finished results under a tag", FREEZE))
    _tag(_command(commands, "drift", "compare results with those kept under a tag", DRIFT))
    _search(_command(commands, "search", "participants' data in files that leave", SEARCH))
    _paper(_command(commands, "paper", "the paper's figures from synthetic numbers", PAPER))
    _pages(_command(commands, "pages", "the documentation that is made from the code", PAGES))
    return top


class _Version(argparse.Action):
    def __init__(self, option_strings, dest, **options):
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, parser, *_):
        from importlib.metadata import version

        print(f"iliopsoas {version('iliopsoas')}")
        parser.exit()


def _command(commands, name: str, summary: str, examples: str):
    command = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=examples + "\n" + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(module=f"{name}_command")
    loudness = command.add_mutually_exclusive_group()
    loudness.add_argument("-q", "--quiet", action="store_true", help="no progress")
    loudness.add_argument(
        "-v", "--verbose", action="store_true", help="warnings, and where an error arose"
    )
    command.add_argument("--json", action="store_true", help="result as JSON on standard output")
    return command


def _measure(command):
    command.add_argument(
        "scan", type=Path, metavar="SCAN", help="zip, folder of DICOM files, or water NIfTI"
    )
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="folder of the results"
    )
    command.add_argument("--fat", type=Path, metavar="NIFTI", help="fat image to a water NIfTI")
    command.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="network weights, our own or the published .h5; default: the file that the "
        "environment variable ILIOPSOAS_WEIGHTS names, or `starter`, the package's own network, "
        "which has seen synthetic people only",
    )
    command.add_argument(
        "--annotation",
        type=Path,
        action="append",
        default=[],
        metavar="MASK",
        help="manual mask to compare with (twice: one file per side); without weights it is "
        "measured itself",
    )
    command.add_argument(
        "--height",
        type=_between(100, 250, "centimetres"),
        metavar="CM",
        help="standing height, for the muscle index",
    )
    command.add_argument(
        "--reference",
        type=Path,
        metavar="TSV",
        help="reference.tsv of a cohort's statistics: adds z-scores and centiles; needs --sex, "
        "--age and --height",
    )
    command.add_argument("--sex", choices=("female", "male"), help="for the reference")
    command.add_argument(
        "--age", type=_between(18, 120, "years"), metavar="YEARS", help="for the reference"
    )
    command.add_argument(
        "--weight",
        type=_between(25, 350, "kilograms"),
        metavar="KG",
        help="for the invariant score of the reference",
    )
    command.add_argument(
        "--vertebrae",
        type=Path,
        metavar="MASK",
        help="vertebra mask of another tool, in the space of the stitched images, for the "
        "lumbar levels; needs --vertebra-labels",
    )
    command.add_argument(
        "--vertebra-labels",
        type=_vertebra_labels,
        metavar="L3,L4,L5",
        help="its label values, such as 43,44,45, or a preset: totalsegmentator_vertebrae_mr, "
        "totalspineseg, verse",
    )
    command.add_argument(
        "--threshold",
        type=_share,
        help="probability from which a voxel is muscle (default: what the weights were calibrated "
        "to, 0.5 where they name none)",
    )
    command.add_argument(
        "--normalisation",
        choices=("published", "paper"),
        default="published",
        help="of crops, as in training (default published)",
    )
    command.add_argument(
        "--second-opinion",
        action="store_true",
        help="compare the mask with the starter network's, and predict its Dice and volume error; "
        "the prediction was learned on synthetic people",
    )
    command.add_argument("--keep-images", action="store_true", help="write water, fat and body")
    command.add_argument("--overwrite", action="store_true", help="replace earlier results in OUT")


def _check(command):
    command.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="none: the installation"
    )
    command.add_argument(
        "--kind",
        choices=("scan", "image", "table", "weights", "annotation"),
        help="default: recognised",
    )
    command.add_argument(
        "--water", type=Path, metavar="NIFTI", help="stitched water image of the annotation"
    )


def _phantom(command):
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    command.add_argument(
        "-n", "--number", type=_count, default=1, metavar="N", help="participants (default 1)"
    )
    command.add_argument("--seed", type=int, default=2020, metavar="S", help="(default 2020)")
    command.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME",
        help="plant a fault in one participant; repeat for more",
    )
    command.add_argument("--processes", type=_count, default=1, help="(default 1)")


def _show(command):
    command.add_argument(
        "file", type=Path, metavar="FILE", help="zip, folder of DICOM files, or NIfTI"
    )
    command.add_argument("-o", "--output", type=Path, required=True, metavar="PNG")
    command.add_argument("--mask", type=Path, metavar="NIFTI", help="mask to outline")


def _plan(command):
    command.add_argument(
        "configuration", type=Path, metavar="CONFIG", help="configuration of the large run"
    )
    command.add_argument(
        "--pilot",
        type=Path,
        default=Path("results"),
        metavar="RESULTS",
        help="results of a finished run of a few shards (default results)",
    )
    command.add_argument(
        "--scans",
        type=_count,
        metavar="N",
        help="scans to process (default: counted from the configuration's zips)",
    )
    command.add_argument(
        "--cores", type=_count, default=1, metavar="N", help="cores of the large run (default 1)"
    )
    command.add_argument(
        "--gpus", type=_count_or_zero, default=0, metavar="N", help="its GPUs (default 0)"
    )
    for unit in ("core", "gpu"):
        command.add_argument(
            f"--{unit}-hour",
            type=_between(0, 1e6, "a price"),
            metavar="PRICE",
            help=f"what an hour of a {unit} costs, in any currency",
        )


def _results(command, text: str):
    command.add_argument("--results", type=Path, default=Path("results"), help=text)


def _tag(command):
    command.add_argument("tag", metavar="TAG", help="a letter, then letters, digits, . - _")
    _results(command, "of a finished run (default results)")


def _search(command):
    command.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="all below it")
    command.add_argument("--staged", action="store_true", help="what git would commit")
    command.add_argument("--tracked", action="store_true", help="every file that git tracks")
    command.add_argument(
        "--phenotypes", nargs="*", default=[], metavar="TABLE", help="tables whose ids count too"
    )
    _results(command, "results whose participants count (default results)")


def _paper(command):
    command.add_argument("folder", type=Path, metavar="FOLDER", help="statistics/, figures/")
    command.add_argument("--participants", type=_count, default=5000, help="(default 5000)")
    command.add_argument("--repeats", type=_count, default=250, help="(default 250)")
    command.add_argument("--seed", type=int, default=2020, help="(default 2020)")
    command.add_argument("--paper", type=Path, metavar="TSV", help="the paper's numbers")


def _pages(command):
    command.add_argument(
        "root", nargs="?", type=Path, default=Path("."), metavar="CHECKOUT", help="(default here)"
    )


def _example(command):
    command.add_argument(
        "addresses", type=Path, metavar="CONFIG", help="where the files are: config/example.yaml"
    )
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="folder of the results"
    )
    command.add_argument(
        "--download-only", action="store_true", help="fetch and check the files, no more"
    )


def _count(text: str, least: int = 1) -> int:
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"expected {least} or more, found {text}")
    return value


def _count_or_zero(text: str) -> int:
    return _count(text, 0)


def _between(low: float, high: float, unit: str):
    """A number from low to high."""

    def number(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"expected {unit} from {low:g} to {high:g}, found {text}"
            )
        return value

    return number


def _vertebra_labels(text: str) -> str | tuple[int, ...]:
    """A preset's name, or three label values."""
    if not text[:1].isdigit():
        return text
    values = tuple(_count(part) for part in text.split(","))
    if len(values) != 3 or len(set(values)) != 3:
        raise argparse.ArgumentTypeError(f"expected three different labels, found {text}")
    return values


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1000:
        raise argparse.ArgumentTypeError(f"expected a positive number, found {text}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, found {text}")
    return value
