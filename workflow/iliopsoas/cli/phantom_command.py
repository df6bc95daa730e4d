"""``iliopsoas phantom``: synthetic participants."""

from iliopsoas.cli.report import Report
from iliopsoas.phantom import cohort


def run(options) -> Report:
    """Make participants, all but the faulty ones annotated."""
    truth = cohort.make(
        options.output,
        participants=options.number,
        annotated=max(0, options.number - len(options.fault)),
        repeats=0,
        faults=options.fault,
        seed=options.seed,
        processes=options.processes,
    )
    rows = truth.to_dict("records")
    lines = [
        f"{row['eid']}_20201_{row['instance']}_0.zip  left {row['left_ml']:.1f} ml, "
        f"right {row['right_ml']:.1f} ml {row['planted_fault']}".rstrip()
        for row in rows
    ]
    return Report("\n".join([*lines, f"written to {options.output}"]), rows)
