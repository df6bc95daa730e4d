"""The crops of a shard in one HDF5 file that training and segmentation stream from.

Layout of a file (format 1), one row per subject and side:

- ``raw``        (rows, 96, 96, 192) int16, one chunk per row: the crop as the water volume
  holds it, so that either normalisation can be applied on reading
- ``label``      (label rows, 96, 96, 192) uint8, one chunk per row: 1 = muscle; annotated
  subjects only
- ``subject``    (rows,) text; ``side`` (rows,) uint8, 1 = left, 2 = right
- ``divisor``    (rows,) float64: 99th percentile of the crop
- ``origin``     (rows, 3) int32: first voxel of the crop in the stitched volume
- ``label_row``  (rows,) int32: row of ``label``, -1 = not annotated
- attributes ``format``, ``shape`` and ``complete``, the last one written at the end
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from iliopsoas import files
from iliopsoas.crops import boxes
from iliopsoas.crops.boxes import CROP_SHAPE
from iliopsoas.grid import SIDES
from iliopsoas.status import InputError

FORMAT = 1
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
    """

    raw: dict
    divisor: dict
    origin: dict
    label: dict | None = None

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
        label = None
        if annotation is not None:
            label = {
                side: (boxes.cut(annotation, landmarks, side) == value).astype(np.uint8)
                for side, value in SIDES.items()
            }
        return cls(
            raw=raw,
            divisor={side: boxes.normaliser(raw[side]) for side in SIDES},
            origin={side: tuple(boxes.box(landmarks, side, water.shape)) for side in SIDES},
            label=label,
        )


class CropWriter:
    """Writes a shard's crop file; it appears under its name only when complete.

    Use it as a context manager. Subjects are added one by one in the shard's order, so
    only one subject's crops are in memory. Leaving the block by an error, or a killed
    process, leaves an earlier file of that name as it was.

    Parameters
    ----------
    path : path
        The shard's file.
    scratch : str, optional
        Folder where it is built; see `files.atomic`.
    """

    def __init__(self, path, scratch: str | None = None):
        self.path, self.scratch = Path(path), scratch
        self._rows = {"subject": [], "side": [], "divisor": [], "origin": [], "label_row": []}
        self._labels = 0

    def __enter__(self):
        self._atomic = files.atomic(self.path, self.scratch)
        temporary = self._atomic.__enter__()
        try:
            self._file = h5py.File(temporary, "w", libver="latest")
            for name, kind in (("raw", np.int16), ("label", np.uint8)):
                self._file.create_dataset(
                    name,
                    shape=(0, *CROP_SHAPE),
                    maxshape=(None, *CROP_SHAPE),
                    chunks=_CHUNK,
                    dtype=kind,
                    compression="lzf",
                    shuffle=kind == np.int16,  # splits the mostly empty high bytes off
                )
        except BaseException as error:
            self._atomic.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(self, *problem):
        try:
            with self._file:
                if problem[0] is None:
                    self._finish()
        except BaseException as error:
            self._atomic.__exit__(type(error), error, error.__traceback__)
            raise
        return self._atomic.__exit__(*problem)

    def add(self, subject: str, crops: Crops) -> None:
        """Append one subject's two crops.

        Parameters
        ----------
        subject : str
            ``<eid>_<instance>``.
        crops : Crops
        """
        if subject in self._rows["subject"]:
            raise ValueError("crops: the same subject was added twice")
        raw = self._file["raw"]
        for side, value in SIDES.items():
            row = raw.shape[0]
            raw.resize(row + 1, axis=0)
            raw[row] = crops.raw[side]
            self._rows["subject"].append(subject)
            self._rows["side"].append(value)
            self._rows["divisor"].append(crops.divisor[side])
            self._rows["origin"].append(crops.origin[side])
            self._rows["label_row"].append(self._add_label(crops, side))

    def _add_label(self, crops: Crops, side: str) -> int:
        if crops.label is None:
            return -1
        labels = self._file["label"]
        labels.resize(self._labels + 1, axis=0)
        labels[self._labels] = crops.label[side]
        self._labels += 1
        return self._labels - 1

    def _finish(self):
        rows = self._rows
        self._file.create_dataset("subject", data=rows["subject"], dtype=h5py.string_dtype())
        self._file.create_dataset("side", data=np.array(rows["side"], np.uint8))
        self._file.create_dataset("divisor", data=np.array(rows["divisor"], np.float64))
        origin = np.array(rows["origin"], np.int32).reshape(-1, 3)
        self._file.create_dataset("origin", data=origin)
        self._file.create_dataset("label_row", data=np.array(rows["label_row"], np.int32))
        self._file.attrs["format"] = FORMAT
        self._file.attrs["shape"] = CROP_SHAPE
        self._file.attrs["complete"] = True


