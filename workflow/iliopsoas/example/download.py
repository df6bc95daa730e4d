"""Fetch a file over HTTP: resumed where it was cut, believed only when it is whole and right."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

from iliopsoas import files
from iliopsoas.logs import log
from iliopsoas.status import InputError

CHUNK = 1 << 20
TIMEOUT_S = 60
REPORT_S = 5.0
# how a file of each kind begins; anything goes for the others
BEGINS = {
    ".zip": (b"PK", "a zip archive"),
    ".h5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ".nii.gz": (b"\x1f\x8b", "a gzipped NIfTI image"),
    ".json": (b"{", "a JSON object"),
}


def fetch(url: str, path, sha256: str | None = None, size: int | None = None, tries: int = 4):
    """Fetch `url` into `path`, unless the right file is there.

    The file grows as ``<name>.part`` beside it and takes its name when it is complete and
    checked, so a file of that name is never a half one. A later call goes on where an earlier
    one was cut, if the server can (HTTP Range) and still has the same file (by its ETag or date
    where it sends one, and by its size).

    Parameters
    ----------
    url : str
        http or https.
    path : path
    sha256 : str, optional
        Hash that it must have.
    size : int, optional
        Bytes that it must have.
    tries : int
        Attempts when the connection fails or is cut; each goes on where the last one stopped.

    Returns
    -------
    bool
        Whether anything was fetched.

    Raises
    ------
    InputError
        The server refuses (404 and the like), or sends something else: a Git LFS pointer, a web
        page, another file by its hash or size. Nothing of it is kept.
    OSError
        The connection failed or was cut `tries` times. What came is kept.
    """
    path = Path(path)
    if path.exists():
        problem = _problem(path, path.name, sha256, size)
        if problem is None:
            return False
        log.warning("%s, so it is fetched again", problem)
    part, tag = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.json")
    part.parent.mkdir(parents=True, exist_ok=True)
    for left in reversed(range(tries)):
        try:
            _receive(url, part, tag, path.name)
            break
        except urllib.error.HTTPError as error:
            if error.code < 500 or not left:
                raise InputError(
                    f"{path.name}: the server answers {error.code} {error.reason} for {url}; "
                    "correct the address in the configuration, or put the file into "
                    f"{path.parent} by hand"
                ) from None
        except (OSError, http.client.HTTPException) as error:
            if not left:
                kept = part.stat().st_size if part.exists() else 0
                reason = getattr(error, "reason", None) or error
                raise ConnectionError(
                    f"{path.name}: {url} cannot be fetched ({reason}); {kept:,} bytes are kept, "
                    "the next call goes on from there"
                ) from None
        time.sleep(min(2.0 ** (tries - left) / 10, 5.0))
        log.info("%s: connection lost, trying again", path.name)
    problem = _problem(part, path.name, sha256, size)
    tag.unlink(missing_ok=True)
    if problem is not None:
        part.unlink()
        raise InputError(f"{problem}; fetched from {url}. It was not kept.")
    os.replace(part, path)
    return True


def _receive(url: str, part: Path, tag: Path, name: str) -> None:
    """Add what is missing to `part`; raises ConnectionError where the answer ends too early."""
    have = part.stat().st_size if part.exists() else 0
    known = json.loads(tag.read_text(encoding="utf-8")) if tag.exists() else {}
    if known.get("url") != url:  # of an unknown version: two halves would make no whole
        have = 0
    request = urllib.request.Request(url, headers={"User-Agent": "iliopsoas"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if known["version"]:
            request.add_header("If-Range", known["version"])
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # range not satisfiable: complete, or longer than the file
            raise
        if error.headers.get("Content-Range", "") == f"bytes */{have}":
            return
        part.unlink()
        raise ConnectionError("the part is longer than the file") from None
    with answer:
        resumed = answer.status == 206
        have = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        if resumed:
            place = answer.headers.get("Content-Range", "")
            if not place.startswith(f"bytes {have}-") or total != known["total"]:
                part.unlink()
                raise ConnectionError("the server now has another file")
            log.info("%s: going on at %s bytes", name, f"{have:,}")
        version = {"url": url, "version": _version(answer.headers), "total": total}
        files.write_text(tag, json.dumps(version))
        with open(part, "ab" if resumed else "wb") as file:
            have = _copy(answer, file, have, total, name)
    if total is not None and have < total:
        raise ConnectionError(f"cut after {have:,} of {total:,} bytes")


def _version(headers) -> str | None:
    """What names this version of the file; a weak ETag does not."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _copy(answer, file, have: int, total: int | None, name: str) -> int:
    told = time.monotonic()
    while chunk := answer.read(CHUNK):
        file.write(chunk)
        have += len(chunk)
        if time.monotonic() - told >= REPORT_S:
            told = time.monotonic()
            of = f" of {total / 1e6:.1f}" if total else ""
            log.info("%s: %.1f%s MB", name, have / 1e6, of)
    return have


def _problem(path: Path, name: str, sha256: str | None, size: int | None) -> str | None:
    """What is wrong with a file, as a clause for a message; None where nothing is."""
    with open(path, "rb") as file:
        start = file.read(512)
    found = path.stat().st_size
    ends = next((ending for ending in BEGINS if name.lower().endswith(ending)), None)
    magic, kind = BEGINS.get(ends, (b"", "another file"))
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"version https://git-lfs"):
        return f"{name}: found a Git LFS pointer of {found} bytes, expected {kind}"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return f"{name}: found a web page of {found:,} bytes, expected {kind}"
    if not (start if magic != b"{" else text).startswith(magic):
        return f"{name}: found a file that begins with {start[:8]!r}, expected {kind}"
    if size is not None and found != size:
        return f"{name}: found {found:,} bytes, expected {size:,}"
    if sha256 is not None:
        digest = files.sha256(path)
        if digest != sha256.lower():
            return f"{name}: found SHA-256 {digest}, expected {sha256.lower()}"
    return None
