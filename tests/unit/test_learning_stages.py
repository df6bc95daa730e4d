"""The stages of the network on a shard: one participant's trouble is nobody else's."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from iliopsoas import files, grid
from iliopsoas.config import Run
from iliopsoas.crops import Crops, CropWriter
from iliopsoas.network import architecture as network
from iliopsoas.network import weights
from iliopsoas.network.segmentation import Segmenter
from iliopsoas.network.training import loop
from iliopsoas.stages import learning, segment, shards
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
