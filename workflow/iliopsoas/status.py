"""Verdicts: what became of a participant at a stage, and why."""

from enum import StrEnum


class Verdict(StrEnum):
    """One participant's outcome at one stage; everything but ``ok`` is a reason."""

    OK = "ok"

    # reading the scan
    SCAN_MISSING = "scan_missing"
    NOT_A_ZIP = "not_a_zip"
    TRUNCATED_ZIP = "truncated_zip"
    HOSTILE_ARCHIVE = "hostile_archive"
    NO_DIXON_SERIES = "no_dixon_series"
    WRONG_BODY_PART = "wrong_body_part"
    SEVERAL_PEOPLE = "several_people"
    UNREADABLE_PIXELS = "unreadable_pixels"
    OBLIQUE = "oblique"
    CHANNEL_MISSING = "channel_missing"
    CHANNEL_EMPTY = "channel_empty"
    SLICES_MISSING = "slices_missing"
    STATION_MISSING = "station_missing"
    STATION_GAP = "station_gap"
    SWAP_UNCERTAIN = "swap_uncertain"
    NO_BODY = "no_body"

    # reading a stitched image from elsewhere
    IMAGE_OTHER_SPACE = "image_other_space"
    IMAGE_TURNED = "image_turned"
    IMAGE_VALUES = "image_values"

    # landmarks and crops
    HIPS_NOT_FOUND = "hips_not_found"
    SHOULDERS_NOT_FOUND = "shoulders_not_found"
    LANDMARKS_IMPLAUSIBLE = "landmarks_implausible"
    CROP_EMPTY = "crop_empty"

    # manual annotations
    ANNOTATION_UNREADABLE = "annotation_unreadable"
    ANNOTATION_OTHER_SPACE = "annotation_other_space"
    ANNOTATION_EMPTY = "annotation_empty"
    ANNOTATION_SIDES_EXCHANGED = "annotation_sides_exchanged"
    ANNOTATION_OUTSIDE_BODY = "annotation_outside_body"

    # masks of another tool
    TOOL_FAILED = "tool_failed"  # its command ended with an error and left no mask
    MASK_MISSING = "mask_missing"
    MASK_UNREADABLE = "mask_unreadable"
    MASK_OTHER_SPACE = "mask_other_space"
    MASK_EMPTY = "mask_empty"
    MASK_SIDES_EXCHANGED = "mask_sides_exchanged"
    MASK_SIDES_OVERLAP = "mask_sides_overlap"

    # segmentation
    SEGMENTATION_EMPTY = "segmentation_empty"
    OUT_OF_MEMORY = "out_of_memory"

    # any stage
    EARLIER_STAGE = "earlier_stage"
    EARLIER_OUTPUT_LOST = "earlier_output_lost"  # what an earlier stage made cannot be read
    NO_VERDICT = "no_verdict"  # a stage's ledger lacks the participant: a bug or a cut run
    TIME_LIMIT = "time_limit"
    WORKER_DIED = "worker_died"
    UNEXPECTED_ERROR = "unexpected_error"


class Refused(Exception):
    """The input of one participant cannot be used.

    Parameters
    ----------
    verdict : Verdict
        The named reason that goes into the ledger.
    message : str
        What was found, in which file, and what was expected. It names files by
        role or base name of the archive's members, never by a participant's id.
    """

    def __init__(self, verdict: Verdict, message: str):
        super().__init__(message)
        self.verdict = Verdict(verdict)
        self.message = message

    def __reduce__(self):
        return (type(self), (self.verdict, self.message))


class InputError(Exception):
    """A file or setting of the whole run cannot be used; the run stops with this message."""