class CropReader:
    """Reads crops of one shard's file, or of several as if they were one.

    A reader may be pickled and used after a fork: each process opens the files for itself.

    Parameters
    ----------
    paths : path or iterable of path

    Raises
    ------
    InputError
        A file is missing, is not a crop file or is not complete, or a subject is in two.
    """

    def __init__(self, paths):
        several = isinstance(paths, Iterable) and not isinstance(paths, str | bytes | os.PathLike)
        self.paths = [Path(path) for path in (paths if several else [paths])]
        self._open = {}
        self._rows = {}
        for number, path in enumerate(self.paths):
            self._index(number, path)
        self.subjects = list(dict.fromkeys(subject for subject, _ in self._rows))

    def _index(self, number: int, path: Path):
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("format") != FORMAT or not file.attrs.get("complete"):
                    raise InputError(f"{path}: expected a complete crop file of format {FORMAT}")
                columns = zip(
                    file["subject"].asstr()[:],
                    file["side"][:].tolist(),
                    file["divisor"][:].tolist(),
                    file["origin"][:].tolist(),
                    file["label_row"][:].tolist(),
                    strict=True,
                )
                for row, (subject, side, divisor, origin, label) in enumerate(columns):
                    if (subject, side) in self._rows:
                        raise InputError(f"{path}: a subject of this crop file is in another one")
                    self._rows[subject, side] = (number, row, divisor, tuple(origin), label)
        except (OSError, KeyError) as error:
            raise InputError(f"{path}: cannot be read as a crop file: {error}") from None

    def __getstate__(self):
        return self.__dict__ | {"_open": {}}

    def _file(self, number: int) -> h5py.File:
        key = (os.getpid(), number)
        if key not in self._open:
            self._open[key] = h5py.File(self.paths[number], "r", rdcc_nbytes=0)
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
        divisor = self._row(subject, side)[2]
        return boxes.normalise(self.read_raw(subject, side), divisor, normalisation)

    def read_raw(self, subject: str, side: str) -> np.ndarray:
        """The crop as cut: int16 (96, 96, 192)."""
        number, row, *_ = self._row(subject, side)
        return self._file(number)["raw"][row]

    def has_label(self, subject: str) -> bool:
        """Whether the subject has an annotation."""
        return self._row(subject, "left")[4] >= 0

    def read_label(self, subject: str, side: str) -> np.ndarray:
        """The annotation's crop: uint8 (96, 96, 192), 1 = muscle of this side."""
        number, *_, label = self._row(subject, side)
        if label < 0:
            raise KeyError("crops: the subject asked for has no annotation")
        return self._file(number)["label"][label]

    def crops(self, subject: str) -> Crops:
        """A subject's crops as they were added."""
        label = None
        if self.has_label(subject):
            label = {side: self.read_label(subject, side) for side in SIDES}
        return Crops(
            raw={side: self.read_raw(subject, side) for side in SIDES},
            divisor={side: self._row(subject, side)[2] for side in SIDES},
            origin={side: self.origin(subject, side) for side in SIDES},
            label=label,
        )

    def origin(self, subject: str, side: str) -> tuple[int, int, int]:
        """First voxel (x, y, z) of the crop in the stitched volume."""
        return self._row(subject, side)[3]

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
            for name in stays:
                writer.add(name, reader.crops(name))
    return gone
