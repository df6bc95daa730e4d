"""What is hidden in a file: texts and inner files, by the format its first bytes tell."""

import base64
import binascii
import bz2
import html
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from iliopsoas.privacy.findings import CLOSED, DICOM

MOST_BYTES = 1 << 30  # of one unpacked file: more is not looked into, and reported


@dataclass(frozen=True)
class Text:
    """A text found in a file; `table` where its rows are looked at too."""

    place: str
    text: str
    table: bool = False


@dataclass(frozen=True)
class Inner:
    """A file within a file."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Problem:
    """A finding of the reader itself."""

    kind: str
    place: str = ""


def contents(data: bytes, name: str) -> Iterator[Text | Inner | Problem]:
    """Texts, inner files and problems of a file.

    Parameters
    ----------
    data : bytes
    name : str
        Its name; the suffix tells tables from other text.
    """
    if not data:
        return
    reader = _reader_of(data)
    if reader is None:
        text = _decoded(data)
        if text is None:
            yield Problem(CLOSED, "format not known")
        else:
            yield from _text(text, name)
        return
    try:
        yield from reader(data, name)
    except Exception as error:  # any reader, on bytes nobody vouches for
        yield Problem(CLOSED, type(error).__name__)


def _reader_of(data: bytes):
    for start, reader in _MAGIC:
        if data.startswith(start):
            return reader
    if data[128:132] == b"DICM":
        return _dicom
    if data[257:262] == b"ustar":
        return _tar
    if data[344:348] in (b"n+1\0", b"ni1\0") or data[4:8] in (b"n+2\0", b"ni2\0"):
        return _nifti
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _image
    return None


def _decoded(data: bytes) -> str | None:
    """The text that the bytes are, or None where they are none."""
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                return None
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


_EMBEDDED = re.compile(r"data:[\w/+.\-]*(?:;[\w=\-]+)*;base64,([A-Za-z0-9+/=\s]+)")


def _text(text: str, name: str):
    def embedded(found):
        try:
            inner.append(base64.b64decode(re.sub(r"\s", "", found.group(1)), validate=False))
        except binascii.Error:
            return found.group()
        return " "

    inner: list[bytes] = []
    text = _EMBEDDED.sub(embedded, text)
    yield Text("", text, table=True)
    if "&#" in text:
        yield Text("entities", html.unescape(text))
    if "\\u00" in text:
        plain = re.sub(r"\\u00([0-7][0-9a-fA-F])", lambda m: chr(int(m.group(1), 16)), text)
        yield Text("escapes", plain)
    for number, content in enumerate(inner, start=1):
        yield Inner(f"embedded-{number}", content)


def _zip(data, name):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        yield Text("comment", archive.comment.decode("latin-1"))
        for member in archive.infolist():
            yield Text("comment of a member", member.comment.decode("latin-1"))
            if member.is_dir():
                yield Inner(member.filename, b"")
            elif member.flag_bits & 1:
                yield Problem(CLOSED, "encrypted member")
            elif member.file_size > MOST_BYTES:
                yield Problem(CLOSED, "member larger than 1 GiB")
            else:
                yield Inner(member.filename, archive.read(member))


def _gzip(data, name):
    flags, at = data[3], 10
    if flags & 4:
        length = int.from_bytes(data[at : at + 2], "little")
        yield Text("gzip header", data[at + 2 : at + 2 + length].decode("latin-1"))
        at += 2 + length
    for bit in (8, 16):  # file name, comment
        if flags & bit:
            end = data.index(b"\0", at)
            yield Text("gzip header", data[at:end].decode("latin-1"))
            at = end + 1
    yield Inner(_without(name, ".gz"), _unpacked(zlib.decompressobj(31), data))


def _unpacked(unpacker, data: bytes) -> bytes:
    """Everything of a stream and those after it, up to the limit."""
    parts, total, kind = [], 0, type(unpacker)
    while data:
        part = unpacker.decompress(data, MOST_BYTES - total + 1)
        total += len(part)
        if total > MOST_BYTES:
            raise ValueError("larger than 1 GiB")
        parts.append(part)
        rest = unpacker.unused_data
        if not unpacker.eof:
            raise ValueError("cut short")
        data = rest
        if data:
            unpacker = zlib.decompressobj(31) if kind is type(zlib.decompressobj()) else kind()
            if not data.strip(b"\0"):
                break
    return b"".join(parts)


def _bz2(data, name):
    yield Inner(_without(name, ".bz2"), _unpacked(bz2.BZ2Decompressor(), data))


def _xz(data, name):
    yield Inner(_without(name, ".xz"), _unpacked(lzma.LZMADecompressor(), data))


def _without(name: str, suffix: str) -> str:
    """The name without the suffix, and without the folder: the file's own name is known."""
    return name.removesuffix(suffix).rsplit("/", 1)[-1]


def _tar(data, name):
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            yield Text("tar header", f"{member.linkname} {member.uname} {member.pax_headers}")
            if member.size > MOST_BYTES:
                yield Problem(CLOSED, "member larger than 1 GiB")
            elif member.isfile():
                yield Inner(member.name, archive.extractfile(member).read())
            else:
                yield Inner(member.name, b"")


