"""The synthetic cohort's phenotype table, with the gaps of a real one.

Headers are those of a Research Analysis Platform extract (``participant.p21003_i2``); the
reader is not told.
"""

import csv
import io
from datetime import date

import numpy as np

from iliopsoas.phantom.phenotypes import Participant, age_on, participant

ASKED_UNTIL = date(2016, 10, 24)  # handedness and ethnic background (ukb_format.md, section 5)
INSTANCES = (0, 2, 3)
PER_VISIT = (21003, 53, 54, 50, 21002, 21001, 12144, 12143, 1707, 21000, 20201)
HAND_CODES = {"right": "1", "left": "2", "both": "3", None: "-3"}
CENTRE_CODES = {"Cheadle": "11025", "Reading": "11026", "Newcastle": "11027", "Bristol": "11028"}
BASELINE_CENTRES = ("11010", "11011", "11013", "11016", "11017")
OTHERS_FROM = 2_003_171  # indices of people in the table without a zip


def header() -> list[str]:
    """Column names."""
    names = ["participant.eid", "participant.p31"]
    names += [f"participant.p{field}_i{instance}" for field in PER_VISIT for instance in INSTANCES]
    return [*names, "participant.p41270"]


def row(person: Participant, rng: np.random.Generator, scanned: bool = True) -> dict[str, str]:
    """One participant's row; what was not asked or not measured stays blank."""
    cells = {"participant.eid": person.eid}
    cells["participant.p31"] = "1" if person.visits[0].traits.sex == "male" else "0"
    cells["participant.p41270"] = "|".join(person.diagnoses)

    def put(field, instance, value):
        cells[f"participant.p{field}_i{instance}"] = str(value)

    put(21003, 0, age_on(person.birth, person.baseline))
    put(53, 0, person.baseline.isoformat())
    put(54, 0, rng.choice(BASELINE_CENTRES))
    put(50, 0, f"{person.visits[0].traits.height_cm + rng.normal(0.6, 0.5):.1f}")
    put(1707, 0, HAND_CODES[person.handedness])
    put(21000, 0, person.ethnicity)
    for visit in person.visits:
        traits, instance = visit.traits, visit.instance
        put(21003, instance, int(traits.age))
        put(53, instance, visit.day.isoformat())
        put(54, instance, CENTRE_CODES[person.centre])
        put(12144, instance, round(traits.height_cm))
        put(12143, instance, round(traits.weight_kg))
        if rng.random() > 0.04:
            put(50, instance, f"{traits.height_cm:.1f}")
            if rng.random() > 0.04:
                put(21002, instance, f"{traits.weight_kg:.1f}")
                put(21001, instance, f"{traits.bmi:.4f}")
        if visit.day < ASKED_UNTIL:
            put(1707, instance, HAND_CODES[person.handedness])
            put(21000, instance, person.ethnicity)
        if scanned:
            put(20201, instance, f"20201_{instance}_0")
    return cells


def _without_scan(index: int, seed: int, rng) -> dict[str, str]:
    """Someone who has no zip: every third came to imaging, the others never did."""
    person = participant(OTHERS_FROM + index, seed)
    cells = row(person, rng, scanned=False)
    if index % 3:
        for name in list(cells):
            if name.endswith("_i2"):
                del cells[name]
    if index == 4:
        cells["participant.p50_i0"] = "1765"  # millimetres by mistake
    if index == 5:
        cells["participant.p1707_i0"] = "-3"
    return cells


def table(people: list[Participant], seed: int) -> str:
    """The phenotype table as CSV text.

    Parameters
    ----------
    people : list of Participant
        Those with a zip. Half as many others are added who have none, and one row stands twice.
    seed : int
    """
    rows = [row(person, np.random.default_rng([seed, 404, person.index])) for person in people]
    others = max(6, len(people) // 2)
    rows += [
        _without_scan(index, seed, np.random.default_rng([seed, 405, index]))
        for index in range(others)
    ]
    rows.append(rows[len(people) + 1])  # an exact duplicate
    rows.sort(key=lambda cells: cells["participant.eid"])
    text = io.StringIO()
    writer = csv.DictWriter(text, header(), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
