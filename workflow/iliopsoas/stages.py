"""The stages of the workflow: what each reads, calls and leaves behind.

Every function here is what one rule runs. Heavy libraries are imported inside the functions, so
that a stage pays only for what it uses.
"""

import dataclasses
import hashlib
import time
from pathlib import Path

import nibabel as nib
import pandas as pd

from iliopsoas import files, grid
from iliopsoas.logs import Progress, log
from iliopsoas.shards import Outcome, Stage, Task, execute, in_order, read_state
from iliopsoas.status import InputError, Refused, Verdict

IMAGES = ("water.nii.gz", "fat.nii.gz", "body.nii.gz")
MASKS = ("iliopsoas.nii.gz", "probability.nii.gz")


def _tasks(manifest, results, previous: str, *parts, arguments=None) -> list[Task]:
    """A task per participant of a manifest, fingerprinted by the state of the previous stage.

    `arguments` gives a manifest row's keyword arguments beyond its folder.
    """
    tasks = []
    for row in files.read_tsv(manifest).itertuples():
        state = read_state(results, row.eid, row.instance, previous)
        blocked = None
        if state is None:
            blocked = f"{previous}: no verdict"
        elif state["verdict"] == Verdict.EARLIER_STAGE:
            blocked = state["message"]
        elif state["verdict"] != Verdict.OK:
            blocked = f"{previous}: {state['verdict']}"
        folder = files.subject_folder(results, row.eid, row.instance)
        tasks.append(
            Task(
                row.eid,
                row.instance,
                files.fingerprint(state and state["fingerprint"], *parts),
                {"folder": str(folder)} | (arguments(row) if arguments else {}),
                blocked,
            )
        )
    return tasks


# --- dixon --------------------------------------------------------------------------------------


def _dixon_participant(folder: str, scan: str, parameters: dict) -> dict:
    from iliopsoas.dixon import process_scan

    result = process_scan(scan, **parameters)
    folder = Path(folder)
    for name, image in zip(IMAGES, (result.water, result.fat, result.body), strict=True):
        files.write_nifti(folder / name, image)
    return {"scan_sha256": files.sha256(scan)} | result.record


def dixon(
    manifest,
    ledger,
    *,
    results,
    version: int,
    parameters: dict,
    processes: int,
    time_limit_s: float,
) -> pd.DataFrame:
    """Zips of a shard to water, fat and body images; returns the ledger it writes."""
    from iliopsoas.ukb.fingerprint import content_fingerprint

    tasks = [
        Task(
            row.eid,
            row.instance,
            files.fingerprint("dixon", version, parameters, content_fingerprint(row.scan)),
            {
                "folder": str(files.subject_folder(results, row.eid, row.instance)),
                "scan": row.scan,
                "parameters": parameters,
            },
        )
        for row in files.read_tsv(manifest).itertuples()
    ]
    stage = Stage("dixon", results, IMAGES)
    return stage.run(_dixon_participant, tasks, ledger, processes, time_limit_s)


# --- landmarks ----------------------------------------------------------------------------------


def _landmarks_participant(folder: str, parameters: dict) -> dict:
    from iliopsoas import landmarks

    folder = Path(folder)
    water, fat, body = (nib.load(folder / name) for name in IMAGES)
    found, record = landmarks.locate_with_record(body, water, fat, **parameters)
    landmarks.assess(found, body)
    files.write_json(folder / "landmarks.json", found)
    return record


def landmarks(
    manifest,
    ledger,
    *,
    results,
    version: int,
    parameters: dict,
    processes: int,
    time_limit_s: float,
) -> pd.DataFrame:
    """Landmarks of a shard's participants."""
    tasks = _tasks(
        manifest,
        results,
        "dixon",
        "landmarks",
        version,
        parameters,
        arguments=lambda row: {"parameters": parameters},
    )
    stage = Stage("landmarks", results, ("landmarks.json",))
    return stage.run(_landmarks_participant, tasks, ledger, processes, time_limit_s)


