"""Keeps participants' data out of the repository: ``iliopsoas search --staged``, the git hook.

Scans and images of participants are refused whatever they hold; tables, texts and images where
the scanner finds ids, dates of birth or a row per participant. In source code, where tests need
made-up ids, only the ids of the results in this folder count.
"""

import subprocess
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from iliopsoas.privacy.findings import COHORT_ID, Cohort, Finding, masked
from iliopsoas.privacy.scan import scan_bytes

ALLOWED = "hooks/allowed.txt"
REFUSAL = (
    ": this looks like data of participants, which never belong into a repository.\n"
    "Take the files out (git restore --staged FILE). A file that is made up can be listed in "
    f"{ALLOWED}."
)
CODE = {".py", ".r", ".js", ".css", ".sh", ".smk", ".toml", ".cfg", ".rst", ".cff"}
# suffix or first bytes of what holds participants' data as such
REFUSED = {
    "zip archive": ((".zip",), b"PK\x03\x04"),
    "DICOM file": ((".dcm", ".dicom", ".ima"), None),
    "NIfTI image": ((".nii", ".nii.gz", ".hdr", ".img"), None),
    "NRRD image": ((".nrrd", ".nhdr"), b"NRRD"),
    "MetaImage": ((".mha", ".mhd"), b"ObjectType"),
}


def examine(data: bytes, name: str, cohort: Cohort | None = None) -> list[Finding]:
    """Why a file must not be committed; empty where it may be.

    Parameters
    ----------
    data : bytes
        The file as staged.
    name : str
        Path in the repository.
    cohort : Cohort, optional
        Participants of the results beside the repository.
    """
    lower, found = name.lower(), []
    for kind, (suffixes, start) in REFUSED.items():
        if lower.endswith(suffixes) or (start and data.startswith(start)):
            found.append(Finding(masked(name), kind))
    if data[128:132] == b"DICM":
        found.append(Finding(masked(name), "DICOM file"))
    plain = data
    if data[:2] == b"\x1f\x8b":
        import zlib

        try:
            plain = zlib.decompressobj(31).decompress(data, 1000)
        except zlib.error:
            plain = b""
    if plain[344:348] in (b"n+1\0", b"ni1\0") or plain[4:7] in (b"n+2", b"ni2"):
        found.append(Finding(masked(name), "NIfTI image"))
    if not found:
        found = scan_bytes(data, name, cohort)
        if PurePosixPath(lower).suffix in CODE or "." not in PurePosixPath(lower).name:
            found = [finding for finding in found if finding.kind == COHORT_ID]
    return sorted(set(found))


def _git(*arguments) -> bytes:
    return subprocess.run(["git", *arguments], stdout=subprocess.PIPE, check=True).stdout


def search(results="results", everything: bool = False) -> list[Finding]:
    """What must not be committed.

    Parameters
    ----------
    results : path
        Results, in the repository, whose participants count.
    everything : bool
        Every tracked file; else what is staged.
    """
    top = Path(_git("rev-parse", "--show-toplevel").decode().strip())
    listing = ["ls-files", "-z"]
    if not everything:
        listing = ["diff", "--cached", "--name-only", "--no-renames", "--diff-filter=d", "-z"]
    names = _git("-C", str(top), *listing).decode().split("\0")[:-1]
    cohort = Cohort.read(top / results)
    allowed = top / ALLOWED
    patterns = allowed.read_text(encoding="utf-8").splitlines() if allowed.exists() else []
    patterns = [line.strip() for line in patterns if line.strip() and not line.startswith("#")]
    found = []
    for name in names:
        of_file = examine(_git("-C", str(top), "cat-file", "blob", f":{name}"), name, cohort)
        if any(fnmatch(name, pattern) for pattern in patterns):
            of_file = [finding for finding in of_file if finding.kind == COHORT_ID]
        found += of_file
    return found
