"""The crops of a shard in one HDF5 file that training and segmentation stream from.

Layout of a file (format 2), one row per subject and side:

- ``raw``        (rows, 96, 96, 192) int16, one chunk per row: the crop as the water volume
  holds it, so that either normalisation can be applied on reading
- ``label``      (label rows, 96, 96, 192) uint8, one chunk per row: 1 = muscle; annotated
  subjects only
- ``subject``    (rows,) text; ``side`` (rows,) uint8, 1 = left, 2 = right
- ``divisor``    (rows,) float64: 99th percentile of the crop
- ``origin``     (rows, 3) int32: first voxel of the crop in the stitched volume
- ``extent``     (rows, 3) int32: shape of the stitched volume
- ``label_row``  (rows,) int32: row of ``label``, -1 = not annotated
- ``label_voxels`` (rows,) int64: voxels of the whole annotated muscle, with what lies outside the
  crop; -1 = not annotated
- attributes ``format``, ``shape`` and ``complete``, the last one written at the end
"""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from iliopsoas import files, grid, machine
from iliopsoas.crops import boxes
from iliopsoas.crops.boxes import CROP_SHAPE
from iliopsoas.grid import SIDES
from iliopsoas.status import InputError

FORMAT = 2
_CHUNK = (1, *CROP_SHAPE)


@dataclass(frozen=True)
class Crops:
    """Both crops of one subject, as cut from the water volume.

    Attributes
    ----------
    raw : dict of str to ndarray
        "left", "right" -> int16 (96, 96, 192).
    divisor : dict of str to float
        99th percentile of each crop.
    origin : dict of str to tuple of int
        First voxel of each crop in the volume.
    label : dict of str to ndarray, or None
        "left", "right" -> uint8 (96, 96, 192), 1 = muscle; None: not annotated.
    label_voxels : dict of str to int, or None
        Voxels of the annotated muscle in the whole volume; None: all of it lies in the crop.
    extent : tuple of int
        Shape of the volume.
    """

    raw: dict
    divisor: dict
    origin: dict
    label: dict | None = None
    label_voxels: dict | None = None
    extent: tuple = grid.SHAPE

    @classmethod
    def of(cls, water, landmarks, annotation=None) -> "Crops":
        """Cut a subject's crops.

        Parameters
        ----------
        water : ndarray of int16, shape (x, y, z)
            Voxel order LAS.
        landmarks : dict
            As for `crop`.
        annotation : ndarray of uint8, shape (x, y, z), optional
            Label map on the same grid, 1 = left, 2 = right.

        Raises
        ------
        Refused
            As `crop`.
        """
        water = np.asanyarray(water)
        if water.dtype != np.int16:
            raise ValueError(f"water: expected int16 as the stitched volume, found {water.dtype}")
        if annotation is not None and np.shape(annotation) != water.shape:
            raise ValueError(
                f"annotation: expected the water volume's shape {water.shape}, "
                f"found {np.shape(annotation)}"
            )
        raw = {side: boxes.cut(water, landmarks, side) for side in SIDES}
        label = voxels = None
        if annotation is not None:
            voxels = {s: int(np.count_nonzero(annotation == v)) for s, v in SIDES.items()}
            label = {
                side: (boxes.cut(annotation, landmarks, side) == value).astype(np.uint8)
                for side, value in SIDES.items()
            }
        return cls(
            raw=raw,
            divisor={side: boxes.normaliser(raw[side]) for side in SIDES},
            origin={side: tuple(boxes.box(landmarks, side, water.shape)) for side in SIDES},
            label=label,
            label_voxels=voxels,
            extent=water.shape,
        )


