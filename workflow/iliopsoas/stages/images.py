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
# contrasts of `process_scan`, for other tools; what is done here does not read them
CONTRASTS = {name: f"{name}.nii.gz" for name in ("in_phase", "fat_fraction")}
NOTE = "images_removed.json"


def save(folder, result) -> None:
    """Write the images of one participant's `DixonResult`."""
    folder = Path(folder)
    for name, image in _by_file(result).items():
        files.write_nifti(folder / name, image)
    (folder / NOTE).unlink(missing_ok=True)


def load(folder, *names: str) -> tuple:
    """Stitched images of one participant.

    Parameters
    ----------
    folder : path
        The participant's.
    *names : str
        Of `IMAGES` or `CONTRASTS`; the three of `IMAGES` where none is given.

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
    contrasts = [name for name, file in CONTRASTS.items() if file in names]
    made = process_scan(note["scan"], **note["parameters"] | {"contrasts": contrasts})
    return tuple(_by_file(made)[name] for name in names)


def _by_file(result) -> dict:
    """Images of a `DixonResult` by file name."""
    images = dict(zip(IMAGES, (result.water, result.fat, result.body), strict=True))
    return images | {CONTRASTS[name]: image for name, image in result.contrasts.items()}


def bytes_of_contrasts(folder, contrasts) -> int | None:
    """Bytes of these contrasts in a participant's folder; None where one is missing."""
    try:
        return sum((Path(folder) / CONTRASTS[name]).stat().st_size for name in contrasts)
    except FileNotFoundError:
        return None


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
    """Remove the images of a shard's participants who have volumes, but for the body masks.

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
            for path in (*there, *(folder / name for name in CONTRASTS.values())):
                path.unlink(missing_ok=True)
            freed.append(files.read_json(folder / NOTE)["bytes"])
    return {"participants": len(freed), "megabytes": round(sum(freed) / 1e6, 1)}


def follow(folder, scan, content) -> None:
    """Note that the zip of removed images lies elsewhere today."""
    if is_removed(folder):
        note = files.read_json(Path(folder) / NOTE)
        if note["scan"] != str(scan) and note["content"] == content:
            files.write_json(Path(folder) / NOTE, note | {"scan": str(scan)})
