"""Threads, and settings of the user's own: none of them changes a result."""

import fcntl
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
import threadpoolctl

from iliopsoas import dixon, landmarks, machine
from iliopsoas.crops import CropReader, Crops, CropWriter

MATPLOTLIBRC = """
text.usetex: True
axes.facecolor: black
lines.linestyle: :
savefig.dpi: 30
savefig.bbox: tight
font.size: 30
axes.grid: True
svg.fonttype: none
"""
LOSS = """
import pandas as pd
from iliopsoas.network.training.progress import loss_figure
loss_figure("{out}", pd.DataFrame(dict(epoch=[1, 2], loss=[1, 0.5], dice=[0, 1])), "x_1")
"""


def blas_threads() -> set[int]:
    return {
        library["num_threads"]
        for library in threadpoolctl.threadpool_info()
        if library["user_api"] == "blas"
    }


def in_process(code: str, environment: dict) -> str:
    """Run Python with hostile settings; standard output."""
    known = {"PATH", "PYTHONPATH", "HOME", "LD_LIBRARY_PATH", "TF_CPP_MIN_LOG_LEVEL"}
    clean = {name: value for name, value in os.environ.items() if name in known}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_work_is_done_on_one_thread_and_the_caller_s_number_comes_back():
    itk = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    with threadpoolctl.threadpool_limits(2):
        before = blas_threads()
        with machine.one_thread():
            assert blas_threads() == {1}
            assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 1
        assert blas_threads() == before
    assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == itk


@pytest.mark.parametrize(
    ("module", "inner", "work"),
    [
        ("iliopsoas.dixon.process", "open_scan", lambda: dixon.process_scan("none.zip")),
        ("iliopsoas.landmarks.silhouette", "on_stitched_grid", lambda: landmarks.locate(None)),
    ],
)
def test_images_and_landmarks_are_made_on_one_thread(module, inner, work, monkeypatch):
    seen = []

    def look(*_):
        seen.append(blas_threads())
        raise InterruptedError

    monkeypatch.setattr(f"{module}.{inner}", look)
    with threadpoolctl.threadpool_limits(4), pytest.raises(InterruptedError):
        work()
    assert seen == [{1}]