# --- crops --------------------------------------------------------------------------------------


def _annotation(paths: list[str], water, body):
    """The label map of a participant's manual masks, and what became of them as a record."""
    if not paths:
        return None, {"annotation": "none"}

    import numpy as np

    from iliopsoas import annotations

    try:
        label_map = annotations.read(paths, water, body)
    except Refused as refused:
        return None, {"annotation": str(refused.verdict), "annotation_message": refused.message}
    return np.asanyarray(label_map), {"annotation": "ok"}


def _crops_participant(folder: str, annotation: list[str]):
    import numpy as np

    from iliopsoas.crops import Crops

    folder = Path(folder)
    water, body = (nib.load(folder / name) for name in ("water.nii.gz", "body.nii.gz"))
    found = files.read_json(folder / "landmarks.json")
    label_map, record = _annotation(annotation, water, body)
    cut = Crops.of(np.asanyarray(water.dataobj), found, label_map)
    return record, cut


def crops(
    manifest, crops, ledger, *, results, version: int, processes: int, time_limit_s: float
) -> pd.DataFrame:
    """Both crops of a shard's participants, with their manual masks, in one file."""
    from iliopsoas.crops import CropWriter

    def annotation_of(row):
        paths = row.annotation.split(";") if isinstance(row.annotation, str) else []
        return {"annotation": paths}

    tasks = [
        dataclasses.replace(
            task,
            fingerprint=files.fingerprint(
                task.fingerprint, [files.sha256(path) for path in task.arguments["annotation"]]
            ),
        )
        for task in _tasks(
            manifest, results, "landmarks", "crops", version, arguments=annotation_of
        )
    ]
    stage = Stage("crops", results)
    stage.pending(tasks)  # records who is blocked
    todo = [task for task in tasks if not task.blocked]
    progress = Progress("crops", len(todo))
    with CropWriter(crops) as writer:
        for task, outcome in in_order(
            todo, execute(_crops_participant, todo, processes, time_limit_s)
        ):
            record = None
            if outcome.verdict == Verdict.OK:
                record, cut = outcome.value
                writer.add(files.subject_name(task.eid, task.instance), cut)
            stage.finish(task, outcome, record)
            progress.step(outcome.verdict)
    return stage.write_ledger(ledger, tasks)


# --- model --------------------------------------------------------------------------------------


def folds(manifests, ledgers, *, number: int, seed: int) -> pd.DataFrame:
    """The annotated participants that can be trained on, each with its fold.

    Parameters
    ----------
    manifests, ledgers : list of path
        Manifests and crops ledgers of the shards that hold annotated participants.
    number, seed : int
        How many folds, and the seed they are dealt out with.

    Returns
    -------
    DataFrame
        eid, instance, fold.

    Raises
    ------
    InputError
        No annotation can be used, or fewer participants than folds.
    """
    from iliopsoas import training

    if not ledgers:
        raise InputError(
            "training: no participant has a manual annotation; set releases.annotations to the "
            "folder of masks, or segmentation.weights to a weights file"
        )
    people = pd.concat([files.read_tsv(path) for path in manifests])
    cropped = pd.concat([files.read_tsv(path) for path in ledgers])
    counts = cropped.loc[cropped["verdict"] == Verdict.OK, "annotation"].value_counts()
    log.info("annotations: %s", ", ".join(f"{count} {name}" for name, count in counts.items()))
    usable = cropped[(cropped["verdict"] == Verdict.OK) & (cropped["annotation"] == "ok")]
    people = people.merge(usable[files.KEY], on=files.KEY).sort_values(files.KEY)
    if people.empty:
        raise InputError(
            "training: none of the annotated participants has a usable scan and mask; the column "
            "annotation of the crops ledgers says why"
        )
    fold = training.folds(people, number, seed)
    return people[files.KEY].assign(fold=fold.to_numpy())


