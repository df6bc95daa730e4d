"""How well quality control finds bad segmentations: recall at 10 % reviewed, calibration.

    python benchmarks/quality.py RESULTS [--truth FOLDER] [--fold N] [--output FILE]

RESULTS is the results folder of a synthetic cohort with its models. Predicted quality learns from
the rows of the run's fold models and judges the final model's masks, as in the workflow; with
`--fold`, from one fold's rows for the masks of that fold's network, which is what its intervals
promise to cover. The cohort that is judged are the participants without annotation and without
planted fault: their water and fat images after Dixon processing, and their landmarks.

Each is segmented several times: sound, with the crop a little elsewhere and half of the time
mirrored, and once or more with each planted fault. Faults are planted in the stitched images and
the landmarks, not in the crops, by other code than the one that predicted quality learns from.
Cohorts are drawn from these: 5 % with a fault, the rest sound; each goes through the flags and the
review page's order as `snakemake qc` does. Truth is used for nothing but the score.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import nibabel as nib
import numpy as np
import pandas as pd

from iliopsoas import files, grid
from iliopsoas import landmarks as joints
from iliopsoas.crops import crop
from iliopsoas.masks import volumes
from iliopsoas.masks.overlap import dice
from iliopsoas.network import segmentation
from iliopsoas.phantom.acquisition import FIRST_SLICE_MM, GEOMETRY
from iliopsoas.qc import evidence, quality
from iliopsoas.qc.judge import judge
from iliopsoas.status import Refused
from iliopsoas.versions import IMAGE_STAGES

PLANTED = 0.05  # share of a cohort with a planted fault
REVIEWED = 0.10  # share of a cohort that people look at
SOUND = "sound"


# --- faults, planted in (water, fat, landmarks) ---------------------------------------------------


def _station(rng) -> slice:
    """Levels of one of the stations that the muscle lies in."""
    number = int(rng.choice([3, 4, 5]))
    low = (FIRST_SLICE_MM[number] - grid.ORIGIN_RAS_MM[2]) / grid.SLICE_MM
    size = GEOMETRY[number].slices * GEOMETRY[number].thickness_mm / grid.SLICE_MM
    return slice(max(round(low), 0), round(low + size))


def _moved(landmarks, x=0, z=0):
    return {key: (p[0] + x, p[1], p[2] + z) for key, p in landmarks.items()}


def wrong_crop(water, fat, landmarks, rng):
    """Landmarks in the wrong place, all by the same: 10 to 35 voxels sideways or 15 to 70 along."""
    sign = int(rng.choice([-1, 1]))
    if rng.random() < 0.5:
        return water, fat, _moved(landmarks, x=sign * int(rng.integers(10, 36)))
    return water, fat, _moved(landmarks, z=sign * int(rng.integers(15, 71)))


def swap_left_in(water, fat, landmarks, rng):
    """A whole station whose water and fat are exchanged."""
    part = _station(rng)
    water, fat = water.copy(), fat.copy()
    water[..., part], fat[..., part] = fat[..., part].copy(), water[..., part].copy()
    return water, fat, landmarks


def blurred(water, fat, landmarks, rng):
    """Motion: the mean of 3 to 6 positions up to 3 to 12 voxels apart, front to back.

    Their middle is where the truth is: a body that is elsewhere as a whole is no failure.
    """
    reach = int(rng.integers(3, 13))
    shifts = rng.integers(-reach, reach + 1, int(rng.integers(3, 7)))
    shifts = shifts - round(shifts.mean())

    def moved(image):
        return np.mean([np.roll(image, int(shift), axis=1) for shift in shifts], axis=0)

    return moved(water), moved(fat), landmarks


def noisy(water, fat, landmarks, rng):
    """Rician noise of 0.15 to 0.8 of the muscle's usual signal, in both images."""
    sigma = rng.uniform(0.15, 0.8) * float(np.percentile(water[water > 0], 75))

    def with_noise(image):
        real, imaginary = (rng.normal(0, sigma, image.shape).astype(np.float32) for _ in range(2))
        return np.hypot(image + real, imaginary)

    return with_noise(water), with_noise(fat), landmarks