class CropWriter:
    """Writes a shard's crop file; it appears under its name only when complete.

    Use it as a context manager. Subjects are added one by one, so only one subject's crops are in
    memory. Leaving the block by an error, or a killed process, leaves an earlier file of that name
    as it was, and ``<name>.unfinished.h5`` beside it, from which the next writer goes on.

    Parameters
    ----------
    path : path
        The shard's file.
    scratch : str, optional
        Folder where it is built instead; see `files.atomic`. What was built there is lost with
        the job.
    """

    def __init__(self, path, scratch: str | None = None):
        self.path, self.scratch = Path(path), scratch

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            if self.scratch:
                self._place = stack.enter_context(files.atomic(self.path, self.scratch))
            else:
                self._place = self.path.with_name(f"{self.path.stem}.unfinished.h5")
                self._place.parent.mkdir(parents=True, exist_ok=True)
            self._earlier = _reader_of(self.path)
            self._file = self._open()
            self._stack = stack.pop_all()
        return self

    def _open(self) -> h5py.File:
        """The file of a job that was stopped, cut to its whole subjects, or a new one."""
        if self._place.exists():
            try:
                file = machine.open_hdf5(self._place, "r+")
                whole = min(len(file[name]) for name in ("raw", *_ROWS)) // len(SIDES) * len(SIDES)
                for name in ("raw", *_ROWS):
                    file[name].resize(whole, axis=0)
                return file
            except (OSError, KeyError):  # killed while it was being written
                self._place.unlink()
        return _new_file(self._place)

    def __exit__(self, *problem):
        with self._stack:
            if problem[0] is None:
                self._file.attrs["complete"] = True
            self._file.close()
            if self._earlier:
                self._earlier.close()
            if problem[0] is None and not self.scratch:
                os.replace(self._place, self.path)
            elif problem[0] is not None:
                return self._stack.__exit__(*problem)
        return None

    def _subjects(self) -> list[str]:
        return list(self._file["subject"].asstr()[:: len(SIDES)])

    def holds(self, subject: str) -> bool:
        """Whether the subject was written, by this writer's file or the earlier one."""
        known = self._earlier.subjects if self._earlier else []
        return subject in known or subject in self._subjects()

    def keep(self, subjects) -> None:
        """Take over these subjects, and no other, of what was written before."""
        if not set(self._subjects()) <= set(subjects):  # a row cannot be taken out
            stale = self._place.with_name(f"{self._place.stem}.stale.h5")
            self._file.close()
            os.replace(self._place, stale)
            self._file = _new_file(self._place)
            with CropReader(stale, unfinished=True) as reader:
                self._copy(reader, subjects)
            stale.unlink()
        if self._earlier:
            self._copy(self._earlier, set(subjects) - set(self._subjects()))

    def _copy(self, reader: "CropReader", subjects) -> None:
        for subject in reader.subjects:
            if subject in subjects:
                self.add(subject, reader.crops(subject))

    def add(self, subject: str, crops: Crops) -> None:
        """Append one subject's two crops; they are in the file when this returns.

        Parameters
        ----------
        subject : str
            ``<eid>_<instance>``.
        crops : Crops
        """
        if subject in self._subjects():
            raise ValueError("crops: the same subject was added twice")
        for side, value in SIDES.items():
            label_row = voxels = -1
            if crops.label is not None:
                label_row = _append(self._file["label"], crops.label[side])
                inside = int(np.count_nonzero(crops.label[side]))
                voxels = (crops.label_voxels or {}).get(side, inside)
            _append(self._file["raw"], crops.raw[side])
            row = (subject, value, crops.divisor[side], crops.origin[side], crops.extent)
            row += (label_row, voxels)
            for name, cell in zip(_ROWS, row, strict=True):
                _append(self._file[name], cell)
        self._file.flush()


_ROWS = ("subject", "side", "divisor", "origin", "extent", "label_row", "label_voxels")


def _new_file(path) -> h5py.File:
    file = machine.open_hdf5(path, "w")
    for name, kind in (("raw", np.int16), ("label", np.uint8)):
        file.create_dataset(
            name,
            shape=(0, *CROP_SHAPE),
            maxshape=(None, *CROP_SHAPE),
            chunks=_CHUNK,
            dtype=kind,
            compression="lzf",
            shuffle=kind == np.int16,  # splits the mostly empty high bytes off
        )
    kinds = (h5py.string_dtype(), np.uint8, np.float64, np.int32, np.int32, np.int32, np.int64)
    for name, kind in zip(_ROWS, kinds, strict=True):
        more = (3,) if name in ("origin", "extent") else ()
        file.create_dataset(name, (0, *more), kind, maxshape=(None, *more), chunks=(1024, *more))
    file.attrs["format"] = FORMAT
    file.attrs["shape"] = CROP_SHAPE
    return file


def _append(dataset, value) -> int:
    row = dataset.shape[0]
    dataset.resize(row + 1, axis=0)
    dataset[row] = value
    return row


def _reader_of(path):
    """A reader of an earlier file; None where there is none that can be read."""
    try:
        return CropReader(path) if Path(path).exists() else None
    except InputError:
        return None


class _Row(NamedTuple):
    """Where a crop lies and what is known of it, as in the file's layout."""

    file: int
    row: int
    divisor: float
    origin: list
    extent: list
    label_row: int
    label_voxels: int


