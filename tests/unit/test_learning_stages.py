"""The stages of the network on a shard: one participant's trouble is nobody else's."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from iliopsoas import files, grid
from iliopsoas.config import Run
from iliopsoas.crops import Crops, CropWriter
from iliopsoas.crops.boxes import box
from iliopsoas.network import architecture as network
from iliopsoas.network import weights
from iliopsoas.network.segmentation import Segmenter, post_process
from iliopsoas.network.segmentation import opinion as second
from iliopsoas.network.training import loop
from iliopsoas.stages import learning, opinion, segment, shards
from iliopsoas.stages.analysis import overlays
from iliopsoas.stages.shards import outcome_of
from iliopsoas.status import InputError, Verdict

LANDMARKS = {"1": (60, 80, 350), "2": (170, 80, 350), "11": (70, 80, 160), "12": (150, 80, 160)}
PARAMETERS = {
    "threshold": 0.5,
    "batch_size": 2,
    "flip": False,
    "precision": "float32",
    "keep_probabilities": False,
    "weights_sha256": None,
}
EIDS = [str(1000001 + number) for number in range(4)]


def network_file(path, factor=6, **description):
    """Weights with which everything is muscle."""
    shape = (96 // factor, 96 // factor, 192 // factor, 1)
    model = network.build_network(shape, 1, seed=1)
    values = model.get_weights()
    values[-1] += 20
    model.set_weights(values)
    built = {"input_shape": list(shape), "base_filters": 1, "variant": "published"}
    weights.save_weights(path, model, built | {"coarsen": factor} | description)
    return path


class Shard:
    """Four participants with crops, ready to be segmented."""

    def __init__(self, folder):
        self.results, self.crops = folder / "results", folder / "crops.h5"
        self.manual = False
        self.manifest, self.ledger = folder / "manifest.tsv", folder / "segment.tsv"
        self.weights = network_file(folder / "model.h5")
        rng = np.random.default_rng(0)
        people = pd.DataFrame({"eid": EIDS, "instance": "2"})
        files.write_tsv(self.manifest, people)
        self.cropped = folder / "crops.tsv"
        files.write_tsv(self.cropped, people.assign(verdict="ok", message="", fingerprint="a"))
        with CropWriter(self.crops) as writer:
            for eid in EIDS:
                raw = {
                    side: rng.integers(1, 500, (96, 96, 192)).astype("int16") for side in grid.SIDES
                }
                origin = dict.fromkeys(raw, (0, 0, 0))
                writer.add(f"{eid}_2", Crops(raw, dict.fromkeys(raw, 400.0), origin))
                here = self.folder(eid)
                files.write_nifti(here / "body.nii.gz", grid.las_image(np.ones((2, 2, 2), "uint8")))
                files.write_json(here / "landmarks.json", LANDMARKS)

    def folder(self, eid):
        return files.subject_folder(self.results, eid, "2")

    def segment(self, **changes):
        """Verdicts of the participants."""
        table = segment.run(
            self.manifest,
            self.crops,
            self.cropped,
            [self.weights],
            self.ledger,
            results=self.results,
            version=1,
            parameters=PARAMETERS | changes,
            crop={"normalisation": "published"},
            options=Run(max_machine_failures=1),
            manual=self.manual,
        )
        return dict(zip(table["eid"], table["verdict"], strict=True))


@pytest.fixture
def shard(tmp_path):
    return Shard(tmp_path)


def test_a_participant_that_cannot_be_read_or_written_stops_no_other(shard, monkeypatch):
    (shard.folder(EIDS[0]) / "landmarks.json").unlink()
    (shard.folder(EIDS[1]) / "body.nii.gz").write_bytes(b"\x1f\x8b damaged")
    write = files.write_nifti

    def broken(path, image):
        if EIDS[2] in str(path):
            raise OSError(5, "Input/output error")
        write(path, image)

    monkeypatch.setattr(files, "write_nifti", broken)
    monkeypatch.setattr(shards, "LATE_S", 0.1)
    verdicts = ["earlier_output_lost", "earlier_output_lost", "unexpected_error", "ok"]
    assert shard.segment() == dict(zip(EIDS, verdicts, strict=True))
    table = files.read_tsv(shard.ledger).set_index("eid")
    assert table["message"][EIDS[0]].startswith("landmarks: landmarks.json is gone")
    assert table["message"][EIDS[1]].startswith("dixon: body.nii.gz cannot be read")
    assert table["message"][EIDS[2]].startswith("OSError")

    files.write_json(shard.folder(EIDS[0]) / "landmarks.json", LANDMARKS)
    monkeypatch.undo()
    monkeypatch.setattr(shards, "LATE_S", 0.1)
    done = (shard.folder(EIDS[3]) / "iliopsoas.nii.gz").stat().st_mtime_ns
    verdicts = shard.segment()  # what the machine failed at is tried again, nobody else
    assert [verdicts[eid] for eid in EIDS] == ["ok", "earlier_output_lost", "ok", "ok"]
    assert (shard.folder(EIDS[3]) / "iliopsoas.nii.gz").stat().st_mtime_ns == done


def test_a_full_disk_stops_the_shard_and_what_was_done_stays(shard, monkeypatch):
    write = files.write_nifti

    def full(path, image):
        if EIDS[2] in str(path):
            raise OSError(28, "No space left on device")
        write(path, image)

    monkeypatch.setattr(files, "write_nifti", full)
    with pytest.raises(OSError, match="No space left"):
        shard.segment()
    assert not shard.ledger.exists()
    monkeypatch.undo()
    done = (shard.folder(EIDS[0]) / "iliopsoas.nii.gz").stat().st_mtime_ns
    assert set(shard.segment().values()) == {"ok"}
    assert (shard.folder(EIDS[0]) / "iliopsoas.nii.gz").stat().st_mtime_ns == done


def test_probabilities_of_an_earlier_run_do_not_stay(shard):
    shard.segment(keep_probabilities=True)
    kept = [shard.folder(eid) / "probability.nii.gz" for eid in EIDS]
    assert np.asanyarray(nib.load(kept[0]).dataobj).max() == 100
    shard.segment()
    assert not any(path.exists() for path in kept)


def test_memory_is_a_verdict_and_a_bad_weights_file_is_for_everybody(shard, monkeypatch):
    assert outcome_of(MemoryError("9 GiB")).verdict == Verdict.OUT_OF_MEMORY
    with pytest.raises(InputError, match="SHA-256"):
        shard.segment(weights_sha256="0" * 64)

    def no_room(self, crops):
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr(Segmenter, "predict", no_room)
    assert set(shard.segment().values()) == {"out_of_memory"}


def test_a_manual_mask_takes_the_networks_place_where_it_is_asked_for(shard, tmp_path):
    mask = np.zeros(grid.SHAPE, np.uint8)
    mask[150:160, 80:90, 100:140], mask[60:70, 80:90, 100:140] = grid.LEFT, grid.RIGHT
    corrected, empty = tmp_path / "corrected.nii.gz", tmp_path / "empty.nii.gz"
    files.write_nifti(corrected, grid.las_image(mask))
    files.write_nifti(empty, grid.las_image(np.zeros(grid.SHAPE, np.uint8)))
    named = {EIDS[0]: str(corrected), EIDS[1]: str(empty)}
    people = files.read_tsv(shard.manifest)
    files.write_tsv(shard.manifest, people.assign(annotation=people["eid"].map(named)))
    for eid in EIDS[:2]:
        inside = grid.las_image(np.ones(grid.SHAPE, np.uint8))
        files.write_nifti(shard.folder(eid) / "body.nii.gz", inside)

    def made():
        paths = [shard.folder(eid) / "iliopsoas.nii.gz" for eid in EIDS]
        return [path.stat().st_mtime_ns for path in paths]

    shard.segment()
    before = made()
    shard.manual = True
    shard.segment()
    assert [a == b for a, b in zip(made(), before, strict=True)] == [False, False, True, True]
    found = np.asanyarray(nib.load(shard.folder(EIDS[0]) / "iliopsoas.nii.gz").dataobj)
    np.testing.assert_array_equal(found, mask)
    rows = files.read_tsv(shard.ledger).set_index("eid")
    # a mask that is refused leaves the participant to the network
    assert rows["network"].tolist() == ["manual", "own", "own", "own"]
    assert rows["annotation_sha256"].tolist()[0] == files.sha256(corrected)
    assert rows["weights_sha256"].isna().tolist() == [True, False, False, False]
    shard.manual = False
    shard.segment()
    assert set(files.read_tsv(shard.ledger)["network"]) == {"own"}


def test_a_second_opinion_is_asked_once_and_of_nobody_without_a_mask(shard, monkeypatch):
    asked = []
    everything = np.ones((2, 2, 96, 96, 192), np.float32)

    class Everywhere:
        threshold = 0.5

        def predict(self, crops):
            asked.append(1)
            return everything

        def finest(self, probability):
            return probability

        def mask(self, probability):
            return post_process(probability, self.threshold)

    monkeypatch.setattr(second, "load", lambda batch_size: Everywhere())
    (shard.folder(EIDS[3]) / "landmarks.json").unlink()
    monkeypatch.setattr(shards, "LATE_S", 0.1)
    shard.segment()

    def ask():
        before = len(asked)
        table = opinion.run(
            shard.manifest,
            shard.crops,
            shard.ledger,
            shard.ledger.with_name("opinion.tsv"),
            results=shard.results,
            version="opinion 1",
            normalisation="published",
            batch_size=2,
            options=Run(max_machine_failures=1),
        )
        return table.set_index("eid"), len(asked) - before

    table, times = ask()
    assert times == 3
    assert table["verdict"].tolist() == ["ok"] * 3 + ["earlier_stage"]
    # both networks draw everything: the mask is what of it lies in the volume
    assert (table["left_mirror_dice"][:3] == 1).all()
    assert (table["left_second_dice"][:3] > 0.5).all()
    assert ask()[1] == 0
    rows = files.read_tsv(shard.ledger)
    files.write_tsv(shard.ledger, rows.assign(network="starter", fingerprint=rows["eid"]))
    table, times = ask()
    assert times == 3
    assert table["left_second_dice"].isna().all()


def test_weights_are_checked_before_anything_is_segmented(tmp_path):
    crop = {"normalisation": "published"}
    path = network_file(tmp_path / "model.h5", normalisation="published")
    found = learning.check_weights(path, parameters=PARAMETERS, crop=crop)
    assert found["weights_sha256"] == files.sha256(path)
    assert found["coarsen"] == 6
    with pytest.raises(InputError, match=r"set crops\.normalisation to 'published'"):
        learning.check_weights(path, parameters=PARAMETERS, crop={"normalisation": "paper"})
    other = network_file(tmp_path / "other.h5", 6, coarsen=3)  # not what the network was built for
    with pytest.raises(InputError, match=r"crops of \[16, 16, 32, 1\], expected \[32, 32, 64, 1\]"):
        learning.check_weights(other, parameters=PARAMETERS, crop=crop)
    silent = network_file(tmp_path / "silent.h5", coarsen=None)
    assert learning.check_weights(silent, parameters=PARAMETERS, crop=crop)["coarsen"] == 6
    other.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match="Git LFS pointer"):
        learning.check_weights(other, parameters=PARAMETERS, crop=crop)


def test_a_model_of_another_stage_version_is_trained_again(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    with CropWriter(tmp_path / "crops.h5") as writer:
        for eid in EIDS[:2]:
            raw = {side: rng.integers(1, 500, (96, 96, 192)).astype("int16") for side in grid.SIDES}
            label = {side: (array > 250).astype("uint8") for side, array in raw.items()}
            origin = dict.fromkeys(raw, (0, 0, 0))
            writer.add(f"{eid}_2", Crops(raw, dict.fromkeys(raw, 400.0), origin, label))
    table = pd.DataFrame({"eid": EIDS[:2], "instance": "2", "fold": [1, 2]})
    files.write_tsv(tmp_path / "folds.tsv", table)
    trained = []
    epoch = loop._epoch

    def counted(*arguments):
        trained.append(1)
        return epoch(*arguments)

    monkeypatch.setattr(loop, "_epoch", counted)

    def train(version):
        before = len(trained)
        learning.train(
            tmp_path / "folds.tsv",
            [tmp_path / "crops.h5"],
            tmp_path / "model",
            model="fold-1",
            version=version,
            training={"epochs": 1, "samples_per_muscle": 1, "early_stop": 0},
            network={"base_filters": 1},
            crop={"coarsen": 6, "normalisation": "published"},
        )
        return len(trained) - before

    assert [train(version) for version in (1, 1, 2)] == [1, 0, 1]
    assert files.read_tsv(tmp_path / "model/participants.tsv")["eid"].tolist() == [EIDS[1]]


def test_configured_weights_are_judged_on_whole_label_maps(tmp_path):
    """A mask that fills the crop, against one that the crop cuts: Dice by counting voxels."""
    label = np.zeros(grid.SHAPE, np.uint8)
    label[155:175, 80:100, 20:120] = grid.LEFT  # the crop begins higher up
    label[45:65, 80:100, 100:120] = grid.RIGHT
    water = np.full(grid.SHAPE, 100, np.int16)
    people = pd.DataFrame({"eid": EIDS[:3], "instance": "2"})
    with CropWriter(tmp_path / "crops.h5") as writer:
        for eid in EIDS[:3]:
            known = None if eid == EIDS[2] else label
            writer.add(f"{eid}_2", Crops.of(water, LANDMARKS, known))
    files.write_tsv(tmp_path / "manifest.tsv", people)
    refused = ["ok", "ok", "annotation_empty"]
    files.write_tsv(tmp_path / "crops.tsv", people.assign(verdict="ok", annotation=refused))
    table = learning.folds(
        *([tmp_path / name] for name in ("manifest.tsv", "crops.tsv", "crops.h5"))
    )
    assert table["eid"].tolist() == EIDS[:2]
    files.write_tsv(tmp_path / "folds.tsv", table)

    def judged():
        return learning.validate(
            tmp_path / "folds.tsv",
            [tmp_path / "crops.h5"],
            network_file(tmp_path / "model.h5"),
            tmp_path / "examples.npz",
            fold=learning.fold_of("configured"),
            parameters=PARAMETERS | {"weights_sha256": "0" * 64},  # checked by a rule of its own
            crop={"normalisation": "published"},
        )

    rows = judged()
    assert len(rows) == 4
    for row in rows.itertuples():
        low = np.array(box(LANDMARKS, row.side, grid.SHAPE))
        part = label[
            tuple(slice(max(a, 0), a + n) for a, n in zip(low, (96, 96, 192), strict=True))
        ]
        mine = label == grid.SIDES[row.side]
        shared = np.count_nonzero(part == grid.SIDES[row.side])
        assert row.dice == pytest.approx(2 * shared / (part.size + mine.sum()))
        assert row.manual_ml == pytest.approx(mine.sum() * grid.VOXEL_ML)
    lost = rows.set_index("side")["outside_crop_ml"]
    assert (lost["left"] > 0).all()
    assert (lost["right"] == 0).all()

    files.write_tsv(tmp_path / "folds.tsv", table.iloc[:0])
    assert judged().empty
    assert overlays([tmp_path / "examples.npz"]) == []
    assert learning.folds([], [], []).empty


def test_a_folds_threshold_is_chosen_by_the_others():
    """Volumes that fall in a straight line, right at 0.3 in one fold and at 0.7 in the other."""
    thresholds = learning.THRESHOLDS
    rows = [
        (fold, eid, "2", "left", threshold, 100 + slope * (right_at - threshold), 100.0)
        for fold, eid, right_at, slope in ((1, "1", 0.3, 100), (2, "2", 0.7, 300))
        for threshold in thresholds
    ]
    columns = ["fold", *files.KEY, "side", "threshold", "automatic_ml", "manual_ml"]
    table = learning.calibrate(pd.DataFrame(rows, columns=columns)).set_index("model")
    # in sum: 100 (0.3 - t) + 300 (0.7 - t) = 0 at t = 0.6
    expected = {"fold-1": 0.7, "fold-2": 0.3, "final": 0.6}
    assert table["threshold"].to_dict() == pytest.approx(expected, abs=1e-3)
    assert table["participants"].to_dict() == {"fold-1": 1, "fold-2": 1, "final": 2}


def test_a_threshold_is_taken_from_the_models_row(tmp_path):
    assert learning.threshold([], "final") == {}
    chosen = pd.DataFrame({"model": ["fold-1", "final"], "threshold": [0.4, 0.6]})
    files.write_tsv(tmp_path / "thresholds.tsv", chosen)
    assert learning.threshold(tmp_path / "thresholds.tsv", "fold-1") == {"threshold": 0.4}
