"""A participant's stitched images: on disk, or made again from the zip where they were not kept."""

from pathlib import Path

import nibabel as nib
import numpy as np

from iliopsoas import files
from iliopsoas.stages.ledger import Ledger
from iliopsoas.stages.shards import output_of
from iliopsoas.status import Refused, Verdict

IMAGES = ("water.nii.gz", "fat.nii.gz", "body.nii.gz")
LARGE = IMAGES[:2]  # the body mask is small, and its absence is how a loss is noticed
NOTE = "images_removed.json"


def save(folder, images) -> None:
    """Write water, fat and body of one participant."""
    folder = Path(folder)
    for name, image in zip(IMAGES, images, strict=True):
        files.write_nifti(folder / name, image)
    (folder / NOTE).unlink(missing_ok=True)


def load(folder, *names: str) -> tuple:
    """Stitched images of one participant.

    Parameters
    ----------
    folder : path
        The participant's.
    *names : str
        Of `IMAGES`; all three where none is given.

    Returns
    -------
    tuple of nibabel images
        With their data in memory. Images that `remove` took are made again from the zip, in
        memory only: the same to the voxel.

    Raises
    ------
    Refused
        ``scan_missing``: the zip to make a removed image from is not there, or is another;
        ``earlier_output_lost``: an image is absent or damaged, and was not removed by `remove`.
    """
    folder, names = Path(folder), names or IMAGES
    if is_removed(folder) and not all((folder / name).exists() for name in names):
        return _made_again(folder, names)
    with output_of("dixon", *(folder / name for name in names)):
        return tuple(_in_memory(folder / name) for name in names)


def _made_again(folder: Path, names) -> tuple:
    from iliopsoas.dixon import process_scan
    from iliopsoas.ukb.fingerprint import content_fingerprint

    note = files.read_json(folder / NOTE)
    if content_fingerprint(note["scan"]) != note["content"]:
        raise Refused(
            Verdict.SCAN_MISSING,
            "the stitched images were not kept (run.keep), and the zip they were made of is not "
            "where it was",
        )
    result = process_scan(note["scan"], **note["parameters"])
    made = dict(zip(IMAGES, (result.water, result.fat, result.body), strict=True))
    return tuple(made[name] for name in names)


def _in_memory(path):
    image = nib.load(path)
    return nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header)


def is_removed(folder) -> bool:
    """Whether `remove` took the large images; then they count as done."""
    return (Path(folder) / NOTE).exists()


def bytes_in(folder, keep: str) -> int | None:
    """Bytes of a participant's images, removed ones counted where `keep` is "results"."""
    folder = Path(folder)
    try:
        body = (folder / IMAGES[2]).stat().st_size
        if keep == "results" and is_removed(folder):
            return body + files.read_json(folder / NOTE)["bytes"]
        return body + sum((folder / name).stat().st_size for name in LARGE)
    except (FileNotFoundError, ValueError, KeyError):
        return None


def remove(manifest, *, dixon, volumes, results, parameters: dict) -> dict:
    """Remove the water and fat images of a shard's participants who have volumes.

    Whoever was refused keeps theirs: that is where to look.

    Parameters
    ----------
    manifest, dixon, volumes : path
        Of the shard, and its ledgers of these stages.
    results : path
    parameters : dict
        The section dixon of the configuration, with which the images are made again.

    Returns
    -------
    dict
        participants without these images, and megabytes (10^6 bytes) that they took.
    """
    made, measured = Ledger(dixon).rows(), Ledger(volumes).rows()
    freed = []
    for row in files.read_tsv(manifest).itertuples():
        key, folder = (row.eid, row.instance), files.subject_folder(results, row.eid, row.instance)
        there = [folder / name for name in LARGE if (folder / name).exists()]
        # a removal that was cut off has its note already
        if there and measured[key]["verdict"] == Verdict.OK and not is_removed(folder):
            note = {
                "scan": row.scan,
                "content": made[key]["scan_content"],
                "parameters": parameters,
                "bytes": sum(path.stat().st_size for path in there),
            }
            files.write_json(folder / NOTE, note)  # first: a removal is never taken for a loss
        if is_removed(folder):
            for path in there:
                path.unlink()
            freed.append(files.read_json(folder / NOTE)["bytes"])
    return {"participants": len(freed), "megabytes": round(sum(freed) / 1e6, 1)}


def follow(folder, scan, content) -> None:
    """Note that the zip of removed images lies elsewhere today."""
    if is_removed(folder):
        note = files.read_json(Path(folder) / NOTE)
        if note["scan"] != str(scan) and note["content"] == content:
            files.write_json(Path(folder) / NOTE, note | {"scan": str(scan)})
