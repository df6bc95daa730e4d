"""A participant's stitched images: on disk, or made again from the zip where they were not kept."""

from pathlib import Path

import nibabel as nib
import numpy as np

from iliopsoas import files
from iliopsoas.stages.shards import read_state
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
    FileNotFoundError
        An image is absent, and was not removed by `remove`.
    Refused
        ``scan_missing``: the zip to make a removed image from is not there, or is another.
    """
    folder, names = Path(folder), names or IMAGES
    try:
        return tuple(_in_memory(folder / name) for name in names)
    except FileNotFoundError:
        if not (folder / NOTE).exists():
            raise
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


def remove(manifest, *, results, parameters: dict) -> dict:
    """Remove the water and fat images of a shard's participants who have volumes.

    Whoever was refused keeps theirs: that is where to look.

    Parameters
    ----------
    manifest : path
        Of the shard.
    results : path
    parameters : dict
        The section dixon of the configuration, with which the images are made again.

    Returns
    -------
    dict
        participants without these images, and megabytes (10^6 bytes) that they took.
    """
    freed = []
    for row in files.read_tsv(manifest).itertuples():
        folder = files.subject_folder(results, row.eid, row.instance)
        there = [folder / name for name in LARGE if (folder / name).exists()]
        state = read_state(results, row.eid, row.instance, "volumes")
        # a removal that was cut off has its note already
        if there and state and state["verdict"] == Verdict.OK and not is_removed(folder):
            dixon = read_state(results, row.eid, row.instance, "dixon")
            note = {
                "scan": row.scan,
                "content": dixon["record"]["scan_content"],
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
