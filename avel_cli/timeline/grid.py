"""The time grid that features lie on."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """The one place where segment indices become seconds.

    Segment `i` covers the half-open interval `[start + i*stride, start + i*stride + window)`, in seconds
    from the start of the file. AVE's grid is `Grid()`: ten segments of one second without overlap.
    """

    start: float = 0.0
    stride: float = 1.0
    window: float = 1.0

    def seconds(self, index: int) -> tuple[float, float]:
        """Begin and end of segment `index`, in seconds."""
        begin = self.start + index * self.stride
        return begin, begin + self.window

    def count(self, duration: float) -> int:
        """How many segments a file of `duration` seconds has, at least one.

        Segments that overlap lie within the file. Of others, a last part counts as one, unless it is under a tenth
        of a stride, which is what codecs add at the end.
        """
        if self.window > self.stride:
            return max(1, math.floor((duration - self.start - self.window) / self.stride + 1e-6) + 1)
        return max(1, math.ceil((duration - self.start) / self.stride - 0.1))
