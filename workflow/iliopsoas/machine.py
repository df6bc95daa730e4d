"""What a machine and its user's settings would change in results: threads, Matplotlib, HDF5 locks.

What concerns Keras is in `iliopsoas.network.backend`.
"""

import contextlib
import os
import platform
import re
from pathlib import Path

import threadpoolctl

from iliopsoas.status import InputError


@contextlib.contextmanager
def one_thread():
    """Do the work on one thread of BLAS, OpenMP and ITK; also a decorator.

    Sums over several threads are added in another order, and a voxel in two million is rounded
    to the other side. The parallelism of this package is one process per participant.
    """
    # only a library that is loaded can be limited: NumPy, SciPy and SimpleITK bring their own
    import numpy  # noqa: F401
    import scipy.linalg  # noqa: F401
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        with threadpoolctl.threadpool_limits(1):
            yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def expand(path: str) -> str:
    """A path with a leading ``~`` and environment variables resolved, on this machine.

    Raises
    ------
    ValueError
        A variable that is not set, or a user who is not known.
    """
    found = os.path.expanduser(os.path.expandvars(path))
    if missing := re.search(r"\$(\w+|\{[^}]*\})", found):
        raise ValueError(f"the environment variable {missing[0]} is not set")
    if found.startswith("~"):
        raise ValueError(f"no home folder is known for {Path(found).parts[0]}")
    return found


def processor() -> str:
    """The processor's name and its widest instructions that matter to a network."""
    name, flags = platform.processor() or platform.machine(), set()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n"):
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
                break
    known = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "AVX512-VNNI", "amx_tile": "AMX"}
    widest = [title for flag, title in known.items() if flag in flags]
    return f"{name} ({widest[-1]})" if widest else name


def matplotlib():
    """Matplotlib, whatever MPLBACKEND names: an unknown one would stop its import.

    Call it before anything else imports Matplotlib. No figure of ours opens a window.
    """
    asked = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if asked is not None:
            os.environ["MPLBACKEND"] = asked
    if asked:
        with contextlib.suppress(ValueError):  # for the figures of whoever imports us
            matplotlib.rcParams["backend"] = asked
    return matplotlib


@contextlib.contextmanager
def drawing(settings: dict):
    """Draw by Matplotlib's defaults and these settings, whatever a matplotlibrc says."""
    mpl = matplotlib()
    with mpl.rc_context():
        plain = {
            name: value
            for name, value in mpl.rcParamsDefault.items()
            if not name.startswith(("backend", "date.epoch"))
        }
        mpl.rcParams.update(plain | settings)
        yield


def open_hdf5(path, mode: str = "r", **options):
    """An HDF5 file without file locks: ours appear whole, and many file systems have no locks.

    Parameters
    ----------
    path : path
    mode : {"r", "r+", "w"}
    **options
        Of `h5py.File`.

    Raises
    ------
    InputError
        The environment demands locks that the file system does not give.
    OSError
        Otherwise as `h5py.File`.
    """
    import h5py

    try:
        return h5py.File(path, mode, locking=False, **options)
    except OSError as error:
        if "lock file" not in str(error):
            raise
        raise InputError(
            f"{Path(path).name}: HDF5 cannot lock it on this file system, and the environment "
            f"variable HDF5_USE_FILE_LOCKING is {os.environ.get('HDF5_USE_FILE_LOCKING')!r}; "
            "unset it, or set it to FALSE: no lock is needed"
        ) from None