def test_crop_files_need_no_locks(tmp_path):
    path = tmp_path / "crops.h5"
    water = np.ones((224, 174, 370), np.int16)
    marks = {"1": (60, 80, 350), "2": (170, 80, 350), "11": (70, 80, 160), "12": (150, 80, 160)}
    with CropWriter(path) as writer:
        writer.add("1000001_2", Crops.of(water, marks))
    code = f"""
from iliopsoas.crops import CropReader
with CropReader({str(path)!r}) as reader:
    print(reader.read_raw("1000001_2", "left").sum())
"""
    with open(path, "r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # nobody else gets a lock, as where there are none
        assert int(in_process(code, {})) == 96 * 96 * 192
        code = f"""
from iliopsoas.crops import CropReader
from iliopsoas.status import InputError
try:
    CropReader({str(path)!r})
except InputError as error:
    print(error)
"""
        text = in_process(code, {"HDF5_USE_FILE_LOCKING": "TRUE"})
    assert "HDF5_USE_FILE_LOCKING is 'TRUE'" in text
    assert "damaged" not in text
    assert len(CropReader(path)) == 1


def test_the_user_s_keras_settings_do_not_count(tmp_path):
    """Exchanged axes, narrow arithmetic, another backend, a cut training: all in keras.json."""
    home = tmp_path / ".keras"
    home.mkdir()
    hostile = {
        "image_data_format": "channels_first",
        "floatx": "float16",
        "epsilon": 0.1,
        "backend": "nonsense",
    }
    (home / "keras.json").write_text(json.dumps(hostile), encoding="utf-8")
    code = """
from iliopsoas.network import architecture, build_network, backend
import keras, numpy, os
model = build_network((16, 16, 16, 1), base_filters=1)
print(keras.backend.backend(), keras.config.floatx(), keras.config.epsilon())
print(model.output.shape, model.layers[1].kernel.dtype, model.layers[1].data_format)
print(keras.config.max_epochs(), os.environ.get("KERAS_HOME"))
print(backend.kernels())
""" + LOSS.format(out=tmp_path / "own.png")
    (tmp_path / "matplotlibrc").write_text(MATPLOTLIBRC, encoding="utf-8")
    settings = {
        "MATPLOTLIBRC": str(tmp_path),
        "HOME": str(tmp_path),
        "KERAS_HOME": str(home),
        "KERAS_MAX_EPOCHS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    out = in_process(code, settings).splitlines()
    assert out[0] == "tensorflow float32 1e-07"
    assert out[1] == "(None, 16, 16, 16, 1) float32 channels_last"
    assert out[2] == f"None {home}", "the user's own programs keep their settings"
    assert "on tensorflow" in out[3]
    exec(LOSS.format(out=tmp_path / "plain.png"))
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
    assert json.loads((home / "keras.json").read_text(encoding="utf-8")) == hostile


@pytest.mark.parametrize(("asked", "expected"), [(None, "1"), ("0", "0")])
def test_onednn_kernels_are_on_unless_the_user_says_otherwise(asked, expected, monkeypatch):
    from iliopsoas.network import backend

    monkeypatch.setattr(backend.platform, "machine", lambda: "x86_64")
    monkeypatch.delenv(backend.ONEDNN, raising=False)
    if asked:
        monkeypatch.setenv(backend.ONEDNN, asked)
    backend.prepare()
    assert os.environ[backend.ONEDNN] == expected
    state = {"1": "oneDNN kernels on", "0": "oneDNN kernels off"}[expected]
    assert state in backend.kernels()


def test_a_backend_that_is_not_there_is_named():
    code = """
from iliopsoas.status import InputError
try:
    import iliopsoas.network
except InputError as error:
    print(error)
"""
    text = in_process(code, {"KERAS_BACKEND": "nonsense", "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert "KERAS_BACKEND" in text
    assert "'nonsense'" in text


FIGURE = """
from iliopsoas import figures
from iliopsoas.figures import style

@style.styled
def draw():
    drawing = style.figure(85, 60)
    axes = drawing.add_subplot()
    axes.plot([0, 1], [-1, 50])
    axes.set_title("5 % of x_1")
    axes.set_xlabel("cm$^2$")
    return drawing

figures.save(draw(), OUT, "picture")
"""


def test_figures_are_the_same_whatever_matplotlib_is_told(tmp_path):
    (tmp_path / "matplotlibrc").write_text(MATPLOTLIBRC, encoding="utf-8")
    settings = {"MATPLOTLIBRC": str(tmp_path), "MPLBACKEND": "nonsense"}
    in_process(f"OUT = {str(tmp_path / 'own')!r}{FIGURE}", settings)
    exec(FIGURE, {"OUT": tmp_path / "plain"})
    for name in ("picture.png", "picture.svg"):
        own, plain = ((tmp_path / folder / name).read_bytes() for folder in ("own", "plain"))
        assert own == plain, name


def test_text_is_utf_8_whatever_the_locale(tmp_path):
    """The C locale with UTF-8 mode off; that every file names its encoding is ruff's PLW1514."""
    table = tmp_path / "müller.tsv"
    table.write_text("eid\t31-0.0\t54-2.0\n1000011\t0\tKöln\n", encoding="utf-8")
    configuration = tmp_path / "config.yaml"
    text = "releases: [{name: r, zips: /zips/Münster, phenotypes: [a.csv]}]\n"
    configuration.write_text(text, encoding="utf-8")
    code = f"""
import locale
assert locale.getencoding().upper() in ("ANSI_X3.4-1968", "US-ASCII"), locale.getencoding()
from iliopsoas import cli, config, files, logs
from iliopsoas.status import InputError
try:
    config.load({str(configuration)!r})
except InputError as error:
    print(ascii(str(error).splitlines()[-1]))
out = {str(tmp_path)!r}
files.write_json(out + "/a.json", {{"place": "Köln"}})
assert files.read_json(out + "/a.json")["place"] == "Köln"
with logs.to_file(out + "/log.txt") as log:
    log.info("Größe ≥ 5 m²")
assert "≥" in open(out + "/log.txt", encoding="utf-8").read()
cli.main(["check", out + "/no≥thing.zip"])
"""
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    settings = {
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
    }
    out = in_process(f"import runpy; runpy.run_path({str(script)!r})", settings)
    assert "releases.0.zips" in out
    assert "PYTHONUTF8=1" in out
    settings["PYTHONUTF8"] = "1"
    code = (
        f"from iliopsoas import config; print(config.load({str(configuration)!r}).releases[0].zips)"
    )
    assert in_process(code, settings).strip() == "/zips/Münster"
    assert "no such file" in out