def _image(data, name):
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        image.load()
        for key, value in image.info.items():
            if isinstance(value, bytes):
                value = value.decode("latin-1")
            yield Text("image metadata", f"{key}: {value}")
        tags = image.getexif()
        for folder in [tags, *(tags.get_ifd(number) for number in (0x8769, 0x8825, 0xA005))]:
            for value in folder.values():
                plain = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                yield Text("image metadata", plain.replace("\0", ""))
    end = data.find(b"IEND") if data.startswith(b"\x89PNG") else -1
    if end > 0:
        yield Text("after the image", data[end + 8 :].decode("latin-1"))
        yield from _png_chunks(data)


def _png_chunks(data):
    """Chunks that no reader knows: text all the same."""
    known = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"pHYs", b"gAMA", b"sRGB", b"cHRM"}
    at = 8
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind not in known:
            yield Text("image metadata", data[at + 8 : at + 8 + length].decode("latin-1"))
        at += 12 + length


def _pdf(data, name):
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted:
        yield Problem(CLOSED, "encrypted")
        return
    yield Text("PDF metadata", "\n".join(f"{k}: {v}" for k, v in (reader.metadata or {}).items()))
    for number, page in enumerate(reader.pages, start=1):
        yield Text(f"page {number}", page.extract_text())
    for attached, parts in reader.attachments.items():
        for part in parts:
            yield Inner(attached, part)
    for number, generation in _pdf_objects(reader):
        thing = reader.get_object(_reference(number, generation, reader))
        if hasattr(thing, "get_data"):
            content = thing.get_data()
            if thing.get("/Subtype") == "/Image":
                continue
            yield Text("PDF stream", _pdf_strings(content))
        elif thing is not None:
            yield Text("PDF object", str(thing))


def _pdf_objects(reader):
    for generation, offsets in reader.xref.items():
        yield from ((number, generation) for number in offsets)
    yield from ((number, 0) for number in reader.xref_objStm)


def _reference(number, generation, reader):
    from pypdf.generic import IndirectObject

    return IndirectObject(number, generation, reader)


def _pdf_strings(content: bytes) -> str:
    """A stream as text, and its strings joined: kerning splits the digits of one word."""
    text = content.decode("latin-1")
    shown = re.findall(r"\[((?:\([^()]*\)|<[0-9A-Fa-f]*>|[^\[\]()<>])*)\]\s*TJ", text)
    joined = ["".join(re.findall(r"\(([^()]*)\)", part)) for part in shown]
    return "\n".join([text, *joined])


def _nifti(data, name):
    import nibabel as nib

    kind = nib.Nifti2Image if data[4:6] == b"n+" or data[4:6] == b"ni" else nib.Nifti1Image
    header = kind.header_class.from_fileobj(io.BytesIO(data))
    for key in ("descrip", "aux_file", "intent_name", "db_name", "data_type"):
        if key in header:
            yield Text(f"NIfTI header, {key}", header[key].tobytes().decode("latin-1").strip("\0"))
    for extension in header.extensions:
        content = extension.get_content()
        if not isinstance(content, bytes | str):
            content = str(content)
        text = content.decode("latin-1") if isinstance(content, bytes) else content
        yield Text("NIfTI extension", text)


def _hdf5(data, name):
    import h5py

    found = []

    def visit(path, thing):
        found.append(Text("HDF5 name", path))
        found.extend(Text("HDF5 attribute", f"{k}: {v}") for k, v in thing.attrs.items())
        if isinstance(thing, h5py.Dataset) and thing.dtype.kind in "iuOS" and thing.ndim <= 1:
            values = thing[()]
            values = [values] if thing.ndim == 0 else values[:]
            plain = (v.decode("latin-1") if isinstance(v, bytes) else str(v) for v in values)
            found.append(Text("HDF5 data", "\n".join(plain)))

    with h5py.File(io.BytesIO(data), "r") as file:
        visit("/", file)
        file.visititems(visit)
    yield from found


def _npy(data, name):
    import numpy as np

    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype.kind in "iuSU" and array.dtype.itemsize >= 4 and array.ndim <= 2:
        yield Text("array", "\n".join(map(str, array.ravel().tolist())))
    elif array.dtype.kind == "f" and array.ndim == 1:
        whole = array[np.isfinite(array) & (array == np.round(array))]
        yield Text("array", "\n".join(str(int(value)) for value in whole))
    elif array.dtype.names:
        yield Text("array", "\n".join(map(str, array.ravel().tolist())))


def _dicom(data, name):
    yield Problem(DICOM)


_MAGIC = (
    (b"PK\x03\x04", _zip),
    (b"PK\x05\x06", _zip),
    (b"\x1f\x8b", _gzip),
    (b"BZh", _bz2),
    (b"\xfd7zXZ\0", _xz),
    (b"\x89PNG\r\n\x1a\n", _image),
    (b"\xff\xd8\xff", _image),
    (b"GIF8", _image),
    (b"II*\0", _image),
    (b"MM\0*", _image),
    (b"%PDF", _pdf),
    (b"\x89HDF\r\n\x1a\n", _hdf5),
    (b"\x93NUMPY", _npy),
)
