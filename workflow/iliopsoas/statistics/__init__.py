"""Everything the paper reports, from volumes, phenotypes and the cross-validation."""

from iliopsoas.statistics.run import Options, compute, run_all, write

__all__ = ["Options", "compute", "run_all", "write"]