def cut_muscle(water, fat, landmarks, rng):
    """No signal on 25 to 80 levels between the lower hip and 190 levels above."""
    height = int(rng.integers(25, 81))
    low = int(landmarks["11"][2]) - 20 + int(rng.integers(0, 150))
    water, fat = water.copy(), fat.copy()
    water[..., low : low + height] = fat[..., low : low + height] = 0
    return water, fat, landmarks


FAULTS = {f.__name__: f for f in (wrong_crop, swap_left_in, blurred, noisy, cut_muscle)}


# --- segmentations whose truth is known -----------------------------------------------------------


def _mirrored(water, fat, body, truth, landmarks):
    """The body's mirror image: left becomes right."""
    last = water.shape[0] - 1
    turned = {key: (last - p[0], p[1], p[2]) for key, p in landmarks.items()}
    pairs = {"1": "2", "2": "1", "11": "12", "12": "11", "21": "22", "22": "21"}
    turned = {pairs[key]: point for key, point in turned.items()}
    truth = np.choose(truth[::-1], [0, grid.RIGHT, grid.LEFT]).astype(np.uint8)
    return water[::-1], fat[::-1], body[::-1], truth, turned


def segmented(segmenter, normalisation, water, fat, body, landmarks, truth, affine) -> dict:
    """One row: what the stages segment and volumes record, and the true Dice and volumes."""
    row = {"refused": "", "dice": 0.0}
    for side, label in grid.SIDES.items():
        row |= {f"true_{side}_ml": int((truth == label).sum()) * grid.VOXEL_ML}
        row |= {f"{side}_dice": 0.0}
    try:
        joints.assess(landmarks, grid.las_image(body))
        cut = {side: crop(water, landmarks, side, normalisation) for side in grid.SIDES}
        subject = segmentation.Subject(cut, landmarks, water.shape)
        found = segmentation.segment_subject(segmenter, subject)
    except Refused as refused:
        return row | {"refused": str(refused.verdict)}
    for side, label in grid.SIDES.items():
        row[f"{side}_dice"] = dice(found.mask == label, truth == label)
    row["dice"] = min(row[f"{side}_dice"] for side in grid.SIDES)
    row |= {f"segment.{key}": value for key, value in found.record.items()}
    record = volumes.measure(found.mask, affine, water, fat)
    record |= evidence.gather(found.mask, affine, water, body, landmarks)
    return row | {f"volumes.{key}": value for key, value in record.items()}


def of_person(folder, truth, segmenter, normalisation, name, sound, planted, seed) -> list[dict]:
    """Rows of one participant: `sound` variants, and `planted` of each fault."""
    water_image = nib.load(folder / "water.nii.gz")
    images = [np.asanyarray(nib.load(folder / f"{n}.nii.gz").dataobj) for n in ("fat", "body")]
    water, fat = (np.asarray(i, np.float32) for i in (water_image.dataobj, images[0]))
    body = images[1]
    found = {key: tuple(point) for key, point in files.read_json(folder / "landmarks.json").items()}
    label_map = np.asanyarray(nib.load(truth).dataobj)
    affine = water_image.affine
    rows = []
    plan = [(SOUND, number) for number in range(sound)]
    plan += [(fault, number) for fault in FAULTS for number in range(planted)]
    for kind, number in plan:
        rng = np.random.default_rng(
            [seed, int(name.split("_")[0]), [SOUND, *FAULTS].index(kind), number]
        )
        case = (water, fat, body, label_map, found)
        if rng.random() < 0.5 and (kind, number) != (SOUND, 0):
            case = _mirrored(*case)
        w, f, b, t, points = case
        if (kind, number) != (SOUND, 0):  # the first is the workflow's own
            points = _moved(points, *np.rint(rng.normal(0, 1.5, 2)).astype(int).tolist())
        if kind != SOUND:
            w, f, points = FAULTS[kind](w, f, points, rng)
        row = {"person": name, "kind": kind, "number": number}
        rows.append(row | segmented(segmenter, normalisation, w, f, b, points, t, affine))
    return rows


