"""All checks, in the order in which they are reported."""

from iliopsoas.qc import mask_checks, stage_checks, volume_checks  # noqa: F401 (they register)
from iliopsoas.qc.registry import CHECKS, SEVERITIES, Check

__all__ = ["CHECKS", "SEVERITIES", "Check"]
