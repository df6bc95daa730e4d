"""``iliopsoas show``: a picture for a quick look."""

import numpy as np

from iliopsoas import files
from iliopsoas.cli import images
from iliopsoas.cli.report import Report
from iliopsoas.qc.preview import preview
from iliopsoas.status import InputError

HIGHEST_LABEL = 2


def run(options) -> Report:
    """Draw an image, with a mask's outlines where there is one."""
    if options.output.suffix.lower() != ".png":
        raise InputError(f"output: expected a name ending in .png, found {options.output.name}")
    mask = None
    if images.is_nifti(options.file):
        image = images.load(options.file, "image")
        water = np.asanyarray(image.dataobj)
        if options.mask is None and water.max() <= HIGHEST_LABEL and _whole(water):
            mask = water.astype(np.uint8)  # a label map by itself
    else:
        image = images.read(options.file)[0]
        water = np.asanyarray(image.dataobj)
    if options.mask is not None:
        outlines = images.load(options.mask, "mask")
        same = outlines.shape == image.shape
        if not (same and np.allclose(outlines.affine, image.affine, atol=1e-2)):
            raise InputError(f"mask: expected the image's grid {image.shape}, found another")
        mask = np.asanyarray(outlines.dataobj)
        if not _whole(mask):
            raise InputError("mask: expected whole-numbered labels, found fractions")
    mask = np.zeros(water.shape, np.uint8) if mask is None else mask
    files.write_bytes(options.output, preview(water, mask, affine=image.affine))
    return Report(f"written to {options.output}", {"status": "ok", "output": str(options.output)})


def _whole(values) -> bool:
    return values.dtype.kind in "biu" or bool((values == np.rint(values)).all())
