"""The starter network: its randomised samples, its training, and where it is used."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from iliopsoas import config, crops, files, grid, starter
from iliopsoas.network import segmentation, training, weights
from iliopsoas.network.architecture import build_network
from iliopsoas.network.starter import bodies, randomisation
from iliopsoas.phantom import anatomy, tissues
from iliopsoas.phantom.traits import Traits
from iliopsoas.stages import learning
from iliopsoas.status import InputError, Refused, Verdict

LANDMARKS = {"1": (60, 80, 350), "2": (170, 80, 350), "11": (70, 80, 160), "12": (150, 80, 160)}
FOLDER = {"name": "a", "zips": "zips", "phenotypes": ["p.csv"]}


@pytest.fixture(scope="module")
def body():
    """A ball of muscle in the left crop, in fat, with bone on its outer half."""
    low = 160 - bodies.BELOW
    shape = (grid.SHAPE[0], bodies.ROWS.stop - bodies.ROWS.start, bodies.BELOW + bodies.ABOVE)
    x, y, z = np.ogrid[tuple(slice(0, n) for n in shape)]
    box = crops.box(LANDMARKS, "left", grid.SHAPE)
    mm = np.sqrt(
        sum(
            ((axis - c - m) * s) ** 2
            for axis, c, m, s in zip(
                (x, y, z),
                np.array(box) - (0, bodies.ROWS.start, low),
                (47.5, 47.5, 95.5),
                grid.SPACING_MM,
                strict=True,
            )
        )
    )
    distance = np.clip((mm - 60) * bodies.STEPS_PER_MM, -120, 120).astype(np.int8)
    around = np.full(shape, tissues.FAT.label, np.uint8)
    around[box.x + 60 :] = tissues.MARROW.label
    return bodies.Body(
        around, distance, np.zeros(shape, bool), LANDMARKS, (0, bodies.ROWS.start, low)
    )


@pytest.fixture(scope="module")
def still():
    """Numbers that deform and spoil nothing."""
    nothing = randomisation.draw(np.random.default_rng(0))
    signal = np.ones(256, np.float32)
    signal[tissues.FAT.label] = signal[tissues.MARROW.label] = 0.1
    return dataclasses.replace(
        nothing, side="left", mirrored=False, miss=(0, 0, 0), angles=(0, 0, 0), scale=(1, 1, 1),
        bend=(0,) * 6, warp=(0, 0), muscle_warp=(0, 0), swelling=(0, 0, 0), bone_wins=False,
        signal=signal, muscle_signal=1.0, plane=(0, 0), infiltration=0, texture=0, bias=0, seam=0,
        blur=(0, 0, 0), ghost=0, noise=0, gamma=1, divisor=1, cap=1.0, edge=0,
    )  # fmt: skip


def test_a_sample_that_nothing_deforms_is_the_coarsened_crop(body, still):
    image, label = randomisation.render(body, still, 2)
    place = tuple(slice(c - o, c - o + n) for c, o, n in zip(
        crops.box(LANDMARKS, "left", grid.SHAPE), body.origin, crops.CROP_SHAPE, strict=True
    ))  # fmt: skip
    np.testing.assert_allclose(label, crops.coarsen(body.muscle[place] < 0, 2))
    np.testing.assert_allclose(image[label == 1], 1, atol=1e-5)
    np.testing.assert_allclose(image[label == 0], 0.1, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3])
def test_the_share_of_muscle_has_the_muscles_volume_at_any_resolution(body, still, factor):
    _, label = randomisation.render(body, still, factor)
    assert label.sum() * factor**3 == pytest.approx((body.muscle < 0).sum(), rel=0.02)


def test_swelling_moves_the_surface_by_millimetres(body, still):
    volumes = [
        randomisation.render(body, dataclasses.replace(still, swelling=(mm, 0, 0)), 2)[1].sum()
        for mm in (-4, 0, 4)
    ]
    assert volumes[0] / volumes[1] == pytest.approx((56 / 60) ** 3, rel=0.03)
    assert volumes[2] / volumes[1] == pytest.approx((64 / 60) ** 3, rel=0.03)


def test_muscle_does_not_enter_bone_where_bone_wins(body, still):
    free = randomisation.render(body, still, 2)[1]
    held = randomisation.render(body, dataclasses.replace(still, bone_wins=True), 2)[1]
    assert free[30:].any()
    assert not held[30:].any()
    np.testing.assert_array_equal(free[:30], held[:30])


def test_fat_between_two_muscles_is_part_of_neither(body, still):
    among_muscles = dataclasses.replace(
        body, around=np.full_like(body.around, tissues.MUSCLES[0].label)
    )
    _, whole = randomisation.render(among_muscles, still, 2)
    plane = dataclasses.replace(still, plane=(0.8, 0))
    image, label = randomisation.render(among_muscles, plane, 2)
    muscle = (image - 0.1) / 0.9  # both muscles have signal 1, fat has 0.1
    border = (whole > 0) & (whole < 1)
    assert muscle[border].min() < 0.5
    np.testing.assert_allclose(label[border], (whole * muscle)[border], atol=1e-5)
    np.testing.assert_allclose(label[~border], whole[~border])


def test_a_mirrored_sample_is_the_mirror_image(body, still):
    image, label = randomisation.render(body, still, 2)
    mirrored = randomisation.render(body, dataclasses.replace(still, mirrored=True), 2)
    np.testing.assert_array_equal(mirrored[0], image[::-1])
    np.testing.assert_array_equal(mirrored[1], label[::-1])


def test_the_same_numbers_give_the_same_sample_and_others_another(body):
    numbers = [randomisation.draw(np.random.default_rng(seed)) for seed in (1, 1, 2)]
    first, again, other = (randomisation.render(body, n, 3)[0] for n in numbers)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.isfinite(other).all()
    assert other.max() <= 1


def test_a_configuration_without_weights_and_annotations_uses_the_starter():
    alone = config.load({"releases": [FOLDER]})
    assert alone.segmentation.weights == str(starter.WEIGHTS)
    annotated = [FOLDER | {"annotations": "masks"}]
    asked = {"releases": annotated, "segmentation": {"weights": "starter"}}
    assert config.load(asked).segmentation.weights == str(starter.WEIGHTS)


def test_annotations_are_trained_on_and_given_weights_stay():
    annotated = config.load({"releases": [FOLDER | {"annotations": "masks"}]})
    assert annotated.segmentation.weights is None
    given = config.load({"releases": [FOLDER], "segmentation": {"weights": "mine.h5"}})
    assert given.segmentation.weights == "mine.h5"


def test_the_shipped_network_is_small_and_says_what_it_has_seen():
    description = weights.read_description(starter.WEIGHTS)
    assert starter.WEIGHTS.stat().st_size <= 10e6
    assert "synthetic people only" in description["trained_on"]
    segmenter = segmentation.Segmenter.load([starter.WEIGHTS])
    assert segmenter.threshold == description["threshold"]
    assert segmenter.provenance["network"] == "starter"
    assert segmentation.Segmenter.load([starter.WEIGHTS], threshold=0.3).threshold == 0.3


def test_the_shipped_network_finds_the_muscles_of_a_synthetic_person():
    person = Traits("female", 61, 164.0, 68.0, 200.0, 205.0, 0.08, 4321)
    body = anatomy.build(person, step=2)
    water = np.rint(400 * body.water).astype(np.int16)
    segmenter = segmentation.Segmenter.load([starter.WEIGHTS])
    cut = {side: crops.crop(water, body.landmarks, side) for side in grid.SIDES}
    subject = segmentation.Subject(cut, body.landmarks)
    mask = segmentation.segment_subject(segmenter, subject).mask
    for side, label in grid.SIDES.items():
        assert segmentation.dice(mask == label, body.iliopsoas == label) > 0.7, side


@pytest.fixture
def small(tmp_path):
    """Weights of a small network, and two crops to train on."""
    shape = (16, 16, 32, 1)
    path = tmp_path / "start.h5"
    description = {"input_shape": shape, "base_filters": 1, "variant": "published"}
    weights.save_weights(path, build_network(shape, 1, seed=5), description, "float16")
    rng = np.random.default_rng(0)
    images = rng.random((2, 16, 16, 32)).astype(np.float32)
    return path, images, (images > 0.5).astype(np.uint8)


def recipe(**options):
    still = {"learning_rate": 1e-12, "epochs": 1, "batch_size": 2, "samples_per_muscle": 1}
    return training.Recipe(**({"base_filters": 1, "seed": 1} | still | options))


def test_training_begins_with_the_weights_it_is_given(tmp_path, small):
    path, images, labels = small
    begun = training.train(images, labels, tmp_path / "a", recipe(start=str(path)))
    expected, _ = weights.open_model(path)
    for found, known in zip(begun.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(found, known, atol=1e-6)
    random = training.train(images, labels, tmp_path / "b", recipe())
    assert not np.allclose(random.get_weights()[0], expected.get_weights()[0], atol=1e-3)
    started = weights.read_description(tmp_path / "a" / "model.h5")["recipe"]["start"]
    assert started == weights.read_description(path)["sha256"]


def test_weights_of_another_network_are_refused_as_a_beginning(tmp_path, small):
    path, images, labels = small
    with pytest.raises(InputError, match="belongs to another network"):
        training.train(images, labels, tmp_path / "a", recipe(start=str(path), base_filters=2))


def test_a_training_on_made_samples_goes_on_where_it_was_stopped(tmp_path, small):
    """Samples depend on the epoch alone: stopped after one epoch or not, the weights agree."""
    _, images, labels = small

    class Made:
        steps = 1

        def batches(self, epoch):
            yield np.roll(images, epoch, 1), labels, [training.loop.augmentation.Transform()] * 2

    plan = recipe(epochs=2, learning_rate=1e-3)
    whole = training.train(images, labels, tmp_path / "a", plan, validation=[0, 1], samples=Made())

    class Stopped(Made):
        def batches(self, epoch):
            if epoch == 2:
                raise KeyboardInterrupt
            yield from super().batches(epoch)

    with pytest.raises(KeyboardInterrupt):
        training.train(images, labels, tmp_path / "b", plan, validation=[0, 1], samples=Stopped())
    again = training.train(images, labels, tmp_path / "b", plan, validation=[0, 1], samples=Made())
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_exported_images_get_a_proposal_or_the_reason_why_not(tmp_path, monkeypatch):
    people = pd.DataFrame(
        {"eid": ["1000001", "1000002"], "instance": "2", "sex": ["female", "male"]}
    ).assign(age=60, bmi=[24.0, 26.0])
    for eid in people["eid"]:
        for name in ("water", "fat", "body"):
            path = files.subject_folder(tmp_path, eid, "2") / f"{name}.nii.gz"
            files.write_nifti(path, grid.las_image(np.ones((6, 5, 4), np.int16)))

    refused = iter([False, True])

    def proposed(segmenter, water, fat, body, normalisation):
        if next(refused):
            raise Refused(Verdict.HIPS_NOT_FOUND, "no hips")
        mask = np.zeros((6, 5, 4), np.uint8)
        mask[4], mask[1] = 1, 2
        return mask

    monkeypatch.setattr(learning, "_proposed", proposed)
    settings = {"threshold": None, "batch_size": 2, "flip": False, "precision": "float32"}
    table = learning.export_for_annotation(
        people, people[["eid", "instance"]].assign(verdict="ok"), tmp_path / "annotation",
        number=2, results=tmp_path, weights=starter.WEIGHTS, parameters=settings,
        crop={"normalisation": "published"},
    )  # fmt: skip
    assert dict(zip(table["eid"], table["proposal"], strict=True)) == {
        "1000001": "starter",
        "1000002": "hips_not_found",
    }
    found = sorted(path.name for path in (tmp_path / "annotation").iterdir())
    assert found == [
        "1000001_2_proposed.seg.nrrd",
        "1000001_2_water.nii.gz",
        "1000002_2_water.nii.gz",
        "labels_itksnap.txt",
        "participants.tsv",
    ]

    # who is to be redone comes too, whichever visit, with the mask that was not good enough
    refused = iter([False, True])
    place = files.subject_folder(tmp_path, "1000002", "3")
    for name in ("water", "fat", "body"):
        files.write_nifti(place / f"{name}.nii.gz", grid.las_image(np.ones((6, 5, 4), np.int16)))
    bad = np.zeros((6, 5, 4), np.uint8)
    bad[5], bad[0] = 1, 2
    files.write_nifti(place / "iliopsoas.nii.gz", grid.las_image(bad))
    people = pd.concat([people, people[1:].assign(instance="3")])
    decided = people[["eid", "instance"]].assign(
        decision=["", "accept", "redo"], notes=["", "", "JF: cut off"]
    )
    table = learning.export_for_annotation(
        people, people[["eid", "instance"]].assign(verdict="ok"), tmp_path / "annotation",
        number=2, results=tmp_path, weights=starter.WEIGHTS, parameters=settings,
        crop={"normalisation": "published"}, decided=decided,
    )  # fmt: skip
    first = table.iloc[0]
    assert (first["eid"], first["instance"], first["asked_by"]) == ("1000002", "3", "review")
    assert (first["proposal"], first["notes"]) == ("this run", "JF: cut off")
    assert table["asked_by"].tolist() == ["review", "draw", "draw"]
    written = sitk.ReadImage(str(tmp_path / "annotation/1000002_3_proposed.seg.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written).T, bad)