class CropReader:
    """Reads crops of one shard's file, or of several as if they were one.

    A reader may be pickled and used after a fork: each process opens the files for itself.

    Parameters
    ----------
    paths : path or iterable of path
    unfinished : bool
        Read what a stopped job left, too.

    Raises
    ------
    InputError
        A file is missing, is not a crop file or is not complete, or a subject is in two.
    """

    def __init__(self, paths, unfinished: bool = False):
        several = isinstance(paths, Iterable) and not isinstance(paths, str | bytes | os.PathLike)
        self.paths = [Path(path) for path in (paths if several else [paths])]
        self._open = {}
        self._rows = {}
        self._unfinished = unfinished
        for number, path in enumerate(self.paths):
            self._index(number, path)
        self.subjects = list(dict.fromkeys(subject for subject, _ in self._rows))

    def _index(self, number: int, path: Path):
        try:
            with machine.open_hdf5(path) as file:
                whole = file.attrs.get("complete") or self._unfinished
                if file.attrs.get("format") != FORMAT or not whole:
                    raise InputError(f"{path}: expected a complete crop file of format {FORMAT}")
                columns = zip(
                    file["subject"].asstr()[:],
                    file["side"][:].tolist(),
                    file["divisor"][:].tolist(),
                    file["origin"][:].tolist(),
                    file["extent"][:].tolist(),
                    file["label_row"][:].tolist(),
                    file["label_voxels"][:].tolist(),
                    strict=True,
                )
                for row, (subject, side, *values) in enumerate(columns):
                    if (subject, side) in self._rows:
                        raise InputError(f"{path}: a subject of this crop file is in another one")
                    self._rows[subject, side] = _Row(number, row, *values)
        except (OSError, KeyError) as error:
            raise InputError(f"{path}: cannot be read as a crop file: {error}") from None

    def __getstate__(self):
        return self.__dict__ | {"_open": {}}

    def _file(self, number: int) -> h5py.File:
        key = (os.getpid(), number)
        if key not in self._open:
            self._open[key] = machine.open_hdf5(self.paths[number], rdcc_nbytes=0)
        return self._open[key]

    def _row(self, subject: str, side: str):
        try:
            return self._rows[subject, SIDES[side]]
        except KeyError:
            raise KeyError(f"crops: no {side} crop of the subject asked for") from None

    def read(self, subject: str, side: str, normalisation: str = "published") -> np.ndarray:
        """A normalised crop, equal to `crop` of the volume it was cut from.

        Parameters
        ----------
        subject : str
            ``<eid>_<instance>``.
        side : {"left", "right"}
        normalisation : {"published", "paper"}

        Returns
        -------
        ndarray of float32, shape (96, 96, 192)
        """
        divisor = self._row(subject, side).divisor
        return boxes.normalise(self.read_raw(subject, side), divisor, normalisation)

    def read_raw(self, subject: str, side: str) -> np.ndarray:
        """The crop as cut: int16 (96, 96, 192)."""
        found = self._row(subject, side)
        return self._file(found.file)["raw"][found.row]

    def has_label(self, subject: str) -> bool:
        """Whether the subject has an annotation."""
        return self._row(subject, "left").label_row >= 0

    def read_label(self, subject: str, side: str) -> np.ndarray:
        """The annotation's crop: uint8 (96, 96, 192), 1 = muscle of this side."""
        found = self._annotated(subject, side)
        return self._file(found.file)["label"][found.label_row]

    def label_voxels(self, subject: str, side: str) -> int:
        """Voxels of the whole annotated muscle, with what lies outside the crop."""
        return self._annotated(subject, side).label_voxels

    def _annotated(self, subject: str, side: str):
        found = self._row(subject, side)
        if found.label_row < 0:
            raise KeyError("crops: the subject asked for has no annotation")
        return found

    def within(self, subject: str, side: str) -> np.ndarray:
        """Which voxels of the crop lie in the stitched volume: bool (96, 96, 192)."""
        found = self._row(subject, side)
        inside = np.zeros(CROP_SHAPE, bool)
        inside[
            tuple(
                slice(max(-start, 0), max(extent - start, 0))
                for start, extent in zip(found.origin, found.extent, strict=True)
            )
        ] = True
        return inside

    def crops(self, subject: str) -> Crops:
        """A subject's crops as they were added."""
        label = voxels = None
        if self.has_label(subject):
            label = {side: self.read_label(subject, side) for side in SIDES}
            voxels = {side: self.label_voxels(subject, side) for side in SIDES}
        return Crops(
            raw={side: self.read_raw(subject, side) for side in SIDES},
            divisor={side: self._row(subject, side).divisor for side in SIDES},
            origin={side: self.origin(subject, side) for side in SIDES},
            label=label,
            label_voxels=voxels,
            extent=tuple(self._row(subject, "left").extent),
        )

    def origin(self, subject: str, side: str) -> tuple[int, int, int]:
        """First voxel (x, y, z) of the crop in the stitched volume."""
        return tuple(self._row(subject, side).origin)

    def close(self) -> None:
        """Close the files; reading opens them again."""
        for (process, _), file in self._open.items():
            if process == os.getpid():
                file.close()
        self._open.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __len__(self):
        return len(self.subjects)


def drop(path, eids) -> int:
    """Write a crop file again without some participants; returns how many subjects went.

    A file without any of them is left as it is.

    Parameters
    ----------
    path : path
    eids : collection of str

    Raises
    ------
    InputError
        The file is no complete crop file.
    """
    eids = set(eids)
    with CropReader(path) as reader:
        stays = [name for name in reader.subjects if name.split("_")[0] not in eids]
        gone = len(reader) - len(stays)
        if not gone:
            return 0
        with CropWriter(path) as writer:
            writer.keep(stays)
    return gone
