"""What the stages of the whole cohort read: who counts, the review page, figures of images."""

import nibabel as nib
import numpy as np
import pandas as pd

from iliopsoas import files, grid
from iliopsoas.logs import log
from iliopsoas.stages import images as stitched
from iliopsoas.status import Refused
from iliopsoas.versions import IMAGE_STAGES

REJECTED = "rejected_in_review"  # status, in the statistics, of who has a volume nobody trusts


def accepted(volumes, excluded) -> pd.DataFrame:
    """The volume table for the statistics: rejected scans no longer count as measured."""
    out = pd.MultiIndex.from_frame(volumes[files.KEY]).isin(
        pd.MultiIndex.from_frame(excluded[files.KEY])
    )
    return volumes.assign(
        status=volumes["status"].mask(out & (volumes["status"] == "ok"), REJECTED)
    )


def sampled(sample) -> pd.DataFrame:
    """Who was drawn; annotated participants outside the sample only serve training."""
    return sample[sample["sampled"].astype(str) == "True"]


def review_page(folder, sample, tables: dict, *, results) -> dict:
    """Write the review page from tables of `qc.judge`; see `qc.review.build`.

    Who was refused after Dixon has no masks to show, but an image: the page shows it with what
    was found of the landmarks, since that is where to look.
    """
    from iliopsoas.qc import audit, review

    volumes = tables["volumes"]
    refused = volumes.loc[volumes["stopped_at"].isin(IMAGE_STAGES[1:]), files.KEY]
    without_mask = set(refused.itertuples(index=False, name=None))

    def preview_of(eid, instance):
        folder = files.subject_folder(results, eid, instance)
        return _bare_preview(folder) if (eid, instance) in without_mask else folder / "preview.png"

    with files.owned_folder(folder) as part:  # people save their decisions there, too
        return review.build(
            part,
            tables["volumes"],
            tables["verdicts"],
            tables["flags"],
            sample,
            tables["drawn"],
            preview_of,
            tables["summary"],
            wanted=pd.concat([audit.wants_picture(tables["verdicts"], tables["drawn"]), refused]),
            quality=tables.get("quality"),
        )


def _bare_preview(folder):
    """A picture without outlines, made again only where the landmarks are newer; or None."""
    from iliopsoas.qc import preview

    water, path = folder / "water.nii.gz", folder / "refused.png"
    if not water.exists():  # not kept
        return None
    points = folder / "landmarks.json"
    newest = max(file.stat().st_mtime for file in (water, points) if file.exists())
    if not path.exists() or path.stat().st_mtime < newest:
        image = nib.load(water)
        found = files.read_json(points) if points.exists() else None
        empty = np.zeros(image.shape, np.uint8)
        picture = preview.preview(np.asanyarray(image.dataobj), empty, found, image.affine)
        files.write_bytes(path, picture)
    return path


# --- figures with images ------------------------------------------------------------------------


NOT_HERE = "Not drawn: the stitched images were not kept (run.keep), and the zips are not mounted."


def _images(results, row, *names):
    """Stitched images of a row's participant, as arrays; None where they cannot be had today."""
    folder = files.subject_folder(results, row.eid, row.instance)
    try:
        return [np.asanyarray(image.dataobj) for image in stitched.load(folder, *names)]
    except Refused as refused:
        log.warning("figures: a participant is not drawn: %s", refused.message)
        return None


def figure1(folds, manifests, *, results):
    """Figure 1, of the annotated participant whose manual volume is the median."""
    from iliopsoas.figures import images, style
    from iliopsoas.masks import annotations

    if folds is None or folds.empty:
        return style.empty("There is no manual annotation in this run.")
    total = folds.groupby(files.KEY)["manual_ml"].sum().sort_values()
    eid, instance = total.index[len(total) // 2]
    row = manifests.set_index(files.KEY).loc[(eid, instance)]
    folder = files.subject_folder(results, eid, instance)
    try:
        image, body = stitched.load(folder, "water.nii.gz", "body.nii.gz")
        label_map = annotations.read(row["annotation"].split(";"), image, body)
    except Refused as refused:
        log.warning("figure 1: %s", refused.message)
        return style.empty(NOT_HERE)
    return images.figure1(np.asanyarray(image.dataobj), label_map)


def overlays(paths) -> list[dict]:
    """The worst and the best participant of the cross-validation, for Figure 2 (b, c).

    Parameters
    ----------
    paths : list of path
        The examples that `validate` wrote, one file per fold.
    """
    from iliopsoas.figures import images

    found = {"worst": [], "best": []}
    for path in paths:
        with np.load(path, allow_pickle=False) as arrays:
            for rank, examples in found.items():
                if f"{rank}_dice" not in arrays:  # nobody was judged
                    continue
                example = {
                    key: arrays[f"{rank}_{key}"] for key in ("image", "manual", "automatic", "dice")
                }
                example["order"] = float(np.mean(example["dice"]))
                example["dice"] = dict(zip(grid.SIDES, example["dice"], strict=True))
                examples.append(example | {"aspect": images.aspect_of("coronal")})
    if not found["worst"]:
        return []
    chosen = [
        min(found["worst"], key=lambda example: example["order"]),
        max(found["best"], key=lambda example: example["order"]),
    ]
    return chosen if chosen[0]["order"] < chosen[1]["order"] else chosen[:1]


def figure3(volumes, sample, *, results, instance: int = 2):
    """Figure 3: twelve participants chosen by rule, see `figures.selection.twelve`."""
    from iliopsoas.figures import images, selection, style

    measured = volumes[(volumes["status"] == "ok") & (volumes["instance"] == str(instance))]
    measured = measured.merge(sample[files.KEY], on=files.KEY)
    panels = []
    for row in selection.twelve(measured.dropna(subset=["total_ml"])).itertuples():
        found = _images(results, row, "water.nii.gz")
        if found is None:
            continue
        (water,) = found
        mask = nib.load(files.subject_folder(results, row.eid, row.instance) / "iliopsoas.nii.gz")
        mask = np.asanyarray(mask.dataobj)
        box = images.window(mask, margin_mm=80.0)
        water, mask = water[box], mask[box]
        level = images.best_slice(mask > 0, "coronal")
        text = f"{row.total_ml:.0f} ml"
        if row.group == "most asymmetric":
            text = f"L\N{EN DASH}R {row.difference_ml:+.0f} ml".replace("-", "\N{MINUS SIGN}")
        panels.append(
            {
                "water": images.slice_of(water, "coronal", level),
                "mask": images.slice_of(mask, "coronal", level),
                "aspect": images.aspect_of("coronal"),
                "group": row.group,
                "text": text,
            }
        )
    if not panels and not measured.empty:
        return style.empty(NOT_HERE)
    return images.figure3(panels)


def figure_s1(volumes, *, results):
    """Figure S1, the crop boxes over the body, of median volume among complete scans."""
    from iliopsoas.figures import crops, style

    measured = volumes[volumes["status"] == "ok"].sort_values("total_ml")
    if measured.empty:
        return style.empty("No participant to show.")
    complete = measured[measured["stations_missing"].isna()]
    shown = measured if complete.empty else complete
    row = shown.iloc[len(shown) // 2]
    found = _images(results, row, "water.nii.gz")
    if found is None:
        return style.empty(NOT_HERE)
    folder = files.subject_folder(results, row["eid"], row["instance"])
    return crops.draw_crop_boxes(found[0], files.read_json(folder / "landmarks.json"))
