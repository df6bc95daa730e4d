"""Who is measured: eligibility, the stratified sample, and the shards it is processed in."""

from iliopsoas.sampling.assignment import assign_shards, read_manifests, shard_table
from iliopsoas.sampling.draw import Draw, draw
from iliopsoas.sampling.eligibility import eligible
from iliopsoas.sampling.plan import CohortPlan, plan_cohort

__all__ = [
    "CohortPlan",
    "Draw",
    "assign_shards",
    "draw",
    "eligible",
    "plan_cohort",
    "read_manifests",
    "shard_table",
]
