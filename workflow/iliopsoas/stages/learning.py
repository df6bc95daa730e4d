"""The stages that teach and judge the network: folds, training, cross-validation."""

import functools
import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from iliopsoas import files, grid
from iliopsoas.logs import log
from iliopsoas.stages import images
from iliopsoas.stages.shards import output_of
from iliopsoas.stages.volumes import MASK
from iliopsoas.statistics.cohort import CONFIGURED_FOLD
from iliopsoas.status import InputError, Refused, Verdict

CALIBRATED = "calibrated"  # the threshold is chosen in cross-validation
THRESHOLDS = tuple(n / 20 for n in range(2, 19))  # among which it is interpolated
ENOUGH_PEOPLE = 30  # annotated participants from which one version of each fault is enough


def export_for_annotation(
    sample,
    dixon,
    folder,
    *,
    number: int,
    results,
    weights,
    parameters: dict,
    crop: dict,
    decided=None,
) -> pd.DataFrame:
    """Write the water images that a radiographer is to draw on, each with a mask to correct.

    Half of them women, spread evenly over BMI within each sex, first visits only: the paper's
    annotated participants "covered a broad range of age and BMI". And whoever was marked to be
    redone in review, whichever visit. The mask is the one of this run where there is one.

    Parameters
    ----------
    sample, dixon : DataFrame
        results/cohort/sample.tsv, and the dixon ledgers of all shards.
    folder : path
        Gets ``<EID>_<instance>_water.nii.gz``, ``<EID>_<instance>_proposed.seg.nrrd`` (see
        `annotations.export` and `annotations.export_mask`), label descriptions and
        participants.tsv; other people's files stay.
    number : int
        Images wanted; fewer where there are not as many.
    weights : path
        Network that proposes the masks of who has none.
    parameters, crop : dict
        As for `segment`.
    decided : DataFrame, optional
        results/qc/decided.tsv.

    Returns
    -------
    DataFrame
        eid, instance, sex, age, bmi of the exported; asked_by (draw or review) and the raters'
        notes; proposal: ``this run``, the network, or why it proposes nothing.
    """
    from iliopsoas.masks import annotations

    good = dixon.loc[dixon["verdict"] == Verdict.OK, files.KEY]
    people = sample.merge(good, on=files.KEY).sort_values(["bmi", "eid"])
    people = people[people["instance"] == people["instance"].min()]
    chosen = []
    for _, group in people.groupby("sex"):
        wanted = min(number // 2, len(group))
        chosen.append(group.iloc[np.linspace(0, len(group) - 1, wanted).round().astype(int)])
    table = pd.concat(chosen).assign(asked_by="draw", notes="")
    if decided is not None:
        redo = decided.loc[decided["decision"] == "redo", [*files.KEY, "notes"]]
        redo = sample.merge(good, on=files.KEY).merge(redo, on=files.KEY)
        table = pd.concat([redo.assign(asked_by="review"), table])
    table = table.drop_duplicates(files.KEY)[[*files.KEY, "sex", "age", "bmi", "asked_by", "notes"]]
    propose = _proposer(weights, parameters, crop)
    proposals = []
    with files.owned_folder(folder) as part:  # people draw there
        for row in table.itertuples():
            place = files.subject_folder(results, row.eid, row.instance)
            found = images.load(place)
            annotations.export(found[0], part, row.eid, row.instance)
            try:
                mask, whose = propose(place, *found)
            except Refused as refused:  # it is drawn from nothing, as without a network
                proposals.append(str(refused.verdict))
                continue
            annotations.export_mask(mask, found[0].affine, part, row.eid, row.instance)
            proposals.append(whose)
        table = table.assign(proposal=proposals)
        annotations.export_descriptions(part)
        files.write_tsv(part / "participants.tsv", table)
    log.info("exported %d water images", len(table))
    return table


def _proposer(weights, parameters: dict, crop: dict):
    """A function of a participant's folder and images: a mask to correct, and whose it is."""
    from iliopsoas.network.segmentation import Segmenter

    if parameters["threshold"] == CALIBRATED:  # of another network
        parameters = parameters | {"threshold": None}
    load = functools.cache(lambda: Segmenter.configured([weights], parameters, crop))

    def propose(folder, water, fat, body):
        if (folder / MASK).exists():
            with output_of("segment", folder / MASK):
                return np.asanyarray(nib.load(folder / MASK).dataobj), "this run"
        mask = _proposed(load(), water, fat, body, crop["normalisation"])
        return mask, load().provenance["network"]

    return propose


def _proposed(segmenter, water, fat, body, normalisation: str) -> np.ndarray:
    from iliopsoas import landmarks
    from iliopsoas.crops import crop
    from iliopsoas.network.segmentation import Subject, segment_subject

    points = landmarks.locate(body, water, fat)
    array = np.asanyarray(water.dataobj)
    cut = {side: crop(array, points, side, normalisation) for side in grid.SIDES}
    return segment_subject(segmenter, Subject(cut, points, array.shape)).mask


def fold_of(model: str) -> int:
    """The fold that a model (``fold-3``, ``configured``) is judged on."""
    return CONFIGURED_FOLD if model == "configured" else int(model.removeprefix("fold-"))


def folds(manifests, ledgers, crops, *, number: int | None = None, seed: int = 0) -> pd.DataFrame:
    """The annotated participants that can be trained on, each with its fold.

    The table is all that training and validation look at to see whether their data changed; so
    it holds a hash of each participant's crops and masks, and nothing of other participants.

    Parameters
    ----------
    manifests, ledgers, crops : list of path
        Manifests, crops ledgers and crop files of the shards that hold annotated participants.
    number, seed : int
        How many folds, and the seed they are dealt out with. Without a number nothing is trained:
        all are of fold `CONFIGURED_FOLD`, and it is no error where there are none.

    Returns
    -------
    DataFrame
        eid, instance, fold, content (a hash of the participant's crops and masks).

    Raises
    ------
    InputError
        No annotation can be used, or fewer participants than folds.
    """
    from iliopsoas.crops import CropReader
    from iliopsoas.network import training

    if not ledgers:
        if number is None:
            return pd.DataFrame(columns=[*files.KEY, "fold", "content"])
        raise InputError(
            "training: no participant has a manual annotation; set releases.annotations to the "
            "folder of masks, or segmentation.weights to a weights file or to starter"
        )
    people = pd.concat([files.read_tsv(path) for path in manifests])
    cropped = pd.concat([files.read_tsv(path) for path in ledgers])
    cropped = cropped.reindex(columns=[*files.KEY, "verdict", "annotation"])
    counts = cropped["annotation"].fillna("no crop").value_counts()
    log.info("annotations: %s", ", ".join(f"{count} {name}" for name, count in counts.items()))
    usable = cropped[(cropped["verdict"] == Verdict.OK) & (cropped["annotation"] == "ok")]
    people = people.merge(usable[files.KEY], on=files.KEY).sort_values(files.KEY)
    if people.empty and number is not None:
        raise InputError(
            "training: none of the annotated participants has a usable scan and mask; the column "
            "annotation of the crops ledgers says why"
        )
    if number is None:
        fold = pd.Series(CONFIGURED_FOLD, index=people.index)
    else:
        fold = training.folds(people, number, seed)
    with CropReader(crops) as reader:
        names = [files.subject_name(row.eid, row.instance) for row in people.itertuples()]
        content = [_content(reader, name) for name in names]
    return people[files.KEY].assign(fold=fold.to_numpy(), content=content)


def _content(reader, name: str) -> str:
    digest = hashlib.sha256()
    for side in grid.SIDES:
        digest.update(reader.read_raw(name, side))
        digest.update(reader.read_label(name, side))
    return digest.hexdigest()[:16]


def _training_set(folds, crops, factor: int, normalisation: str):
    """The annotated crops, the fold of each subject, and a hash of what is trained on."""
    from iliopsoas.crops import CropReader
    from iliopsoas.network.training import TrainingSet

    fold = {
        files.subject_name(row.eid, row.instance): int(row.fold)
        for row in files.read_tsv(folds).itertuples()
    }
    samples = TrainingSet(CropReader(crops), list(fold), factor, normalisation)
    return samples, fold


def _description(samples, subjects, normalisation: str, version: int) -> dict:
    digest = hashlib.sha256()
    for index in samples.indices(subjects):
        digest.update(samples.images[index])
        digest.update(samples.labels[index])
    return {
        "normalisation": normalisation,
        "training_set": digest.hexdigest(),
        "stage_version": version,
    }


def _recipe(training: dict, network: dict, crops: dict):
    from iliopsoas.network.training import Recipe

    options = {k: v for k, v in training.items() if not k.startswith("sweep_")}
    return Recipe(**options, **network, coarsen=crops["coarsen"])


def train(
    folds,
    crops,
    folder,
    *,
    model: str,
    version: int,
    training: dict,
    network: dict,
    crop: dict,
) -> None:
    """Train a fold's model (``fold-N``, without fold N) or the ``final`` one, on everybody.

    Parameters
    ----------
    folds : path
        The table that `folds` made.
    crops : list of path
        Crop files of the shards that hold annotated participants.
    folder : path
        Of the model; see `training.train` for what it gets.
    version : int
        Of the stage; a model of another one is trained again.
    training, network, crop : dict
        The sections of the configuration.
    """
    from iliopsoas.network import training as learning

    samples, fold = _training_set(folds, crops, crop["coarsen"], crop["normalisation"])
    held_out = [name for name, number in fold.items() if model == f"fold-{number}"]
    trained = [name for name in fold if name not in held_out]
    learning.train(
        samples.images,
        samples.labels,
        folder,
        _recipe(training, network, crop),
        indices=samples.indices(trained),
        # followed only: a fold that chose when to stop would not be held out any more
        validation=[] if training["early_stop"] else samples.indices(held_out),
        participants=samples.owners,
        description=_description(samples, trained, crop["normalisation"], version),
        what=model,
    )


def learning_rate_sweep(
    folds, crops, folder, *, version: int, training: dict, network: dict, crop: dict
) -> pd.DataFrame:
    """Train without the first fold at every rate of ``training.sweep_rates``; see `train`."""
    from iliopsoas.network import training as learning

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
        description=_description(samples, trained, crop["normalisation"], version),
    )


