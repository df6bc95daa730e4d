"""Which slab is which: numbers the stations by size and place, head to foot."""

from itertools import combinations

from iliopsoas.status import Refused, Verdict

REQUIRED = (2, 3, 4, 5)
NEEDED = ("in", "F", "W")

# rows, slices, mm between slices (ukb_format.md, section 2), and the height of the middle,
# RAS mm. S1, S3 and S6 are published; the others follow from equal overlaps and only have
# to be nearer than half a station.
NOMINAL = {
    1: (168, 64, 3.0, -28.5),
    2: (174, 44, 4.5, -195.0),
    3: (174, 44, 4.5, -366.0),
    4: (174, 44, 4.5, -537.0),
    5: (162, 72, 3.5, -711.0),
    6: (156, 64, 4.0, -915.0),
}


def number_stations(places):
    """Give each slab its station number.

    Parameters
    ----------
    places : list of list of ChannelVolume
        Series at one position each, head to foot.

    Returns
    -------
    list of (int, list of ChannelVolume)
        Head to foot.

    Raises
    ------
    Refused
        ``wrong_body_part`` where no slab looks like a station.

    Notes
    -----
    Numbers rise from head to foot; among all such numberings the one is taken whose
    matrix, slice distance and place differ least from the protocol's. A slab that would
    be a seventh station, or that no station resembles, is passed over.
    """
    slabs = [place for place in places if _mismatch(place[0]) < 3]
    if not slabs:
        raise Refused(
            Verdict.WRONG_BODY_PART,
            f"scan: none of its {len(places)} Dixon slabs has the size of a neck-to-knee station",
        )
    while len(slabs) > 6:  # the least alike goes
        slabs.remove(max(slabs, key=lambda place: _mismatch(place[0])))
    choices = combinations(range(1, 7), len(slabs))
    numbers = min(choices, key=lambda numbers: _cost(slabs, numbers))
    return list(zip(numbers, slabs, strict=True))


def _mismatch(item) -> float:
    """How unlike any station a slab is: 0 for one of the protocol's sizes."""
    return min(_unlike(item, number) for number in NOMINAL)


def _unlike(item, number: int) -> float:
    rows, count, step, _ = NOMINAL[number]
    length = item.shape[2] * item.spacing[2]
    return (
        abs(item.shape[1] - rows) / 12
        + abs(item.spacing[2] - step) / 0.5
        + abs(length - count * step) / 40
    )


def _cost(slabs, numbers) -> float:
    offsets = [
        (place[0].low + place[0].high) / 2 - NOMINAL[number][3]
        for place, number in zip(slabs, numbers, strict=True)
    ]
    middle = sorted(offsets)[len(offsets) // 2]
    away = sum(abs(offset - middle) / 50 for offset in offsets) + abs(middle) / 200
    alike = sum(
        min(_unlike(place[0], number), 4.0) for place, number in zip(slabs, numbers, strict=True)
    )
    return away + alike