def _training_set(folds, crops, factor: int, normalisation: str):
    """The annotated crops, the fold of each subject, and a hash of what is trained on."""
    from iliopsoas.crops import CropReader
    from iliopsoas.training import TrainingSet

    fold = {
        files.subject_name(row.eid, row.instance): int(row.fold)
        for row in files.read_tsv(folds).itertuples()
    }
    samples = TrainingSet(CropReader(crops), list(fold), factor, normalisation)
    return samples, fold


def _description(samples, subjects, normalisation: str) -> dict:
    digest = hashlib.sha256()
    for index in samples.indices(subjects):
        digest.update(samples.images[index])
        digest.update(samples.labels[index])
    return {"normalisation": normalisation, "training_set": digest.hexdigest()}


def _recipe(training: dict, network: dict, crops: dict):
    from iliopsoas.training import Recipe

    options = {k: v for k, v in training.items() if not k.startswith("sweep_")}
    return Recipe(**options, **network, coarsen=crops["coarsen"])


def train(folds, crops, folder, *, model: str, training: dict, network: dict, crop: dict) -> None:
    """Train a fold's model (``fold-N``, without fold N) or the ``final`` one, on everybody.

    Parameters
    ----------
    folds : path
        The table that `folds` made.
    crops : list of path
        Crop files of the shards that hold annotated participants.
    folder : path
        Of the model; see `training.train` for what it gets.
    training, network, crop : dict
        The sections of the configuration.
    """
    from iliopsoas import training as learning

    samples, fold = _training_set(folds, crops, crop["coarsen"], crop["normalisation"])
    held_out = [name for name, number in fold.items() if model == f"fold-{number}"]
    trained = [name for name in fold if name not in held_out]
    learning.train(
        samples.images,
        samples.labels,
        folder,
        _recipe(training, network, crop),
        indices=samples.indices(trained),
        validation=samples.indices(held_out),
        participants=samples.owners,
        description=_description(samples, trained, crop["normalisation"]),
        what=model,
    )


def learning_rate_sweep(
    folds, crops, folder, *, training: dict, network: dict, crop: dict
) -> pd.DataFrame:
    """Train without the first fold at every rate of ``training.sweep_rates``; see `train`."""
    from iliopsoas import training as learning

    samples, fold = _training_set(folds, crops, crop["coarsen"], crop["normalisation"])
    held_out = [name for name, number in fold.items() if number == 1]
    trained = [name for name in fold if name not in held_out]
    return learning.sweep(
        samples.images,
        samples.labels,
        folder,
        _recipe(training | {"epochs": training["sweep_epochs"]}, network, crop),
        rates=training["sweep_rates"],
        indices=samples.indices(trained),
        validation=samples.indices(held_out),
        description=_description(samples, trained, crop["normalisation"]),
    )


def _segmenter(weights, parameters: dict):
    from iliopsoas.segmentation import Segmenter

    paths = [weights] if isinstance(weights, str | Path) else list(weights)
    chosen = {key: parameters[key] for key in ("threshold", "batch_size", "flip", "precision")}
    sha256 = parameters.get("weights_sha256")
    return Segmenter.load(paths, sha256=sha256 if len(paths) == 1 else None, **chosen)


def validate(folds, crops, weights, *, fold: int, parameters: dict, crop: dict) -> pd.DataFrame:
    """Dice and volumes of a fold's model on the participants it was not trained on.

    Returns
    -------
    DataFrame
        fold, eid, instance, side, dice, automatic_ml, manual_ml.
    """
    from iliopsoas.crops import CropReader
    from iliopsoas.segmentation import evaluate

    table = files.read_tsv(folds)
    held_out = table[table["fold"] == fold]
    names = [files.subject_name(row.eid, row.instance) for row in held_out.itertuples()]
    segmenter = _segmenter(weights, {k: v for k, v in parameters.items() if k != "weights_sha256"})
    return evaluate(segmenter, CropReader(crops), names, fold, crop["normalisation"])