def check_weights(weights, *, parameters: dict, crop: dict) -> dict:
    """Load the configured weights as `segment` will: a wrong file is not found out days later.

    Returns
    -------
    dict
        weights_sha256, bytes, coarsen.

    Raises
    ------
    InputError
        As `segmentation.Segmenter.load`.
    """
    from iliopsoas.network.segmentation import Segmenter

    segmenter = Segmenter.configured([weights], parameters, crop)
    return {
        "weights_sha256": segmenter.provenance["weights_sha256"],
        "bytes": Path(weights).stat().st_size,
        "coarsen": segmenter.factor,
    }


def threshold_curve(
    folds, crops, weights, *, fold: int, parameters: dict, crop: dict
) -> pd.DataFrame:
    """Volumes of a fold's held-out participants at each of `THRESHOLDS`.

    Returns
    -------
    DataFrame
        fold, eid, instance, side, threshold, automatic_ml (after post-processing), manual_ml (of
        what the crop shows: no threshold finds the rest).
    """
    from iliopsoas.network.segmentation import post_process

    segmenter, reader, names = _held_out(folds, crops, weights, fold, parameters, crop)
    rows = []
    for name in names:
        eid, instance = name.rsplit("_", 1)
        cut = [reader.read(name, side, crop["normalisation"]) for side in grid.SIDES]
        predicted = segmenter.predict(cut)
        for number, side in enumerate(grid.SIDES):
            probability = np.mean([segmenter.finest(one[number]) for one in predicted], axis=0)
            manual = np.count_nonzero(reader.read_label(name, side)) * grid.VOXEL_ML
            for threshold in THRESHOLDS:
                mask = post_process(probability, threshold, segmenter.least_piece).mask
                found = np.count_nonzero(mask) * grid.VOXEL_ML
                rows.append((fold, eid, instance, side, threshold, found, manual))
    columns = ["fold", *files.KEY, "side", "threshold", "automatic_ml", "manual_ml"]
    return pd.DataFrame(rows, columns=columns)


