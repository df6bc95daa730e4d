"""Downloads from a local server that fails in every way that servers do."""

import gzip
import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from iliopsoas import cli, example
from iliopsoas.example import download
from iliopsoas.status import InputError

CONTENT = gzip.compress(bytes(range(256)) * 4000, mtime=0) + bytes(30_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` (path to bytes) with ranges; `cut` bytes after which an answer breaks off."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.version, self.ranges, self.requests = {}, [], "1", True, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def address(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append((self.path, wanted))
        content = server.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        start = 0
        same = self.headers.get("If-Range") in (None, f'"{server.version}"')
        if wanted and server.ranges and same:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if server.version:
            self.send_header("ETag", f'"{server.version}"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content)
        if server.cut:
            end = min(end, start + server.cut.pop(0))
        self.wfile.write(content[start:end])


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    running = Server()
    running.files["a.nii.gz"] = CONTENT
    yield running
    running.shutdown()
    running.server_close()


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_once(server, tmp_path):
    path = tmp_path / "new" / "a.nii.gz"
    assert example.fetch(server.address("a.nii.gz"), path, SHA256, len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert left_over(path.parent) == ["a.nii.gz"]
    assert not example.fetch(server.address("a.nii.gz"), path, SHA256.upper(), len(CONTENT))
    assert len(server.requests) == 1


def test_a_wrong_file_that_is_there_is_replaced(server, tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(b"another"))
    assert example.fetch(server.address("a.nii.gz"), path, SHA256)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("version", ["1", ""])
def test_a_cut_connection_goes_on_where_it_stopped(server, tmp_path, version):
    server.version, server.cut = version, [10_000, 5_000]
    path = tmp_path / "a.nii.gz"
    assert example.fetch(server.address("a.nii.gz"), path, SHA256)
    assert path.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=10000-", "bytes=15000-"]


def test_a_later_call_goes_on(server, tmp_path):
    path = tmp_path / "a.nii.gz"
    server.cut = [7_000]
    with pytest.raises(ConnectionError, match=r"7,000 bytes are kept"):
        example.fetch(server.address("a.nii.gz"), path, SHA256, tries=1)
    assert not path.exists()
    assert example.fetch(server.address("a.nii.gz"), path, SHA256)
    assert path.read_bytes() == CONTENT
    assert server.requests[-1] == ("/a.nii.gz", "bytes=7000-")
    assert left_over(tmp_path) == ["a.nii.gz"]


@pytest.mark.parametrize("change", ["other version", "other size", "no ranges", "other address"])
def test_halves_of_different_files_are_never_joined(server, tmp_path, change):
    path = tmp_path / "a.nii.gz"
    other = gzip.compress(b"something else entirely" * 2000, mtime=0) + bytes(40_000)
    server.cut = [7_000]
    if change == "other size":
        server.version = ""
    with pytest.raises(ConnectionError):
        example.fetch(server.address("a.nii.gz"), path, tries=1)
    server.files |= {"a.nii.gz": other, "b.nii.gz": other}
    if change == "other version":
        server.version = "2"
    server.ranges = change != "no ranges"
    name = "b.nii.gz" if change == "other address" else "a.nii.gz"
    assert example.fetch(server.address(name), path)
    assert path.read_bytes() == other


def test_a_part_that_is_complete_is_believed_after_its_check(server, tmp_path):
    path = tmp_path / "a.nii.gz"
    server.cut = [7_000]
    with pytest.raises(ConnectionError):
        example.fetch(server.address("a.nii.gz"), path, tries=1)
    (tmp_path / "a.nii.gz.part").write_bytes(CONTENT)
    assert example.fetch(server.address("a.nii.gz"), path, SHA256)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"", "begins with b''"),
        (b"PK\x03\x04 not gzip", "expected a gzipped NIfTI"),
        (CONTENT[:-1], "expected 3"),
        (CONTENT[:-1] + b"x", "found SHA-256"),
    ],
)
def test_another_file_is_refused_and_not_kept(server, tmp_path, content, told):
    server.files["a.nii.gz"] = content
    with pytest.raises(InputError, match=told):
        example.fetch(server.address("a.nii.gz"), tmp_path / "a.nii.gz", SHA256, len(CONTENT))
    assert left_over(tmp_path) == []


def test_404_names_the_address_and_what_to_do(server, tmp_path):
    with pytest.raises(InputError, match=r"404.*nowhere\.zip.*by hand"):
        example.fetch(server.address("nowhere.zip"), tmp_path / "nowhere.zip")
    assert len(server.requests) == 1, "not asked again: the answer will not change"


def test_no_server_is_a_system_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    with pytest.raises(ConnectionError, match="0 bytes are kept"):
        example.fetch("http://127.0.0.1:9/a.zip", tmp_path / "a.zip", tries=2)


# -- the configuration, and what the command says ------------------------------------------------

ROLES = ("scan", "weights", "left", "right", "landmarks", "water", "fat", "body")


def configuration(tmp_path, **changes):
    lines = [f"folder: {tmp_path / 'files'}", "files:"]
    for role in ROLES:
        lines.append(f"  {role}: {{url: '{changes.get(role, f'http://127.0.0.1:9/{role}')}'}}")
    path = tmp_path / "example.yaml"
    path.write_text("\n".join(lines))
    return path


def test_the_shipped_configuration_is_valid():
    from iliopsoas.network.weights import PUBLISHED_SHA256

    settings = example.load(Path(__file__).resolve().parents[2] / "config" / "example.yaml")
    assert settings.path("scan").name == "eg_20201_abdo.zip"
    assert settings.files.weights.sha256 == PUBLISHED_SHA256
    assert settings.files.weights.bytes == 195_752_152


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scan": "file:///etc/passwd"}, "files.scan.url"),
        ({"scan": "ftp://host/a.zip"}, "http"),
        ({"left": "http://a/m.nii.gz", "right": "http://b/m.nii.gz"}, "same name"),
    ],
)
def test_wrong_addresses_are_named(tmp_path, changes, told):
    with pytest.raises(InputError, match=told):
        example.load(configuration(tmp_path, **changes))


def test_the_command_tells_refused_from_unreachable(server, tmp_path, capsys):
    path = configuration(tmp_path, scan=server.address("nowhere.zip"))
    code = cli.main(["example", str(path), "-o", str(tmp_path / "out")])
    assert code == cli.REFUSED
    error = capsys.readouterr().err
    assert "404" in error
    assert "Traceback" not in error
    monkey = configuration(tmp_path)
    assert cli.main(["example", str(monkey), "-o", str(tmp_path / "out")]) == cli.SYSTEM
    assert cli.main(["example", str(tmp_path / "no.yaml"), "-o", "out"]) == cli.REFUSED
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_from_download_to_comparison(server, tmp_path, capsys):
    """A phantom under the example's names: every number beside one known otherwise."""
    import json

    import nibabel as nib
    import numpy as np

    from iliopsoas import files, grid
    from iliopsoas.dixon import process_scan
    from iliopsoas.landmarks import locate
    from iliopsoas.network import weights
    from iliopsoas.network.architecture import build_network

    made = tmp_path / "made"
    cohort = tmp_path / "phantom"
    assert cli.main(["phantom", "-q", "-o", str(cohort), "--seed", "3"]) == cli.OK
    (scan,) = (cohort / "zips").iterdir()
    (truth,) = (cohort / "annotations").iterdir()
    result = process_scan(scan)
    manual = np.asanyarray(nib.load(truth).dataobj)
    published = {
        "mask_left.nii.gz": (manual == grid.LEFT).astype(np.uint8),
        "mask_right.nii.gz": (manual == grid.RIGHT).astype(np.uint8),
        "water.nii.gz": np.asanyarray(result.water.dataobj).astype(np.float32) / 2,
        "fat.nii.gz": np.asanyarray(result.fat.dataobj),
        "body.nii.gz": np.asanyarray(result.body.dataobj),
    }
    for name, array in published.items():
        files.write_nifti(made / name, grid.las_image(array, result.water.affine))
    joints = locate(result.body, result.water, result.fat)
    moved = {key: [int(x) + 1, int(y), int(z) - 2] for key, (x, y, z) in joints.items()}
    files.write_json(made / "bone_joints.json", moved)
    shape = (32, 32, 64, 1)
    weights.save_weights(
        made / "iliopsoas_muscle_model.h5",
        build_network(shape, base_filters=1, seed=1),
        {"input_shape": shape, "base_filters": 1, "variant": "published", "coarsen": 3},
    )
    server.files = {path.name: path.read_bytes() for path in made.iterdir()}
    server.files["eg_20201_abdo.zip"] = scan.read_bytes()
    server.cut = [1_000_000]
    names = {
        "scan": "eg_20201_abdo.zip", "weights": "iliopsoas_muscle_model.h5",
        "left": "mask_left.nii.gz", "right": "mask_right.nii.gz",
        "landmarks": "bone_joints.json", "water": "water.nii.gz", "fat": "fat.nii.gz",
        "body": "body.nii.gz",
    }  # fmt: skip
    path = configuration(tmp_path, **{role: server.address(name) for role, name in names.items()})
    capsys.readouterr()

    out = tmp_path / "out"
    assert cli.main(["example", str(path), "-o", str(out), "--json"]) == cli.OK
    text, _ = capsys.readouterr()
    rows = {row["quantity"]: row for row in json.loads(text)["comparison"]}
    assert server.requests[1] == ("/eg_20201_abdo.zip", "bytes=1000000-")

    labels = np.asanyarray(nib.load(out / "measured" / "iliopsoas.nii.gz").dataobj)
    for side, label in grid.SIDES.items():
        a, b = labels == label, manual == label
        row = rows[f"{side} muscle: volume"]
        assert row["here"] == pytest.approx(a.sum() * grid.VOXEL_ML)
        assert row["published"] == pytest.approx(b.sum() * grid.VOXEL_ML)
        assert row["difference"] == pytest.approx(row["here"] - row["published"])
        expected = 2 * (a & b).sum() / (a.sum() + b.sum())
        assert rows[f"{side} muscle: Dice"]["here"] == pytest.approx(expected)
    for joint in ("right hip", "left hip", "right shoulder", "left shoulder"):
        found = [rows[f"{joint}: {axis}"]["difference"] for axis in "xyz"]
        assert found == [-1, 0, 2]
    for name, factor in (("water", 2.0), ("fat", 1.0)):
        assert rows[f"{name} in the body: correlation"]["here"] == pytest.approx(1)
        of = rows[f"{name} in the body: median of here / published"]["here"]
        assert of == pytest.approx(factor, rel=1e-3)
        assert rows[f"{name} in the body: median difference after that"]["here"] < 0.1
    assert rows["body mask: Dice"]["here"] == pytest.approx(1)
    table = files.read_tsv(out / "comparison.tsv")
    assert table["quantity"].tolist() == list(rows)

    # what is there is not fetched again
    before = len(server.requests)
    command = ["example", "-q", str(path), "-o", str(out), "--download-only"]
    assert cli.main(command) == cli.OK
    assert len(server.requests) == before