# --- segment ------------------------------------------------------------------------------------


def segment(
    manifest, crops, weights, ledger, *, results, version: int, parameters: dict, crop: dict
) -> pd.DataFrame:
    """Masks of a shard's participants; the network is loaded once, and only where needed."""
    from iliopsoas.crops import CropReader
    from iliopsoas.segmentation import Subject, segment_many

    paths = [weights] if isinstance(weights, str | Path) else list(weights)
    tasks = _tasks(
        manifest,
        results,
        "crops",
        "segment",
        version,
        parameters,
        crop,
        [files.sha256(path) for path in paths],
    )
    keep = parameters["keep_probabilities"]
    stage = Stage("segment", results, MASKS if keep else MASKS[:1])
    pending = stage.pending(tasks)
    progress = Progress("segment", len(pending))
    if pending:
        segmenter = _segmenter(paths, parameters)
        reader = CropReader(crops)

        def read(task):
            name = files.subject_name(task.eid, task.instance)
            cut = {side: reader.read(name, side, crop["normalisation"]) for side in grid.SIDES}
            return Subject(cut, files.read_json(stage.folder(task) / "landmarks.json"))

        def write(task, result):
            affine = nib.load(stage.folder(task) / "body.nii.gz").affine
            images = (result.mask, result.percent)
            for name, array in zip(stage.outputs, images, strict=False):
                files.write_nifti(stage.folder(task) / name, grid.las_image(array, affine))
            return result.record

        start = time.perf_counter()
        for task, result in segment_many(segmenter, pending, read, write, keep=keep):
            seconds, start = time.perf_counter() - start, time.perf_counter()
            outcome = _outcome(result, seconds)
            stage.finish(task, outcome, outcome.value)
            progress.step(outcome.verdict)
    return stage.write_ledger(ledger, tasks)


def _outcome(result, seconds: float) -> Outcome:
    """What `segment_many` yields, a record or an exception, as an outcome."""
    if isinstance(result, Refused):
        return Outcome(result.verdict, result.message, seconds)
    if isinstance(result, InputError | OSError):
        raise result
    if isinstance(result, BaseException):
        text = f"{type(result).__name__}: {result}"
        return Outcome(Verdict.UNEXPECTED_ERROR, text, seconds)
    return Outcome(Verdict.OK, "", seconds, result)


# --- volumes ------------------------------------------------------------------------------------


def _volumes_participant(folder: str) -> dict:
    import numpy as np

    from iliopsoas import volumes
    from iliopsoas.qc import evidence

    folder = Path(folder)
    mask_image = nib.load(folder / "iliopsoas.nii.gz")
    mask = np.asanyarray(mask_image.dataobj)
    water, fat, body = (np.asanyarray(nib.load(folder / name).dataobj) for name in IMAGES)
    found = files.read_json(folder / "landmarks.json")
    measures = volumes.measure(mask, mask_image.affine, water, fat)
    return measures | evidence.gather(
        mask,
        mask_image.affine,
        water,
        body,
        found,
        evidence.crop_boxes(found, mask.shape),
    )


def volumes_of_shard(
    manifest, ledger, *, results, version: int, processes: int, time_limit_s: float
) -> pd.DataFrame:
    """Volumes, further measures and the evidence for quality control of a shard's masks."""
    # the muscle index is added with the cohort's heights, so that a height changes no image stage
    tasks = _tasks(manifest, results, "segment", "volumes", version)
    stage = Stage("volumes", results)
    return stage.run(_volumes_participant, tasks, ledger, processes, time_limit_s)


def read_ledgers(paths_by_stage: dict) -> dict[str, pd.DataFrame]:
    """The ledgers of all shards, one table per stage.

    Parameters
    ----------
    paths_by_stage : dict of str to list of path
    """
    return {
        stage: pd.concat([files.read_tsv(path) for path in paths], ignore_index=True)
        for stage, paths in paths_by_stage.items()
    }