def calibrate(curves: pd.DataFrame) -> pd.DataFrame:
    """Thresholds at which volumes are right in sum, never chosen on whom they are judged on.

    Parameters
    ----------
    curves : DataFrame
        Of `threshold_curve`, all folds.

    Returns
    -------
    DataFrame
        model, threshold, participants: each fold's from the held-out participants of the other
        folds (by those folds' networks), the final model's from those of all.
    """
    rows = []
    for fold in [*sorted(curves["fold"].unique()), None]:
        others = curves[curves["fold"] != fold]
        total = others.groupby("threshold")[["automatic_ml", "manual_ml"]].sum()
        excess = (total["automatic_ml"] - total["manual_ml"]).to_numpy()
        # volumes shrink as the threshold grows: np.interp wants them to grow
        chosen = float(np.interp(0.0, excess[::-1], total.index.to_numpy()[::-1]))
        model = "final" if fold is None else f"fold-{fold}"
        rows.append((model, round(chosen, 3), others["eid"].nunique()))
        if not excess[-1] <= 0 <= excess[0]:
            log.warning("calibration: volumes of %s are right at no threshold", model)
    return pd.DataFrame(rows, columns=["model", "threshold", "participants"])


def threshold(table, model: str) -> dict:
    """The parameter that a model's row of the table of thresholds sets; none without a table."""
    if not table:
        return {}
    return {"threshold": float(files.read_tsv(table).set_index("model")["threshold"][model])}