# --- learning and judging -------------------------------------------------------------------------


def learned_rows(results, fold) -> pd.DataFrame:
    """What predicted quality learns from."""
    paths = sorted((results / "model").glob(f"fold-{fold or '*'}/quality.tsv"))
    return pd.concat([files.read_tsv(path) for path in paths], ignore_index=True)


def cohort_of(drawn, sample, ledgers):
    """Tables of a cohort as the workflow has them, from drawn segmentations."""
    eids = [str(1000000 + i) for i in range(len(drawn))]
    keyed = drawn.reset_index(drop=True).assign(eid=eids, instance="2")
    body = sample.set_index("name").loc[keyed["person"]].reset_index(drop=True)
    body = body.assign(eid=eids, instance="2")
    tables = {}
    for stage, ledger in ledgers.items():
        table = ledger.set_index("name").loc[keyed["person"]].reset_index(drop=True)
        tables[stage] = table.assign(eid=eids, instance="2")
    for stage in ("segment", "volumes"):
        columns = [name for name in keyed if name.startswith(f"{stage}.")]
        table = keyed[columns].rename(columns=lambda name: name.split(".", 1)[1])
        verdict = keyed["refused"].where(keyed["refused"] != "", "ok")
        tables[stage] = table.assign(
            eid=eids, instance="2", verdict=verdict, message="", fingerprint="f"
        )
    tables["crops"] = tables["segment"][["eid", "instance"]].assign(
        verdict="ok", message="", fingerprint="f"
    )
    return keyed, body, {stage: tables[stage] for stage in IMAGE_STAGES}


def judged(pool, sample, ledgers, model, size, seed):
    """One drawn cohort: a row per participant with truth, both orders, and the sides' intervals."""
    rng = np.random.default_rng([seed, 99])
    faulty = rng.random(size) < PLANTED
    sound_rows, fault_rows = pool[pool["kind"] == SOUND], pool[pool["kind"] != SOUND]
    # every kind of fault is as likely as any other
    kinds = rng.choice(list(FAULTS), size)
    drawn = []
    for is_faulty, kind in zip(faulty, kinds, strict=True):
        of = fault_rows[fault_rows["kind"] == kind] if is_faulty else sound_rows
        drawn.append(of.iloc[int(rng.integers(len(of)))])
    keyed, body, tables = cohort_of(pd.DataFrame(drawn), sample, ledgers)
    table = volumes.table(body, tables)
    found = judge(body, table, tables, None, None, model)
    people = keyed[["eid", "kind", "refused", "dice", "person"]].copy()
    worst = found.quality.groupby("eid")["predicted_dice"].min()
    people["predicted"] = people["eid"].map(worst)
    empty = table.set_index("eid")[["left_ml", "right_ml"]].isna().any(axis=1)
    people.loc[people["eid"].map(empty), "predicted"] = 0.0  # nothing found on a side
    order = found.verdicts.reset_index(drop=True)
    people["place"] = people["eid"].map(dict(zip(order["eid"], order.index, strict=True)))
    sides = found.quality.merge(keyed, on="eid", suffixes=("", "_of"))
    sides["true_ml"] = np.where(
        sides["side"] == "left", sides["true_left_ml"], sides["true_right_ml"]
    )
    sides["true_dice"] = np.where(sides["side"] == "left", sides["left_dice"], sides["right_dice"])
    measured = table.set_index("eid")
    automatic = [
        measured.loc[e, f"{s}_ml"] for e, s in zip(sides["eid"], sides["side"], strict=True)
    ]
    sides["error"] = np.array(automatic, float) - sides["true_ml"]
    sides["inside"] = sides["error"].between(sides["error_low_ml"], sides["error_high_ml"])
    sides["width"] = sides["error_high_ml"] - sides["error_low_ml"]
    return people, sides


