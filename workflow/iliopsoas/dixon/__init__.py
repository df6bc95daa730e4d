"""Dixon preprocessing: one scan's zip to one water and one fat volume."""

from iliopsoas.dixon.process import DixonResult, process_scan

__all__ = ["DixonResult", "process_scan"]
