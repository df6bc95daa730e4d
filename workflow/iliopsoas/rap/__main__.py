"""``python -m iliopsoas.rap STEP CONFIG STORE ... -- COMMAND``; profiles/rap/worker.sh calls it."""

import argparse
import sys

from iliopsoas import config, logs
from iliopsoas.logs import log
from iliopsoas.rap.store import Store, StoreError
from iliopsoas.rap.worker import Worker
from iliopsoas.status import InputError


def main(argv) -> int:
    """Run one step of a machine's work; returns the exit status: 1 where something is left."""
    own, command = argv, []
    if "--" in argv:
        place = argv.index("--")
        own, command = argv[:place], argv[place + 1 :]
    parser = argparse.ArgumentParser(prog="worker.sh")
    steps = parser.add_subparsers(dest="step", required=True)
    for name, told in (
        ("cohort", "draw the cohort"),
        ("shards", "work on the K-th of N parts"),
        ("collect", "put the parts together and make the rest"),
    ):
        step = steps.add_parser(name, help=told)
        step.add_argument("config", help="YAML file of the run")
        step.add_argument("store", help="folder of the project, for this run alone")
        step.add_argument("--every", type=float, default=300, metavar="SECONDS",
                          help="between two uploads of a shard in work (300)")  # fmt: skip
        if name == "shards":
            step.add_argument("part", type=int, metavar="K")
            step.add_argument("parts", type=int, metavar="N")
        if name == "collect":
            step.add_argument("targets", nargs="*", default=["all"], help="default: all")
    options = parser.parse_args(own)
    with logs.to_file(None):
        try:
            settings = config.load(options.config)
            worker = Worker(Store(options.store), settings, command, every_s=options.every)
            if options.step == "cohort":
                worker.cohort()
            elif options.step == "collect":
                worker.collect(options.targets)
            elif failed := worker.shards(options.part, options.parts):
                log.error("%d shards are not finished; run this part again", len(failed))
                return 1
        except (InputError, StoreError) as error:
            print(f"worker.sh {options.step}: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
