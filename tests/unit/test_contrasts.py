"""In-phase and fat-fraction images: what they show, who is done again for them, and who is not."""

import dixon_zip as dz
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from iliopsoas import config, files
from iliopsoas.config import Run
from iliopsoas.stages import dixon as stage
from iliopsoas.stages import images
from iliopsoas.status import InputError

BOTH = ["in_phase", "fat_fraction"]


def dixon(results, contrasts=(), keep="everything"):
    return stage.run(
        results / "manifest.tsv",
        results / "dixon.tsv",
        results=results,
        version="dixon 1",
        parameters={"bias_shrink": 8, "contrasts": list(contrasts)},
        processes=1,
        options=Run(keep=keep),
    )


def array(results, name):
    image = nib.load(files.subject_folder(results, "1000001", "2") / f"{name}.nii.gz")
    return np.asanyarray(image.dataobj), image


def modified(results):
    return {path.name: path.stat().st_mtime_ns for path in results.glob("subjects/*/*/*.nii.gz")}


@pytest.fixture(scope="module")
def stitched(tmp_path_factory):
    """A participant without contrasts, then with both: results, and what there was before."""
    results = tmp_path_factory.mktemp("results")
    scan = dz.write_zip(results / "scan.zip", dz.scan_items(dz.make_stations()))
    row = {"eid": "1000001", "instance": "2", "scan": str(scan)}
    files.write_tsv(results / "manifest.tsv", pd.DataFrame([row]))
    plain = dixon(results)
    before = {name: array(results, name)[0] for name in ("water", "fat", "body")}
    assert set(modified(results)) == {f"{name}.nii.gz" for name in before}
    return results, plain, before, dixon(results, BOTH)


def test_the_in_phase_image_is_what_water_and_fat_add_up_to(stitched):
    """In phase their signals add: the scanner's in-phase series went through the same stitching."""
    results, _, before, _ = stitched
    in_phase, image = array(results, "in_phase")
    np.testing.assert_array_equal(image.affine, array(results, "water")[1].affine)
    inside = before["body"] > 0
    signal = before["water"].astype(float) + before["fat"]
    assert in_phase.shape == signal.shape
    assert np.median(np.abs(in_phase - signal)[inside]) < 0.03 * np.median(signal[inside])
    assert np.corrcoef(in_phase[inside], signal[inside])[0, 1] > 0.97


def test_the_fat_fraction_is_that_of_the_images_in_percent(stitched):
    results, _, before, _ = stitched
    percent, _ = array(results, "fat_fraction")
    rng = np.random.default_rng(0)
    inside = np.argwhere(before["body"] > 0)
    for x, y, z in rng.permutation(inside)[:200]:
        water, fat = int(before["water"][x, y, z]), int(before["fat"][x, y, z])
        wanted = 100 * fat / (water + fat) if water + fat else 0
        assert abs(percent[x, y, z] - wanted) <= 0.5 + 1e-6
    assert not percent[before["body"] == 0].any()
    assert percent.max() <= 100


def test_switching_them_on_changes_nothing_that_others_read(stitched):
    results, plain, before, after = stitched
    for name, values in before.items():
        np.testing.assert_array_equal(array(results, name)[0], values)
    # landmarks, crops, masks and volumes follow the fingerprint
    assert list(after["fingerprint"]) == list(plain["fingerprint"])
    assert list(after["bytes"]) == list(plain["bytes"])
    there = modified(results)
    dixon(results, BOTH)
    assert modified(results) == there, "and nobody is done twice"


def test_one_that_was_cut_off_is_made_again(stitched):
    results = stitched[0]
    path = files.subject_folder(results, "1000001", "2") / "in_phase.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    dixon(results, BOTH)
    assert path.read_bytes() == whole


def test_removed_with_the_others_it_is_made_again_where_it_is_read(stitched):
    results = stitched[0]
    wanted = array(results, "in_phase")[0]
    row = {"eid": "1000001", "instance": "2", "verdict": "ok"}
    files.write_tsv(results / "volumes.tsv", pd.DataFrame([row]))
    images.remove(
        results / "manifest.tsv",
        dixon=results / "dixon.tsv",
        volumes=results / "volumes.tsv",
        results=results,
        parameters={"bias_shrink": 8, "contrasts": BOTH},
    )
    assert set(modified(results)) == {"body.nii.gz"}
    there = modified(results)
    dixon(results, BOTH, keep="results")
    assert modified(results) == there
    folder = files.subject_folder(results, "1000001", "2")
    (found,) = images.load(folder, "in_phase.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(found.dataobj), wanted)
    # kept again, then switched off: they go, and nobody is done again
    dixon(results, BOTH)
    assert len(modified(results)) == 5
    there = modified(results)
    dixon(results)
    left = modified(results)
    assert left == {name: there[name] for name in ("water.nii.gz", "fat.nii.gz", "body.nii.gz")}


def test_a_command_that_gets_an_image_nobody_makes_is_refused():
    release = {"name": "r1", "zips": "zips", "phenotypes": ["table.csv"]}
    method = {"name": "tool", "folder": "masks", "command": "tool {input} {output}"}
    for contrast in BOTH:
        given = {"releases": [release], "other_methods": [method | {"contrast": contrast}]}
        with pytest.raises(InputError, match=r"dixon\.contrasts"):
            config.load(given)
        config.load(given | {"dixon": {"contrasts": [contrast]}})
    for command in (
        "tool",
        "tool {input}",
        "tool {input} {outputs}",
        "awk {print} {input} {output}",
    ):
        with pytest.raises(InputError, match="command"):
            config.load({"releases": [release], "other_methods": [method | {"command": command}]})
