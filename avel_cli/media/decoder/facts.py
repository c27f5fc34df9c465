"""Facts of a file: one pass over its packets tells when each stream really begins and ends; nothing is decoded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import av
from av.stream import Disposition

from avel_cli.media.decoder.source import Source

LONGEST_LAST = 1.0
"""Seconds for which a last picture counts: its header, and its distance to the one before, may claim hours."""
GUESSED = {"mpegts", "mpeg", "mp3", "aac"}
"""Formats without a length: what FFmpeg says of it is the distance of two times, or a guess from the bit rate."""

MATROSKA = "matroska,webm"


@dataclass
class Extent:
    """Times of a stream's shown packets, in seconds."""

    packets: int = 0
    key: bool = False
    begin: float = float("-inf")
    first: float = float("inf")
    last: float = float("-inf")
    end: float = float("-inf")

    def add(self, time: float, length: float, key: bool) -> None:
        """Count a packet; what comes before the first one that can be decoded on its own is never seen."""
        if key and not self.key:
            self.packets, self.key, self.begin, self.first = 0, True, time, float("inf")
            self.last = self.end = float("-inf")
        if time < self.begin:
            return
        self.packets += 1
        self.first = min(self.first, time)
        self.last = max(self.last, time)
        self.end = max(self.end, time + length)

    def bounds(self, longest: float) -> tuple[float, float]:
        """Start and end; the last packet lasts at most `longest`, one of unknown length as long as the average."""
        if not self.packets:
            return 0.0, 0.0
        average = (self.last - self.first) / max(1, self.packets - 1)
        length = self.end - self.last if self.end > self.last else average
        # Packets before zero only prime the decoder; what they decode to is thrown away.
        return max(0.0, self.first), max(0.0, self.last + min(length, longest))


def facts(source: Source) -> dict[str, Any]:
    """What `probe` makes its `Media` of, ready for JSON."""
    extents = {index: Extent() for index in source.streams}
    ticks = {index: float(stream.time_base) for index, stream in source.streams.items()}
    intervals = {index: source.interval(index) for index in source.streams}
    for packet in source.packets():
        extent, tick = extents[packet.stream_index], ticks[packet.stream_index]
        ticks_shown = packet.dts if packet.pts is None else packet.pts
        if packet.is_discard:  # by an edit list: decoded, and not shown
            extent.key |= packet.is_keyframe
        elif ticks_shown is not None or extent.packets:  # Ogg gives a time to the last packet of a page only
            time = extent.last + intervals[packet.stream_index] if ticks_shown is None else ticks_shown * tick
            key = packet.is_keyframe and packet.stream.type == "video"
            extent.add(time, (packet.duration or 0) * tick, key)
    ends = {index: extent.bounds(_longest(source, index))[1] for index, extent in extents.items()}
    lacking = _lacking(source, max(ends.values(), default=0.0))
    described: dict[str, list[dict[str, Any]]] = {"video": [], "audio": []}
    for index, stream in source.streams.items():
        start, end = extents[index].bounds(_longest(source, index))
        promised = _length(source, stream)
        described[stream.type].append(
            {
                "index": index,
                "codec": stream.codec_context.codec.canonical_name if stream.codec_context else "unknown",
                "start": start,
                "end": end,
                "promised": max(end, end + lacking if promised is None else promised),
                **(_video if stream.type == "video" else _audio)(source, stream, extents[index]),
            }
        )
    return {"container": source.container.format.name, **described}


def _longest(source: Source, index: int) -> float:
    return LONGEST_LAST if source.streams[index].type == "video" else float("inf")


def _video(source: Source, stream: Any, extent: Extent) -> dict[str, Any]:
    start, end = extent.bounds(LONGEST_LAST)
    return {
        "width": stream.codec_context.width if stream.codec_context else 0,
        "height": stream.codec_context.height if stream.codec_context else 0,
        "fps": extent.packets / (end - start) if extent.packets > 1 and end > start else None,
        "frames": extent.packets,
        "rotation": _rotation(source, stream.index),
        "has_key": extent.key,
    }


def _audio(source: Source, stream: Any, extent: Extent) -> dict[str, Any]:
    return {
        "sample_rate": stream.codec_context.sample_rate if stream.codec_context else 0,
        "channels": stream.codec_context.layout.nb_channels if stream.codec_context else 0,
        "default": bool(stream.disposition & Disposition.default),
    }


def _rotation(source: Source, index: int) -> int:
    """Degrees; only a frame tells, so the first one is decoded."""
    again = Source(source.path, threads=1)
    frame = next((frame for _, frame in again.frames(index, from_key=True) if frame), None)
    return frame.rotation % 360 if frame else 0


def _length(source: Source, stream: Any) -> float | None:
    """When the header says that this stream ends, in seconds since the container's start; None if it does not say."""
    if source.container.format.name in GUESSED:
        return None
    if source.container.format.name == "avi":  # its seconds count a late stream twice, its pictures are right
        return stream.frames * source.interval(stream.index) or None
    if stream.duration is not None and source.container.format.name != MATROSKA:  # there FFmpeg guesses
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base) - source.start
    found = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))  # Matroska's
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None


def _lacking(source: Source, end: float) -> float:
    """Seconds of the whole file that its header promises beyond `end`, unless they may be those of other streams."""
    others = len(source.streams) != len(source.container.streams)
    if source.container.duration is None or source.container.format.name in GUESSED | {"avi"} or others:
        return 0.0
    return max(0.0, float(source.container.duration) / av.time_base - end)