def make_pool(results, truth, people, segmenter, normalisation, options, folder) -> pd.DataFrame:
    """Every segmentation with its truth; a participant that is there already is not redone."""
    start, made, parts = time.time(), 0, []
    for number, name in enumerate(people):
        path = folder / f"{number:04d}.tsv"
        if not path.exists():
            eid, instance = name.split("_")
            rows = of_person(
                files.subject_folder(results, eid, instance),
                Path(truth) / f"{name}.nii.gz",
                segmenter,
                normalisation,
                name,
                options.sound,
                options.planted,
                options.seed,
            )
            files.write_tsv(path, pd.DataFrame(rows))
            made += 1
            each = (time.time() - start) / made
            print(f"{number + 1} of {len(people)} participants, {each:.0f} s each", flush=True)
        part = files.read_tsv(path)
        parts.append(part.assign(refused=part["refused"].astype(object).fillna("")))
    return pd.concat(parts, ignore_index=True)


def score(cohorts, sides) -> list[str]:
    """The report, in Markdown."""
    people = pd.concat(cohorts, ignore_index=True)
    lines, failed = [], people[(people["refused"] == "") & (people["dice"] < quality.FAILED_DICE)]
    lines += [
        "",
        "| order | failed | found among the reviewed | recall, % | least of a cohort, % |",
    ]
    lines += ["| --- | --- | --- | --- | --- |"]
    for title, column, ascending in (
        ("predicted Dice alone", "predicted", True),
        ("the review page's (flags and predicted Dice)", "place", True),
    ):
        total = found = 0
        shares = []
        for cohort in cohorts:
            judged_ones = cohort[cohort["refused"] == ""]
            reviewed = judged_ones.sort_values(column, ascending=ascending, kind="stable")
            reviewed = reviewed.head(int(REVIEWED * len(cohort)))
            bad = int((judged_ones["dice"] < quality.FAILED_DICE).sum())
            here = int((reviewed["dice"] < quality.FAILED_DICE).sum())
            total, found = total + bad, found + here
            shares.append(here / bad if bad else 1.0)
        lines.append(
            f"| {title} | {total} | {found} | {100 * found / max(total, 1):.1f} "
            f"| {100 * min(shares):.1f} |"
        )
    lines += ["", "| kind | drawn | refused | failed | found, predicted Dice | found, page |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    marked = []
    for cohort in cohorts:
        size = int(REVIEWED * len(cohort))
        rank = cohort["predicted"].where(cohort["refused"] == "").rank(method="first")
        marked.append(cohort.assign(by_dice=rank <= size, by_page=cohort["place"] < size))
    marked = pd.concat(marked)
    for kind in (SOUND, *FAULTS):
        part = marked[marked["kind"] == kind]
        bad = part[(part["refused"] == "") & (part["dice"] < quality.FAILED_DICE)]
        lines.append(
            f"| {kind} | {len(part)} | {(part['refused'] != '').sum()} | {len(bad)} "
            f"| {bad['by_dice'].sum()} | {bad['by_page'].sum()} |"
        )
    every = pd.concat(sides, ignore_index=True)
    lines += ["", "| muscles | n | interval covers, % | median width, ml | Dice: mean error |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    groups = {"all": every, "sound": every[every["kind"] == SOUND]}
    groups |= {"with a planted fault": every[every["kind"] != SOUND]}
    groups |= {"Dice below 0.8": every[every["true_dice"] < quality.FAILED_DICE]}
    for title, part in groups.items():
        error = (part["predicted_dice"] - part["true_dice"]).abs().mean()
        lines.append(
            f"| {title} | {len(part)} | {100 * part['inside'].mean():.1f} "
            f"| {part['width'].median():.0f} | {error:.3f} |"
        )
    lines += ["", f"Failed segmentations in all cohorts: {len(failed)}."]
    return lines


def out_of_fold(rows) -> list[str]:
    """What predicted quality says of the crops it learned from, each by forests that did not."""
    rows = rows.assign(fault=rows["fault"].fillna("").replace("", "as they are"))
    error = rows["automatic_ml"] - rows["manual_ml"]
    rows = rows.assign(
        error=error.abs(),
        inside=error.between(rows["error_low_ml"], rows["error_high_ml"]),
        width=rows["error_high_ml"] - rows["error_low_ml"],
        failed=rows["dice"] < quality.FAILED_DICE,
    )
    lines = [
        "| crops | n | mean Dice | Dice below 0.8, % | error, median ml | interval covers, % |"
    ]
    lines[0] += " median width, ml |"
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for title, part in [*rows.groupby("fault"), ("all", rows)]:
        lines.append(
            f"| {title} | {len(part)} | {part['dice'].mean():.3f} "
            f"| {100 * part['failed'].mean():.0f} | {part['error'].median():.0f} "
            f"| {100 * part['inside'].mean():.1f} | {part['width'].median():.0f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--truth", type=Path, default=Path("resources/phantom/truth"))
    parser.add_argument("--fold", type=int, help="this fold's network, not the final one")
    parser.add_argument("--normalisation", default="published")
    parser.add_argument("--sound", type=int, default=4, help="sound variants of a participant")
    parser.add_argument("--planted", type=int, default=2, help="variants with each fault")
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--size", type=int, default=1000, help="participants of a drawn cohort")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    results = options.results
    model = results / "model" / (f"fold-{options.fold}" if options.fold else "final") / "model.h5"
    segmenter = segmentation.Segmenter.load([model])

    sample = files.read_tsv(results / "cohort/sample.tsv")
    sample["name"] = sample["eid"] + "_" + sample["instance"]
    ledgers = {}
    for stage in ("dixon", "landmarks"):
        paths = sorted(results.glob(f"shards/*/{stage}.tsv"))
        table = pd.concat([files.read_tsv(path) for path in paths], ignore_index=True)
        ledgers[stage] = table.assign(name=table["eid"] + "_" + table["instance"])
    faults = files.read_tsv(options.truth.parent / "truth.tsv")
    faulty = faults[faults["planted_fault"].notna()]
    found = ledgers["landmarks"]
    people = sample[sample["annotated"].astype(str) != "True"]["name"]
    people = people[~people.isin(faulty["eid"] + "_" + faulty["instance"])]
    people = sorted(people[people.isin(found.loc[found["verdict"] == "ok", "name"])])

    made_by = files.fingerprint(
        files.sha256(model), options.sound, options.planted, options.seed, people
    )
    folder = results / "quality_benchmark" / made_by
    folder.mkdir(parents=True, exist_ok=True)
    pool = make_pool(
        results, options.truth, people, segmenter, options.normalisation, options, folder
    )
    rows = learned_rows(results, options.fold)
    quality_model = quality.fit(rows)
    cohorts, sides = [], []
    for number in range(options.cohorts):
        seed = options.seed + number
        cohort, part = judged(pool, sample, ledgers, quality_model, options.size, seed)
        cohorts.append(cohort)
        sides.append(part)
    segmented_ones = pool[pool["refused"] == ""]
    bad = segmented_ones["dice"] < quality.FAILED_DICE
    lines = [
        f"{len(people)} bodies; {len(segmented_ones)} segmentations "
        f"({int((pool['kind'] == SOUND).sum())} sound, the rest with a planted fault; "
        f"{len(pool) - len(segmented_ones)} more were refused), of which {int(bad.sum())} have a "
        f"side with Dice below {quality.FAILED_DICE}. Median Dice of the sound "
        f"{segmented_ones.loc[segmented_ones['kind'] == SOUND, 'dice'].median():.3f} (worse side). "
        f"Predicted quality learned from {rows['eid'].nunique()} other participants, "
        f"{len(rows)} crops. {options.cohorts} cohorts of {options.size:,} drawn with replacement, "
        f"{PLANTED:.0%} with a fault; {REVIEWED:.0%} reviewed.",
        *score(cohorts, sides),
        "",
        "Out of fold, the crops that predicted quality learned from (with a mask, made worse by "
        "`qc/degrade.py`):",
        "",
        *out_of_fold(quality_model.out_of_fold),
    ]
    print("\n".join(lines))
    if options.output:
        files.write_text(options.output, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
