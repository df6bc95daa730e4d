"""The scanner finds what was planted, wherever it hides, and says so without saying it."""

import base64
import bz2
import functools
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin

from iliopsoas.privacy import Cohort, scan_bytes, scan_folder
from iliopsoas.privacy.findings import BIRTH, CLOSED, COHORT_ID, ID_COLUMN, MARKS, NUMBER, ROWS

EID, OTHER, BORN = "3943557", "2718281", "1951-07-23"
KNOWN = Cohort(ids=frozenset({EID, "5148791"}), size=8)


def png(**text) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, value in text.items():
        info.add_text(key, value, zip=key == "Squeezed")
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "png", pnginfo=info)
    return out.getvalue()


def jpeg(description) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = description
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "jpeg", exif=exif)
    return out.getvalue()


def pdf(words="nothing", metadata=None, compression=6) -> bytes:
    import matplotlib as mpl

    drawing = Figure()
    drawing.text(0.1, 0.5, words)
    out = io.BytesIO()
    with mpl.rc_context({"pdf.compression": compression, "pdf.fonttype": 42}):
        drawing.savefig(out, format="pdf", metadata=metadata)
    return out.getvalue()


def nifti(descrip="", extension=None) -> bytes:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    image.header["descrip"] = descrip
    if extension:
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", extension.encode()))
    return image.to_bytes()


def zipped(name, data, comment=b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
        archive.comment = comment
    return out.getvalue()


def tarred(name, data) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def hdf5(**attributes) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.create_dataset("x", data=np.zeros(4, np.float32))
        file.attrs.update(attributes)
    return out.getvalue()


def npy(array) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def gzip_named(name, data) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(name, "wb", fileobj=out) as file:
        file.write(data)
    return out.getvalue()


@functools.cache
def leaks(secret: str) -> dict:
    """Every hiding place, with the secret in it."""
    text = f"all well, but {secret} is here\n"
    return {
        "page.html": f"<p>{text}</p>".encode(),
        "entities.html": ("<p>" + "".join(f"&#{ord(c)};" for c in secret) + "</p>").encode(),
        "drawing.svg": f"<svg><metadata>{text}</metadata></svg>".encode(),
        "notes.md": text.encode(),
        "run.log": text.encode(),
        "wide.txt": text.encode("utf-16"),
        "table.csv": f"a,b\n1,{secret}\n".encode(),
        "state.json": json.dumps({"a": [{"b": secret}]}).encode(),
        "report.zip": zipped("report/index.html", text),
        "nested.zip": zipped("inner.zip", zipped("x.txt", text)),
        "comment.zip": zipped("x.txt", "well", secret.encode()),
        "table.tsv.gz": gzip.compress(text.encode()),
        "gzip_header.gz": gzip_named(f"{secret}.txt", b"well"),
        "table.bz2": bz2.compress(text.encode()),
        "table.xz": lzma.compress(text.encode()),
        "all.tar.gz": tarred("x.txt", text.encode()),
        "text.png": png(Title=text),
        "squeezed.png": png(Squeezed=text * 20),
        "after.png": png() + secret.encode(),
        "exif.jpg": jpeg(text),
        "embedded.svg": b'<svg><image href="data:image/png;base64,'
        + base64.b64encode(png(Comment=text))
        + b'"/></svg>',
        "words.pdf": pdf(words=text.strip()),
        "metadata.pdf": pdf(metadata={"Subject": text.strip()}),
        "header.nii": nifti(descrip=secret),
        "header.nii.gz": gzip.compress(nifti(descrip=secret)),
        "extension.nii.gz": gzip.compress(nifti(extension=text)),
        "attribute.h5": hdf5(comment=text),
        "array.npz": zipped("a.npy", npy(np.array([secret]))),
    }


@pytest.mark.parametrize("place", leaks(EID))
def test_an_id_of_the_cohort_is_found_in_every_hiding_place(place):
    found = scan_bytes(leaks(EID)[place], place, KNOWN)
    assert COHORT_ID in {finding.kind for finding in found}
    assert not any(EID in str(finding) for finding in found)
    assert all(place in str(finding) for finding in found)


@pytest.mark.parametrize("place", leaks(OTHER))
def test_any_number_like_an_id_is_found_in_every_hiding_place(place):
    found = scan_bytes(leaks(OTHER)[place], place, KNOWN)
    assert NUMBER in {finding.kind for finding in found}
    assert not any(OTHER in str(finding) for finding in found)


@pytest.mark.parametrize("place", leaks(BORN))
def test_a_date_of_birth_is_found_in_every_hiding_place(place):
    found = scan_bytes(leaks(BORN)[place], place, KNOWN)
    assert BIRTH in {finding.kind for finding in found}
    assert not any(BORN in str(finding) for finding in found)


@pytest.mark.parametrize("place", leaks("none"))
def test_the_same_files_without_a_secret_are_clean(place):
    assert scan_bytes(leaks("none")[place], place, KNOWN) == []


@pytest.mark.parametrize(
    "text",
    [
        *(f"EID{OTHER}", f"sub-{OTHER}", f"{OTHER}_2_0.zip", f"{OTHER}.0,x", f'"{OTHER}"'),
        *(f"eid={OTHER};", f"/data/{OTHER}/", f"{OTHER}.nii.gz", f"-{OTHER}", f"\n{OTHER}\n"),
    ],
)
def test_ids_are_told_however_they_are_written(text):
    assert NUMBER in {finding.kind for finding in scan_bytes(text.encode(), "a.log")}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "0.2718281",
            "12.2718281",
            "2718281.25",
            "27182818",
            "271828",
            " .2718281",
            "1e-2718281x",
        ),
        *("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "v2718281b"),
        "1.2.840.2718281.5",
    ],
)
def test_other_numbers_are_left_alone(text):
    assert scan_bytes(text.encode(), "a.log", KNOWN) == []


