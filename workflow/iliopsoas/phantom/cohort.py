"""The synthetic cohort on disk: what a group with UK Biobank's data would have, and the truth.

``zips/``, ``phenotypes.csv``, ``annotations/`` are what real data offer; ``truth.tsv`` and
``truth/`` are what only a synthetic cohort can. Annotations are the exact truth: disagreement
between annotators would only lower the Dice that the network can reach by an amount of our
choosing.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pandas as pd

from iliopsoas import files, grid, machine
from iliopsoas.logs import Progress
from iliopsoas.phantom import acquisition, anatomy, archive, faults, phenotypes, registry
from iliopsoas.status import InputError
from iliopsoas.versions import STAGES

RECORDS = ".made"  # a record per visit: its fingerprint, volumes and files
TRUTH_COLUMNS = ["eid", "instance", "left_ml", "right_ml", "planted_fault"]


def plan(participants: int, annotated: int, repeats: int, faults, seed: int) -> list[dict]:
    """Which visits to make, in order.

    The first participants are annotated, the next ones get a planted fault each, the next ones
    a repeat visit; so a larger cohort leaves the earlier participants as they were. Where too
    few are left for the repeats, annotated participants come twice.

    Returns
    -------
    list of dict
        index, instance, repeat, annotated, fault, seed: the arguments that make a visit.

    Raises
    ------
    InputError
        Fewer participants than annotated and faulty ones, or more repeats than participants.
    """
    planted = list(faults)
    if annotated + len(planted) > participants:
        raise InputError(
            f"phantom: {annotated} annotated participants and {len(planted)} planted faults need "
            f"at least {annotated + len(planted)} participants, found {participants}"
        )
    sound = [*range(annotated + len(planted), participants), *range(annotated)]
    if repeats > len(sound):
        raise InputError(
            f"phantom: {repeats} repeat visits, but only {len(sound)} participants without fault"
        )
    repeated = set(sound[:repeats])
    visits = []
    for index in range(participants):
        position = index - annotated
        fault = planted[position] if 0 <= position < len(planted) else ""
        for instance in (2, 3) if index in repeated else (2,):
            visits.append(
                {
                    "index": index,
                    "instance": instance,
                    "repeat": index in repeated,
                    "annotated": index < annotated and instance == 2,
                    "fault": fault,
                    "seed": seed,
                }
            )
    return visits


@machine.one_thread()
def make_visit(folder, index, instance, repeat, annotated, fault, seed) -> dict:
    """Make one visit's zip and truth; returns its record.

    Parameters
    ----------
    folder : path
        The cohort's folder.
    index, instance, repeat, annotated, fault, seed
        See `plan`.
    """
    folder = Path(folder)
    person = phenotypes.participant(index, seed, repeat)
    visit = next(visit for visit in person.visits if visit.instance == instance)
    name = files.subject_name(person.eid, instance)
    rng = np.random.default_rng([seed, 202, index, instance])
    planted = [fault] if fault else []

    body = anatomy.build(visit.traits)
    stations = acquisition.acquire(body, rng, planted)
    zip_path = folder / "zips" / f"{person.eid}_20201_{instance}_0.zip"
    archive.write_zip(
        zip_path, stations, visit.traits, rng, planted, day=visit.day, birth=person.birth
    )
    truth = grid.las_image(body.iliopsoas, dtype=np.uint8)
    written = [zip_path, folder / "truth" / f"{name}.nii.gz"]
    if annotated:
        written.append(folder / "annotations" / f"{name}.nii.gz")
    for path in written[1:]:
        files.write_nifti(path, truth)
    return {
        "eid": person.eid,
        "instance": str(instance),
        "left_ml": body.volume_ml["left"],
        "right_ml": body.volume_ml["right"],
        "planted_fault": fault,
        "files": {str(path.relative_to(folder)): path.stat().st_size for path in written},
    }


def make(
    folder,
    participants: int = 28,
    annotated: int = 10,
    repeats: int = 2,
    faults=("swapped:4", "missing:3", "missing:6", "truncated"),
    seed: int = 2020,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Make the synthetic cohort, or what is missing of it.

    A visit that is there with the same arguments and the same stage version is kept; what an
    earlier call with other arguments made, and this one does not ask for, is removed.

    Parameters
    ----------
    folder : path
        Gets zips/, phenotypes.csv, truth.tsv, truth/ and annotations/.
    participants, annotated, repeats : int
        Participants with a zip; of these, how many have annotations; how many a repeat visit.
    faults : sequence of str
        One participant each, none of them annotated: see `iliopsoas.phantom.faults` and
        `iliopsoas.phantom.acquisition.acquire`.
    seed : int
        The same seed gives the same bytes, however many processes make them.
    processes : int
        Worker processes; each needs up to 1.2 GB (obese bodies).
    progress : callable, optional
        Called with (done, total) after each visit.

    Returns
    -------
    DataFrame
        truth.tsv: eid, instance, left_ml, right_ml (of the label map), planted_fault.

    Raises
    ------
    InputError
        Numbers that do not fit together, or an unknown fault.
    """
    folder = Path(folder)
    check_faults(faults)
    visits = plan(participants, annotated, repeats, faults, seed)
    made = {str(path): files.read_json(path) for path in (folder / RECORDS).glob("*.json")}
    records, to_make = {}, []
    for visit in visits:
        eid = phenotypes.participant_eid(visit["index"], seed)
        path = folder / RECORDS / f"{files.subject_name(eid, visit['instance'])}.json"
        fingerprint = files.fingerprint("phantom", STAGES["phantom"], visit)
        record = made.pop(str(path), None)
        if record and record["fingerprint"] == fingerprint and _complete(folder, record):
            records[path] = record
        else:
            to_make.append((path, fingerprint, visit))
            if record:
                _remove(folder, path, record)
    for path, record in made.items():
        _remove(folder, Path(path), record)

    done = len(records)
    report = Progress("phantom", len(to_make)) if to_make else None
    for path, fingerprint, record in _run(folder, to_make, processes):
        record = {"fingerprint": fingerprint} | record
        files.write_json(path, record)
        records[path] = record
        done += 1
        report.step("made")
        if progress:
            progress(done, len(visits))

    rows = [{name: record[name] for name in TRUTH_COLUMNS} for record in records.values()]
    truth = pd.DataFrame(rows, columns=TRUTH_COLUMNS).sort_values(["eid", "instance"])
    truth = truth.reset_index(drop=True)
    repeated = {visit["index"] for visit in visits if visit["repeat"]}
    people = phenotypes.draw(participants, seed, repeated)
    files.write_text(folder / "phenotypes.csv", registry.table(people, seed))
    files.write_tsv(folder / "truth.tsv", truth)
    return truth


def check_faults(planted) -> None:
    """Raise InputError for a fault nobody knows, before anything is made."""
    known = {*faults.FAULTS, *faults.ACQUISITION_FAULTS}
    for fault in planted:
        if fault.split(":")[0] not in known:
            raise InputError(f"phantom: unknown fault {fault!r}; known: {', '.join(sorted(known))}")


def _complete(folder: Path, record: dict) -> bool:
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == size
        for name, size in record["files"].items()
    )


def _remove(folder: Path, path: Path, record: dict) -> None:
    for name in record["files"]:
        (folder / name).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _run(folder: Path, to_make: list, processes: int):
    """Yield (path, fingerprint, record) as visits are finished."""
    if processes <= 1 or len(to_make) <= 1:
        for path, fingerprint, visit in to_make:
            yield path, fingerprint, make_visit(folder, **visit)
        return
    # not forked: the parent may hold threads of numerical libraries
    context = multiprocessing.get_context("spawn")
    workers = min(processes, len(to_make))
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        jobs = {
            pool.submit(make_visit, str(folder), **visit): (path, fingerprint)
            for path, fingerprint, visit in to_make
        }
        try:
            for job in as_completed(jobs):
                yield *jobs[job], job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
