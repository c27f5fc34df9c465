"""An opened file: its streams, and their packets and frames at their right times."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import Any

import av
from av.format import Flags
from av.stream import Disposition

from avel_cli.media.decoder.clock import Clock

# Without this list a playlist that is named like a video makes FFmpeg open other files (hls, concat, sdp, image2).
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,wav,mp3,flac,aac,mxf"
LONGEST_GAP = 2 * 3600.0
"""Seconds without anything in a stream beyond which a time is not believed."""
MARGIN = 1.0
"""Seconds before what is wanted from which sound is decoded, so that its decoder has settled."""
KEPT: list[Source] = []
"""Sources are never freed, as FFmpeg may then wait for its threads for ever; the process ends soon, and at once."""
NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails


class Source:
    """A file opened for one pass.

    Args:
        path: of a local file. It is opened here, so FFmpeg itself opens nothing, and any name will do.
        threads: for decoding.

    Attributes:
        path: as given.
        container: of PyAV.
        streams: pictures and sound by index; no covers and thumbnails.

    Raises:
        av.error.FFmpegError: if it is no media of the known formats.
        OSError: if it cannot be opened.
    """

    def __init__(self, path: str, threads: int) -> None:
        av.logging.restore_default_callback()  # to stderr, which the parent reads
        KEPT.append(self)
        self.path = path
        self._file = open(path, "rb")  # noqa: SIM115
        self.container = self._opened()
        self.streams: dict[int, Any] = {
            stream.index: stream
            for stream in self.container.streams
            if stream.type in ("video", "audio") and not stream.disposition & NO_FILM
        }
        self._latest: dict[int, float] = {}
        for stream in self.streams.values():
            if stream.codec_context is not None:
                # With more than one thread Theora gives wrong colours about once in a hundred runs.
                stream.codec_context.thread_count = 1 if stream.codec_context.name == "theora" else threads
                stream.codec_context.thread_type = "AUTO"

    def _opened(self) -> Any:
        options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
        for level in (av.logging.FATAL, av.logging.ERROR):  # complaints of opening are heard only if it fails
            av.logging.set_level(level)
            try:
                self._file.seek(0)
                container = av.open(self._file, options=options, metadata_errors="replace", buffer_size=1 << 18)
                break
            except (av.error.FFmpegError, ValueError):
                if level == av.logging.ERROR:
                    raise
        av.logging.set_level(av.logging.ERROR)
        return container

    @property
    def start(self) -> float:
        """The container's time of its beginning, in seconds."""
        return float(self.container.start_time or 0) / av.time_base

    def interval(self, index: int) -> float:
        """Seconds from one picture to the next as the header says, 0 if it does not, or of sound."""
        rate = self.streams[index].average_rate if self.streams[index].type == "video" else None
        return float(1 / rate) if rate else 0.0

    def packets(self) -> Iterator[Any]:
        """All packets of all streams with their times put right, up to where the file can be read."""
        if not self.streams:
            return
        jumps = bool(Flags(self.container.format.flags) & Flags.ts_discont)
        clock = Clock(self.start, jumps)
        ticks = {index: float(stream.time_base) for index, stream in self.streams.items()}
        try:
            for packet in self.container.demux(list(self.streams.values())):
                if packet.size or packet.dts is not None:  # PyAV ends with an empty one for each stream
                    self._put_right(packet, clock, ticks[packet.stream_index])
                    yield packet
        except (av.error.FFmpegError, ValueError) as error:
            print(f"reading ends early: {error}", file=sys.stderr)

    def seek(self, begin: float) -> None:
        """Go on before `begin`, in seconds since the container's start, where that is quick and leaves times right."""
        if begin > MARGIN and not Flags(self.container.format.flags) & Flags.ts_discont:
            with suppress(av.error.FFmpegError, ValueError):
                self.container.seek(round((begin - MARGIN + self.start) * av.time_base))

    def frames(self, index: int, *, from_key: bool = False) -> Iterator[tuple[float | None, Any]]:
        """Decoded frames of one stream with their times in seconds since the container's start, None if unknown.

        An empty packet, which repeats the picture before, gives its time and None in place of a frame.

        Args:
            index: of the stream.
            from_key: leave out what comes before the first packet that can be decoded on its own.
        """
        tick = float(self.streams[index].time_base)
        for packet in chain(self.packets(), [None]):
            if packet is not None:
                if packet.stream_index != index or (from_key and not packet.is_keyframe):
                    continue
                from_key = False
                if not packet.size:
                    yield (packet.dts if packet.pts is None else packet.pts) * tick, None
                    continue
            for frame in self.decoded(index, packet):
                ticks = frame.dts if frame.pts is None else frame.pts
                yield (None if ticks is None else ticks * tick), frame

    def decoded(self, index: int, packet: Any) -> list[Any]:
        """Frames that a packet completes; None makes the decoder give what it holds back."""
        try:
            frames: list[Any] = self.streams[index].decode(packet)
        except (av.error.FFmpegError, ValueError):  # FFmpeg has said why
            return []
        return frames

    def _put_right(self, packet: Any, clock: Clock, tick: float) -> None:
        """Put the times of a packet on the clock; one that lies absurdly far behind the last is none."""
        latest = self._latest.get(packet.stream_index, max(self._latest.values(), default=0.0))
        times = [ticks for ticks in (packet.pts, packet.dts) if ticks is not None]
        if times and max(times) * tick - self.start > latest + LONGEST_GAP:
            print("a packet with an absurd time", file=sys.stderr)
            packet.pts = packet.dts = None
        time = None if packet.dts is None else packet.dts * tick
        shift = round(clock.offset(packet.stream_index, time, (packet.duration or 0) * tick) / tick)
        if packet.dts is not None:
            packet.dts += shift
        if packet.pts is not None:
            packet.pts += shift
            self._latest[packet.stream_index] = packet.pts * tick