def test_known_ids_are_found_where_a_number_alone_would_not_be():
    for text in (f"x{EID}y", f"{EID[0]},{EID[1:4]},{EID[4:]}"):
        kinds = {finding.kind for finding in scan_bytes(text.encode(), "a.log", KNOWN)}
        assert kinds == {COHORT_ID}


@pytest.mark.parametrize(
    "text",
    [
        *("1951-07-23", "23/07/1951", "07/23/1951", "19510723", "23.7.1951", "23 July 1951"),
        *("Jul 23, 1951", "DateOfBirth: 1951", "year_of_birth=1951", "(0010,0030) DA [19510723]"),
    ],
)
def test_dates_of_birth_are_told_however_they_are_written(text):
    assert BIRTH in {finding.kind for finding in scan_bytes(text.encode(), "a.log")}


@pytest.mark.parametrize(
    "text", ["2019-07-23", "in 1951", "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "0.19510723"]
)
def test_other_dates_are_left_alone(text):
    assert scan_bytes(text.encode(), "a.log") == []


def test_names_are_searched_and_masked(tmp_path):
    folder = tmp_path / "out" / f"{EID}_2"
    folder.mkdir(parents=True)
    (folder / "x.txt").write_text("well")
    (found,) = scan_folder(tmp_path / "out", KNOWN)
    assert str(found) == "#######_2/x.txt: id of this cohort (file name)"
    inner = scan_bytes(zipped(f"{EID}/x.txt", "well"), "a.zip", KNOWN)
    assert "name of #######/x.txt" in {finding.place for finding in inner}


def test_an_empty_folder_and_a_link_are_looked_at(tmp_path):
    (tmp_path / EID).mkdir()
    (tmp_path / "link").symlink_to("/etc/hostname")
    assert {finding.kind for finding in scan_folder(tmp_path, KNOWN)} == {COHORT_ID, CLOSED}


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x95\x00\x01" * 20,
        gzip.compress(b"x" * 1000)[:-20],
        zipped("a.txt", "x" * 100)[:-30],
        b"PAR1" + bytes(100),
        b"%PDF-1.4 broken",
    ],
    ids=["pickle", "gzip", "zip", "parquet", "pdf"],  # archives hold the time: no name for a test
)
def test_what_cannot_be_opened_is_a_finding(data):
    assert CLOSED in {finding.kind for finding in scan_bytes(data, "a.bin")}


def test_dicom_is_a_finding():
    found = scan_bytes(bytes(128) + b"DICM" + bytes(20), "image")
    assert [finding.kind for finding in found] == ["DICOM file"]


def people(n=12, seed=1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "eid": [str(1_000_000 + i) for i in range(n)],
            "sex": ["female", "male"] * (n // 2),
            "age": rng.integers(45, 80, n),
            "total_ml": rng.normal(600, 100, n),
        }
    )


def as_format(table, kind) -> bytes:
    if kind == "tsv":
        return table.to_csv(sep="\t", index=False).encode()
    if kind == "csv":
        return table.to_csv(index=False).encode()
    if kind == "json":
        return json.dumps(table.to_dict("records")).encode()
    if kind == "html":
        return table.to_html(index=False).encode()
    rows = [table.columns, *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows).encode()


