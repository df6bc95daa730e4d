"""Previews, and the data the review page reads; the page itself is tried in tests/browser."""

import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from iliopsoas import files, grid
from iliopsoas.qc import audit, preview, review

JOINTS = {"1": (30, 80, 350), "2": (190, 80, 350), "11": (62, 77, 160), "12": (142, 77, 160)}


@pytest.fixture(scope="module")
def scan():
    """A noisy body with two ellipsoids; noise is the worst case for a PNG's size."""
    rng = np.random.default_rng(4)
    x, y, z = np.ogrid[: grid.SHAPE[0], : grid.SHAPE[1], : grid.SHAPE[2]]
    body = ((x - 102) / 90) ** 2 + ((y - 87) / 60) ** 2 < 1
    water = (body * np.ones(grid.SHAPE) * 150 + rng.normal(0, 40, grid.SHAPE)).clip(0)
    mask = np.zeros(grid.SHAPE, np.uint8)
    for label, centre in ((grid.RIGHT, 75), (grid.LEFT, 130)):
        inside = ((x - centre) / 9) ** 2 + ((y - 85) / 11) ** 2 + ((z - 200) / 45) ** 2 < 1
        mask[inside] = label
    return water.astype(np.float32), mask


def read(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def where(picture, colour):
    return np.argwhere((picture == preview.COLOURS[colour]).all(axis=2))


def test_a_preview_is_small_anonymous_and_repeatable(scan):
    data = preview.preview(*scan, JOINTS)
    assert len(data) < preview.MAX_BYTES
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG"
    assert image.info == {}  # no text, no time
    assert data == preview.preview(*scan, JOINTS)


def test_the_patients_right_is_on_the_pictures_left(scan):
    picture = read(preview.preview(*scan, JOINTS))
    # in the coronal view, upper left, both outlines and the crops' frames
    coronal = picture[:400, :330]
    right, left = where(coronal, "right"), where(coronal, "left")
    assert right[:, 1].max() < left[:, 1].min()
    height_mm = (np.ptp(left[:, 0]) + 1) * preview.PIXEL_MM
    assert height_mm == pytest.approx(2 * 45 * 3.0, abs=8)
    width_mm = (np.ptp(left[:, 1]) + 1) * preview.PIXEL_MM
    assert width_mm == pytest.approx(2 * 9 * grid.IN_PLANE_MM, abs=5)
    assert len(where(coronal, "box")) > 300


def test_head_is_up(scan):
    water, mask = scan
    taller = mask.copy()
    taller[100:104, 80:90, 245:280] = grid.LEFT
    before = where(read(preview.preview(water, mask, JOINTS))[:400, :330], "left")
    after = where(read(preview.preview(water, taller, JOINTS))[:400, :330], "left")
    assert after[:, 0].min() < before[:, 0].min() - 15
    assert after[:, 0].max() == before[:, 0].max()


def test_one_side_no_mask_or_no_landmarks_still_give_a_picture(scan):
    water, mask = scan
    alone = read(preview.preview(water, np.where(mask == grid.LEFT, 0, mask), JOINTS))
    assert len(where(alone, "left")) == 0
    assert len(where(alone, "right")) > 100
    empty = read(preview.preview(water, np.zeros_like(mask), None))
    assert len(where(empty, "right")) == 0
    assert empty.max() > 100
    bare = read(preview.preview(water, mask, {}))
    assert len(where(bare, "box")) == 0
    assert len(where(bare, "left")) > 100
    black = read(preview.preview(np.zeros_like(water), mask, JOINTS))
    assert len(where(black, "left")) > 100


def test_shapes_that_differ_are_an_error(scan):
    with pytest.raises(ValueError, match="preview: water has shape"):
        preview.preview(scan[0][1:], scan[1])


def tables(people=1200):
    key = pd.DataFrame({"eid": [str(1000000 + i) for i in range(people)], "instance": "2"})
    volumes = key.assign(status="ok", total_ml=np.linspace(400, 900, people), left_ml=np.nan)
    sample = key.assign(sex="female", age=60.0)
    qc = ["serious"] * 2 + ["review"] * 3 + ["pass"] * (people - 5)
    verdicts = key.assign(qc=qc, score=0.0, flags="")
    flags = key[:5].assign(flag="touches_crop", severity="review", reading="</script>\u2028<b>")
    return volumes, verdicts, flags, sample, audit.draw(verdicts, 20)


def loaded(path):
    """The arguments of a data file's call."""
    text = path.read_text()
    name, inside = re.fullmatch(r"reviewData\.(\w+)\((.*)\);\n", text, re.DOTALL).groups()
    assert text.isascii()
    return name, json.loads(f"[{inside}]")


def test_every_participant_is_on_the_page_once_and_in_order(tmp_path):
    volumes, verdicts, flags, sample, drawn = tables()
    shuffled = verdicts.sample(frac=1, random_state=1)
    said = review.build(
        tmp_path, volumes, shuffled, flags, sample, drawn, lambda eid, instance: None
    )
    assert said == {"participants": 1200, "pictures": 0, "chunks": 3}
    _, (head,) = loaded(tmp_path / "data/head.js")
    rows = []
    for number in range(3):
        name, (index, part) = loaded(tmp_path / f"data/rows-{number}.js")
        assert (name, index) == ("rows", number)
        rows += part
    eids = [row[head["columns"].index("eid")] for row in rows]
    assert eids == list(shuffled["eid"])
    place = {eid: rank for rank, eid in enumerate(eids)}
    _, (_, ranks) = loaded(tmp_path / "data/flag-0.js")
    assert ranks == sorted(place[eid] for eid in flags["eid"])
    assert head["blinded"] == [place[eid] for eid in drawn["eid"]]
    flagged = rows[ranks[0]][head["columns"].index("flags")]
    assert flagged == [[0, "</script>\u2028<b>"]]
    total = [m["label"] for m in head["measures"]].index("Total volume")
    values = [row[head["columns"].index("values")] for row in rows]
    assert values[place["1000000"]][total] == 400.0
    assert values[0][1 - total] is None  # missing is missing, not 0
    assert sum(head["measures"][total]["histogram"]["counts"]["female"]) == 1200


def test_predicted_quality_stands_among_the_numbers(tmp_path):
    volumes, verdicts, flags, sample, drawn = tables(6)
    sides = verdicts[["eid", "instance"]].assign(side="left", predicted_dice=0.91234)
    sides = sides.assign(error_low_ml=-np.inf, error_high_ml=12.0)  # -inf: too few to learn from
    right = sides[:3].assign(side="right", predicted_dice=0.5)
    quality = pd.concat([sides, right], ignore_index=True)
    rest = (sample, drawn, lambda *_: None)
    review.build(tmp_path, volumes, verdicts, flags, *rest, quality=quality)
    _, (head,) = loaded(tmp_path / "data/head.js")
    _, (_, rows) = loaded(tmp_path / "data/rows-0.js")
    labels = [measure["label"] for measure in head["measures"]]
    found = [dict(zip(labels, row[head["columns"].index("values")], strict=True)) for row in rows]
    assert found[0]["Predicted Dice, left"] == 0.912
    assert found[0]["Volume error from, left"] is None
    assert found[0]["Volume error to, left"] == 12.0
    assert (found[0]["Predicted Dice, right"], found[3]["Predicted Dice, right"]) == (0.5, None)
    review.build(
        tmp_path, volumes, verdicts, flags, *rest, quality=quality[:0][["eid", "instance", "side"]]
    )
    _, (head,) = loaded(tmp_path / "data/head.js")
    assert not [measure for measure in head["measures"] if "Dice" in measure["label"]]


def test_pictures_are_laid_beside_the_page_for_those_wanted_and_old_ones_leave(tmp_path):
    picture = tmp_path / "preview.png"
    Image.new("L", (4, 4)).save(picture)
    page = tmp_path / "page"
    arguments = (*tables(), lambda eid, instance: picture)
    wanted = arguments[1][["eid", "instance"]][:7]

    def build(*arguments, **options):
        with files.owned_folder(page) as part:
            return review.build(part, *arguments, **options)

    build(*arguments, wanted=wanted)
    assert len(list(page.rglob("*.png"))) == 7
    (page / "decisions.tsv").write_text("mine")
    said = build(*arguments, wanted=wanted[:2])
    assert said["pictures"] == 2
    assert sorted(path.name for path in page.rglob("*.png")) == ["1000000_2.png", "1000001_2.png"]
    gone = build(*tables(), lambda eid, instance: tmp_path / "none.png")
    assert gone["pictures"] == 0
    assert (page / "decisions.tsv").read_text() == "mine"


def test_the_page_forbids_everything_from_outside(tmp_path):
    review.build(tmp_path, *tables(30), lambda eid, instance: None)
    html = (tmp_path / "index.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html).group(1)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for path in tmp_path.rglob("*.*"):
        outside = set(re.findall(r"https?://[^\s\"'<>)]+", path.read_text()))
        assert outside <= {"http://www.w3.org/2000/svg"}, path.name
        assert "innerHTML" not in path.read_text()


def test_a_cohort_without_flags_or_volumes_has_a_page(tmp_path):
    volumes, verdicts, flags, sample, drawn = tables(8)
    verdicts["qc"] = "no_volume"
    volumes["total_ml"] = np.nan
    review.build(tmp_path, volumes, verdicts, flags[:0], sample, drawn[:0], lambda *_: None)
    _, (head,) = loaded(tmp_path / "data/head.js")
    assert head["flags"] == []
    assert head["blinded"] == []
    assert head["measures"][0]["histogram"] is None


def test_who_was_refused_after_dixon_is_shown_without_outlines(scan, tmp_path):
    from iliopsoas import files
    from iliopsoas.stages import analysis

    people = pd.DataFrame({"eid": ["1000001", "1000002"], "instance": "2"})
    folder = files.subject_folder(tmp_path / "results", "1000001", "2")
    files.write_nifti(folder / "water.nii.gz", grid.las_image(scan[0].astype(np.int16)))
    tables = {
        "volumes": people.assign(
            status=["hips_not_found", "truncated_zip"],
            stopped_at=["landmarks", "dixon"],
            total_ml=np.nan,
        ),
        "verdicts": people.assign(qc="no_volume", score=0.5, flags=""),
        "flags": people.assign(
            flag=["hips_not_found", "truncated_zip"], severity="no_volume", reading="no volume"
        ),
        "drawn": people.iloc[:0].assign(group=""),
        "summary": pd.DataFrame({"flag": [], "definition": []}),
    }
    page = tmp_path / "review"
    counts = analysis.review_page(
        page, people.assign(sex="male"), tables, results=tmp_path / "results"
    )
    assert counts["pictures"] == 1
    picture = page / "previews" / "10" / "1000001_2.png"
    assert read(picture.read_bytes()).max() > 100
    assert len(where(read(picture.read_bytes()), "left")) == 0
