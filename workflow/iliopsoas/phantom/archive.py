"""Stations, with or without faults, to a zip of field 20201."""

from iliopsoas.phantom import draft
from iliopsoas.phantom import faults as planting


def write_zip(
    path,
    stations,
    traits,
    rng,
    faults=(),
    day=None,
    birth=None,
    transfer_syntax=None,
    level: int = 1,
) -> None:
    """Write one visit's zip of field 20201.

    Parameters
    ----------
    path : path
    stations : list of Station
        See `draft.make_scan`.
    traits : Traits
        Patient's sex, age, height and weight for the headers.
    rng : numpy.random.Generator
        The same state gives the same bytes.
    faults : sequence of str or callable
        What goes wrong: names of `iliopsoas.phantom.faults`, ``name:argument:...``, or
        functions of (scan, rng), applied in order.
    day, birth, transfer_syntax
        See `draft.make_scan`.
    level : int
        Deflate level; 0 stores.

    Raises
    ------
    InputError
        An unknown fault, or one that does not fit the stations.
    """
    scan = draft.make_scan(stations, traits, rng, day, birth, transfer_syntax)
    planting.plant(scan, faults, rng)
    draft.write_scan(path, scan, level)
