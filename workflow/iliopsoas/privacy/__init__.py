"""Finds participants in files: ids, dates of birth, rows about single people.

Used before anything leaves a secure environment (`iliopsoas.egress`) and before anything is
committed (`iliopsoas.privacy.commit`). A finding names the file and what kind of thing was
found, never the thing itself.
"""

from iliopsoas.privacy.findings import Cohort, Finding, masked
from iliopsoas.privacy.scan import scan_bytes, scan_file, scan_folder

__all__ = ["Cohort", "Finding", "masked", "scan_bytes", "scan_file", "scan_folder"]
