"""Versions of the stages: raising one reruns that stage, and what depends on it, for everybody.

Raise a stage's version in the commit that changes its results; a change that leaves the
results as they are (speed, messages) leaves the version as it is.
"""

STAGES = {
    "phantom": 2,
    "cohort": 2,
    "dixon": 4,
    "landmarks": 4,
    "crops": 2,
    "training": 1,
    "segment": 2,
    "opinion": 1,
    "volumes": 5,
    "tool": 1,
    "other": 1,
    "methods": 1,
    "qc": 4,
    "statistics": 4,
    "figures": 2,
    "egress": 3,
    "export": 2,
}
# those of a participant's images, each of which reads the one before it
IMAGE_STAGES = ("dixon", "landmarks", "crops", "segment", "volumes")