def _held_out(folds, crops, weights, fold: int, parameters: dict, crop: dict):
    """The network of a fold, the crops, and the names of whom it is judged on."""
    from iliopsoas.crops import CropReader
    from iliopsoas.network.segmentation import Segmenter

    table = files.read_tsv(folds)
    held_out = table[table["fold"] == fold]
    names = [files.subject_name(row.eid, row.instance) for row in held_out.itertuples()]
    chosen = {k: v for k, v in parameters.items() if k != "weights_sha256"}
    if chosen["threshold"] == CALIBRATED:  # what is asked for here
        chosen["threshold"] = None
    return Segmenter.configured([weights], chosen, crop), CropReader(crops), names


def validate(
    folds, crops, weights, examples, *, fold: int, parameters: dict, crop: dict
) -> pd.DataFrame:
    """Dice and volumes of a fold's model on the participants it was not trained on.

    Parameters
    ----------
    fold : int
        Of the table; `CONFIGURED_FOLD` for configured weights, of which it is not known whom they
        were trained on.
    examples : path
        Where the coronal slices of the fold's best and worst participant are written, for
        Figure 2: ``.npz`` with image, manual and automatic (rows, columns), and dice (left,
        right), each after ``best_`` or ``worst_``.

    Returns
    -------
    DataFrame
        See `segmentation.evaluate`: of the whole muscle, not only of its part in the crop.
    """
    from iliopsoas.network.segmentation import evaluate

    segmenter, reader, names = _held_out(folds, crops, weights, fold, parameters, crop)
    predicted = {}

    def keep(name, side, mask):
        predicted[name, side] = mask

    rows = evaluate(segmenter, reader, names, fold, crop["normalisation"], keep=keep)
    means = rows.groupby(files.KEY)["dice"].mean().dropna()
    arrays = {}
    for rank, key in (("worst", means.idxmin()), ("best", means.idxmax())) if len(means) else ():
        of_person = rows[(rows["eid"] == key[0]) & (rows["instance"] == key[1])]
        example = _coronal_example(reader, files.subject_name(*key), predicted)
        example["dice"] = of_person.set_index("side")["dice"][list(grid.SIDES)].to_numpy()
        arrays |= {f"{rank}_{name}": array for name, array in example.items()}
    with files.atomic(examples) as temporary:
        np.savez_compressed(temporary, **arrays)
    return rows


def quality_rows(
    folds, crops, weights, *, fold: int, parameters: dict, crop: dict, seed: int
) -> pd.DataFrame:
    """What predicted quality is learned from: a fold's held-out crops, also made worse.

    Returns
    -------
    DataFrame
        See `qc.quality.held_out_rows`.
    """
    from iliopsoas.qc import quality

    segmenter, reader, names = _held_out(folds, crops, weights, fold, parameters, crop)

    def read(name, side):
        seen = reader.read(name, side, crop["normalisation"])
        return seen, reader.read_label(name, side), reader.label_voxels(name, side)

    # few participants: the more often each is made worse
    people = len(files.read_tsv(folds))
    repeats = int(np.clip(ENOUGH_PEOPLE // max(people, 1), 1, 3))
    return quality.held_out_rows(names, read, quality.network(segmenter), seed, repeats)


def _coronal_example(reader, name: str, predicted: dict) -> dict:
    """The coronal slice with the most manual mask, of both crops side by side."""
    from iliopsoas.figures import images

    def both(of_side):  # the right crop ends where the left one begins
        return np.concatenate([of_side("right"), of_side("left")], axis=0)

    manual = both(lambda side: reader.read_label(name, side)).astype(bool)
    level = images.best_slice(manual, "coronal")
    volumes = {
        "image": both(lambda side: reader.read_raw(name, side)),
        "manual": manual,
        "automatic": both(lambda side: predicted[name, side]),
    }
    return {key: images.slice_of(array, "coronal", level) for key, array in volumes.items()}
