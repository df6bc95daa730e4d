"""Shoulders, femoral heads and knees: where the crops go.

`locate` finds them, `assess` says whether they can be a body's. Published keys: "1", "2"
shoulders, "11", "12" hips, "21", "22" knees, right before left.
"""

from iliopsoas.landmarks.locating import locate, locate_with_record
from iliopsoas.landmarks.plausibility import assess

__all__ = ["assess", "locate", "locate_with_record"]
