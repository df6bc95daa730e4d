"""Masks, and on request the stitched images, as a BIDS derivative dataset.

Names and metadata follow the Brain Imaging Data Structure 1.10, "Derivatives: imaging data types".
"""

import shutil
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from iliopsoas import files, grid
from iliopsoas.logs import log
from iliopsoas.sampling import pseudonyms
from iliopsoas.stages import images as stitched
from iliopsoas.stages.segment import MANUAL
from iliopsoas.status import Refused, Verdict

BIDS_VERSION = "1.10.0"
OWN = "iliopsoas"  # entity seg- of this run's masks
# file of a participant -> (entity desc-, what it is). BIDS has no suffix for a water or fat image
# (part- is for magnitude and phase only); the scan is a spoiled gradient echo, T1-weighted
IMAGES = {
    "water.nii.gz": ("water", "Water image, stitched from six stations, bias corrected"),
    "fat.nii.gz": ("fat", "Fat image, stitched from six stations, bias corrected"),
}
_README = """\
Masks of the left and right iliopsoas muscle from UK Biobank's neck-to-knee Dixon MRI (field
20201), made by iliopsoas {version}. Individual-level data: it stays where the data agreement
allows, whatever participants are called in it. A participant's number is kept, with the EID, in
the results' {key}.
"""


def write(
    results,
    volumes: pd.DataFrame,
    sample: pd.DataFrame,
    folder,
    *,
    ids: str = "pseudonyms",
    images: bool = False,
    methods=(),
) -> dict:
    """Write the dataset.

    Parameters
    ----------
    results : path
        Folder of all results.
    volumes, sample : DataFrame
        As results/volumes.tsv and results/cohort/sample.tsv; sampled visits with a volume are
        exported.
    folder : path
        Empty, the dataset's.
    ids : str
        ``pseudonyms`` or ``eids``, for the entity sub-.
    images : bool
        Water and fat images too; where they were not kept they are made again from the zip.
    methods : sequence of str
        Other tools whose masks, on the stitched grid, go along as ``seg-<method>``.

    Returns
    -------
    dict
        Visits exported, visits without images, masks of other tools.
    """
    folder = Path(folder)
    good = volumes[volumes["status"] == Verdict.OK].merge(
        sample[[*files.KEY, "sex"]], on=files.KEY, validate="one_to_one"
    )
    names = dict.fromkeys(good["eid"])
    names = pseudonyms.assign(results, names) if ids == "pseudonyms" else {n: n for n in names}
    segmentations = {OWN: "iliopsoas.nii.gz"}
    segmentations |= {
        "".join(c for c in method if c.isalnum()): f"other-{method}.nii.gz" for method in methods
    }
    count = {"visits": 0, "visits_without_images": 0, "masks_of_other_tools": 0}
    for row in good.itertuples():
        source = files.subject_folder(results, row.eid, row.instance)
        label = f"sub-{names[row.eid]}_ses-{row.instance}"
        place = folder / f"sub-{names[row.eid]}" / f"ses-{row.instance}" / "anat"
        place.mkdir(parents=True)
        shown = _write_images(source, place, label) if images else {}
        count["visits_without_images"] += bool(images and not shown)
        for name, file in segmentations.items():
            if not (source / file).exists():  # another tool has no mask of everybody
                continue
            shutil.copyfile(source / file, place / f"{label}_seg-{name}_dseg.nii.gz")
            about = _of_mask(row, name) | ({"Sources": list(shown)} if shown else {})
            files.write_json(place / f"{label}_seg-{name}_dseg.json", about)
            count["masks_of_other_tools"] += name != OWN
        count["visits"] += 1
    people = good[["eid", "sex"]].drop_duplicates("eid")
    people = people.assign(participant_id="sub-" + people["eid"].map(names))
    _write_top(folder, people[["participant_id", "sex"]].sort_values("participant_id"))
    log.info("BIDS: %s", ", ".join(f"{number} {what}" for what, number in count.items()))
    return count


def _of_mask(row, name: str) -> dict:
    """Sidecar of a mask, beside what dseg.json says of all; volumes and verdict are this run's."""
    about = {"Manual": name == OWN and row.network == MANUAL}
    if name == OWN:
        about |= {
            "LeftVolumeMl": row.left_ml,
            "RightVolumeMl": row.right_ml,
            "Network": row.network,
            "NetworkSHA256": row.weights_sha256,
            "QualityVerdict": row.qc_verdict,
        }
    return about


def _write_images(source: Path, place: Path, label: str) -> dict:
    """Copy a visit's images, or make them again; their BIDS URIs, none where it is impossible."""
    try:
        kept = all((source / file).exists() for file in IMAGES)
        made = [None] * len(IMAGES) if kept else stitched.load(source, *IMAGES)
    except Refused as refused:
        log.warning("BIDS: a visit has no images: %s", refused.message)
        return {}
    found = {}
    for (file, (desc, what)), image in zip(IMAGES.items(), made, strict=True):
        name = f"{label}_desc-{desc}_T1w"
        if image is None:
            shutil.copyfile(source / file, place / f"{name}.nii.gz")
        else:
            files.write_nifti(place / f"{name}.nii.gz", image)
        about = {"Description": what, "SkullStripped": False, "SpatialReference": "orig"}
        files.write_json(place / f"{name}.json", about)
        uri = f"{place.relative_to(place.parents[2]).as_posix()}/{name}.nii.gz"
        found[f"bids::{uri}"] = file
    return found


def _write_top(folder: Path, people: pd.DataFrame) -> None:
    """What the dataset says of itself; what is called dseg up here holds for every mask below."""
    made_with = version("iliopsoas")
    files.write_json(
        folder / "dataset_description.json",
        {
            "Name": "Iliopsoas muscles from UK Biobank neck-to-knee Dixon MRI",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "iliopsoas", "Version": made_with}],
            "ReferencesAndLinks": ["https://doi.org/10.1038/s41598-020-77351-0"],
        },
    )
    files.write_text(folder / "README", _README.format(version=made_with, key=pseudonyms.KEY))
    lookup = [
        {"index": index, "name": f"{side} iliopsoas", "abbreviation": f"{side[0].upper()}-IP"}
        for side, index in grid.SIDES.items()
    ]
    files.write_tsv(folder / "dseg.tsv", pd.DataFrame(lookup))
    about = {
        "Description": "Left (1) and right (2) iliopsoas muscle, on the stitched grid",
        "SpatialReference": "orig",
    }
    files.write_json(folder / "dseg.json", about)
    files.write_tsv(folder / "participants.tsv", people)
    sex = {"Levels": {"female": "female", "male": "male"}, "Description": "UK Biobank field 31"}
    about = {"Description": "Participants with at least one mask", "sex": sex}
    files.write_json(folder / "participants.json", about)