@pytest.mark.parametrize("kind", ["tsv", "csv", "json", "html", "md"])
def test_a_row_per_participant_is_found_without_any_id(kind):
    table = people()
    cohort = Cohort(values={"total_ml": np.sort(table["total_ml"].to_numpy())}, size=12)
    for part in (table[["sex", "age", "total_ml"]], table[["total_ml"]].assign(x="a").round(3)):
        found = scan_bytes(as_format(part, kind), f"table.{kind}", cohort)
        assert {finding.kind for finding in found} == {ROWS}
    short = table.assign(eid=range(len(table)))[["eid", "total_ml"]]
    kinds = {finding.kind for finding in scan_bytes(as_format(short, kind), f"t.{kind}", cohort)}
    assert ID_COLUMN in kinds


@pytest.mark.parametrize("name", ["values.tsv", "values.csv", "values.txt", "values"])
def test_a_single_column_of_measurements_is_found(name):
    values = people(40)["total_ml"]
    cohort = Cohort(values={"total_ml": np.sort(values.to_numpy())}, size=40)
    text = "\n".join(["fit", *(f"{value:.2f}" for value in values)])
    assert {finding.kind for finding in scan_bytes(text.encode(), name, cohort)} == {ROWS}
    other = "\n".join(["fit", *(f"{value + 0.031:.2f}" for value in values)])
    assert scan_bytes(other.encode(), name, cohort) == []


def test_a_table_of_groups_is_left_alone():
    table = people(400)
    cohort = Cohort(values={"total_ml": np.sort(table["total_ml"].to_numpy())}, size=400)
    groups = table.groupby(["sex", "age"])["total_ml"].agg(["count", "mean", "std"]).reset_index()
    assert scan_bytes(as_format(groups, "tsv"), "groups.tsv", cohort) == []


def test_a_column_of_birth_years_is_found():
    found = scan_bytes(b"group\tyear_of_birth\na\t1951\nb\t1952\n", "t.tsv")
    assert {finding.kind for finding in found} == {BIRTH}


def test_a_scatter_plot_of_participants_is_found():
    import matplotlib as mpl

    rng = np.random.default_rng(0)
    pictures = {}
    for n in (60, 3):
        drawing = Figure()
        drawing.subplots().scatter(rng.random(n), rng.random(n))
        out = io.StringIO()
        with mpl.rc_context({"svg.fonttype": "path"}):
            drawing.savefig(out, format="svg", metadata={"Date": None})
        pictures[n] = out.getvalue().encode()
    cohort = Cohort(size=60)
    assert {f.kind for f in scan_bytes(pictures[60], "f.svg", cohort)} == {MARKS}
    assert scan_bytes(pictures[3], "f.svg", cohort) == []


def test_compressed_pdf_streams_are_opened():
    page = pdf(words=f"id {EID}")
    assert EID.encode() not in page, "the test needs a compressed page"
    assert COHORT_ID in {finding.kind for finding in scan_bytes(page, "a.pdf", KNOWN)}


def test_a_cohort_knows_everyone_in_results_tables_and_lists(tmp_path):
    results = tmp_path / "results"
    (results / "cohort").mkdir(parents=True)
    sample = people(4).assign(instance="2")
    sample.to_csv(results / "cohort/sample.tsv", sep="\t", index=False)
    (results / "subjects/20/2000001_3").mkdir(parents=True)
    (tmp_path / "phenotypes.csv").write_text('"f.eid","31-0.0"\n3000001,1\n3000002,0\n')
    (tmp_path / "w1.csv").write_text("4000001\n")
    known = Cohort.read(results, [tmp_path / "phenotypes.csv"], [tmp_path / "w1.csv"])
    assert {"1000003", "2000001", "3000002", "4000001"} <= known.ids
    assert known.size == 4


def test_any_folder_can_be_searched_from_the_command_line(tmp_path, capsys):
    from iliopsoas import cli

    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.txt").write_text("well")
    arguments = ["search", str(tmp_path / "out"), "--results", str(tmp_path / "none")]
    assert cli.main(arguments) == cli.OK
    (tmp_path / "out/a.txt").write_text(f"id {OTHER}")
    assert cli.main(arguments) == cli.REFUSED
    printed = capsys.readouterr().out
    assert "a.txt: number of seven digits" in printed
    assert OTHER not in printed
