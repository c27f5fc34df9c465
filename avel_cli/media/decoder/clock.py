"""One clock for all streams of a file: what begins anew or jumps is put right for all of them by the same offset."""

from __future__ import annotations

JUMP = 10.0
"""Seconds ahead that count as a jump where clocks may jump (transport and program streams, Ogg)."""
BACK = 0.1
"""Seconds back that count as a new beginning there."""
SEAM = 0.25
"""Seconds that another stream of the part before may last longer; if more, the new part begins when that has ended."""
FAR_BACK = 1.0
"""Seconds back that count as a new beginning elsewhere, where only damage or careless joining does that."""


class Clock:
    """Offsets, one for each time that the file's clock began anew; streams go from one to the next in their own time.

    The packets of two streams pass the same seam one after the other, so an offset that one stream has found is tried
    by the others before they find one of their own.

    Args:
        start: the container's time of its beginning, in seconds; becomes 0.
        jumps: whether the container's clock may jump ahead; if not, what lies ahead is a gap.
    """

    def __init__(self, start: float, jumps: bool) -> None:
        self._jumps, self._back = jumps, BACK if jumps else FAR_BACK
        self._offsets = [-start]
        self._last = -start  # put right, of any stream
        self._streams: dict[int, tuple[int, float, float]] = {}  # number of its offset, last time, when the next is due

    def offset(self, stream: int, time: float | None, length: float) -> float:
        """Seconds to be added to the times of the next packet of `stream`.

        Args:
            stream: its index.
            time: of decoding, in seconds of the container; None if it has none.
            length: of the packet in seconds, 0 if unknown.
        """
        before = self._streams.get(stream)
        if time is None:
            return self._offsets[before[0] if before else 0]
        number = self._next(time, *before) if before else self._first(time)
        offset = self._offsets[number]
        self._last = time + offset
        self._streams[stream] = number, self._last, self._last + length
        return offset

    def _follows(self, time: float, last: float, due: float) -> bool:
        return time + self._back >= last and not (self._jumps and time - due > JUMP)

    def _first(self, time: float) -> int:
        """For a stream's first packet: the offset that brings it nearest to what came before it."""
        number = min(range(len(self._offsets)), key=lambda index: abs(time + self._offsets[index] - self._last))
        if self._streams and self._jumps and abs(time + self._offsets[number] - self._last) > JUMP:
            self._offsets.append(self._last - time)
            number = len(self._offsets) - 1
        return number

    def _next(self, time: float, number: int, last: float, due: float) -> int:
        """The offset, from the stream's present one on, that brings the packet nearest to when it is due."""
        if number + 1 == len(self._offsets) and self._follows(time + self._offsets[number], last, due):
            return number
        later = range(number, len(self._offsets))
        best = min(later, key=lambda index: abs(time + self._offsets[index] - due))
        if self._follows(time + self._offsets[best], last, due):
            return best
        latest = max(due for _, _, due in self._streams.values())
        self._offsets.append((due if latest < due + SEAM else latest) - time)
        return len(self._offsets) - 1
