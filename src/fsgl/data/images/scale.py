"""What is black and what is white in images of more than 8 bits a channel.

Files of 16 bits often hold 8, 10, 12 or 14, and nothing in them says so; nor does a floating-point file say what is
white. So the scale is decided for a set as a whole (``scale_of``), and never for an image by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_BITS = (8, 10, 12, 14, 16)  # that cameras and scanners have


class Scale(NamedTuple):
    """The values that become 0 and 255, for images of more than 8 bits a channel.

    given: by a person, so that what lies beyond is meant to be cut off; False where it was decided from the files, and
    an image far beyond it is refused.
    """

    black: float
    white: float
    given: bool = False

    @classmethod
    def read(cls, content: Sequence[float] | None) -> Scale | None:
        """Of a record, which holds its three values or null. Raises ValueError or TypeError for anything else."""
        if content is None:
            return None
        black, white, given = content
        if not -math.inf < black < white < math.inf:
            raise ValueError("a scale goes from black up to white")
        return cls(float(black), float(white), bool(given))


SIXTEEN_BITS = Scale(0.0, 65535.0)


class Extent(NamedTuple):
    """The values of an image of more than 8 bits.  whole: no fractions."""

    low: float
    high: float
    whole: bool


def scale_of(extents: Sequence[Extent]) -> Scale:
    """The scale of a set, from what (some of) its images of more than 8 bits hold.

    White of whole numbers is the largest value of 8, 10, 12, 14 or 16 bits, else of as many as are needed. Of fractions
    it is 1 for values up to 1, 255 for some from 64 to 255, and otherwise the largest one, rounded up. Black is 0;
    where there are negative values, the power of two or the rounded value that lies below them.
    Raises ValueError for no images, and for whole numbers and fractions in one set that call for different scales.
    """
    if not extents:
        raise ValueError("a scale is decided from images, and there are none")
    found = []
    for whole, decide in ((True, _whole_scale), (False, _fraction_scale)):
        if some := [each for each in extents if each.whole == whole]:
            found.append(decide(min(each.low for each in some), max(each.high for each in some)))
    if len(found) == 2 and found[0].white <= 1:  # blank images among fractions are whole by chance
        found = [Scale(min(each.black for each in found), found[1].white)]
    if len(set(found)) > 1:
        levels = " and ".join(f"{each.white:,g}" for each in found)
        raise ValueError(f"some hold whole numbers and some fractions, which want different white levels ({levels})")
    return found[0]


def _whole_scale(low: float, high: float) -> Scale:
    black = 0.0 if low >= 0 else -float(2 ** math.ceil(math.log2(-low)))
    if high <= 1:
        return Scale(black, 1.0)
    if high <= 15:
        return Scale(black, 15.0)
    bits = next((bits for bits in _BITS if high < 2**bits), max(1, math.ceil(math.log2(high + 1))))
    return Scale(black, float(2**bits - 1))


def _fraction_scale(low: float, high: float) -> Scale:
    black = 0.0 if low >= 0 else -_rounded_up(-low)
    if 0.05 < high <= 1:
        return Scale(black, 1.0)
    if 64 < high <= 255:
        return Scale(black, 255.0)
    return Scale(black, _rounded_up(high) if high > 0 else 1.0)


def _rounded_up(value: float) -> float:
    """To two digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.12g}")
