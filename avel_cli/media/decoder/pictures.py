"""Pictures of a file at a fixed rate and size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.filter import Graph

from avel_cli.media.decoder.facts import LONGEST_LAST
from avel_cli.media.decoder.source import Source

EARLY = 0.0015
"""Seconds before its time from which a picture counts as shown: containers round times to as much as 1 ms."""
TURNS = {90: ("transpose=cclock",), 180: ("hflip", "vflip"), 270: ("transpose=clock",)}


class Scaler:
    """Turns frames upright, stretches them to a size and makes them RGB; a frame may be of another kind than the last.

    Args:
        height: in pixels.
        width: in pixels.
        averaged: over the pixels that are lost; if not, interpolated.
    """

    def __init__(self, height: int, width: int, averaged: bool) -> None:
        self._scale = f"{width}:{height}:flags={'area+accurate_rnd' if averaged else 'bicubic'}"
        self._kind: object = None
        self._graph: Any = None

    def __call__(self, frame: Any) -> bytes:
        """Bytes of `[height, width, 3]`."""
        kind = (frame.width, frame.height, frame.format.name, frame.rotation, frame.colorspace, frame.color_range)
        if kind != self._kind:
            self._graph, self._kind = self._build(frame), kind
        self._graph.push(frame)
        plane = self._graph.pull().planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        return rows[:, : plane.width * 3].tobytes()

    def _build(self, frame: Any) -> Any:
        graph = Graph()
        nodes = [
            graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000), name="in"
            )
        ]
        for text in (*TURNS.get(frame.rotation % 360, ()), f"scale={self._scale}", "format=rgb24"):
            name, _, arguments = text.partition("=")
            nodes.append(graph.add(name, arguments or None))
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return graph


def write_pictures(source: Source, job: dict[str, Any], write: Callable[[bytes], None]) -> None:
    """Write what is on screen at `begin + k / fps` seconds for every `k` until the pictures end, or `until`.

    Args:
        source: the file.
        job: `index` of the stream, `fps`, `height`, `width`, `averaged`, `from_key`, `begin` and `until` in
            seconds since the container's start; `pace`: pictures a second by whose
            numbers, and not times, they are laid; None takes the times.
        write: takes the bytes of one picture.
    """
    scale = Scaler(job["height"], job["width"], job["averaged"])
    fps, pace = job["fps"], job["pace"]
    tick, interval = float(source.streams[job["index"]].time_base), source.interval(job["index"])
    shown: Any = None  # and since when, and for how long its frame says
    begin = since = length = 0.0
    done = 0
    until = math.inf if job["until"] is None else job["until"] - job["begin"]
    source.seek(job["begin"])
    for number, (time, frame) in enumerate(source.frames(job["index"], from_key=job["from_key"])):
        time = since + length if time is None else time - job["begin"]
        if frame is None:
            since = max(since, time)
            continue
        if pace is not None:
            time = number / pace
        if shown is None:
            begin, shown = time, frame
        if time >= until:
            since = until
            break
        done = _hold(shown, time - (0 if pace else EARLY), done, fps, scale, write)
        shown, since = frame, time
        length = 1 / pace if pace else (frame.duration or 0) * tick or interval
        count = number
    if shown is None:
        return
    average = (since - begin) / max(1, count)
    _hold(shown, min(until, since + min(length or average, LONGEST_LAST)), done, fps, scale, write)


def _hold(frame: Any, until: float, done: int, fps: float, scale: Scaler, write: Callable[[bytes], None]) -> int:
    """Write the picture for each moment before `until`; gives the number of the next moment."""
    if done / fps >= until - 1e-6:
        return done
    try:
        picture = scale(frame)
    except (av.error.FFmpegError, ValueError):
        return done  # FFmpeg has said why
    for number in itertools.count(done):
        if number / fps >= until - 1e-6:
            return number
        write(picture)
    raise AssertionError("never reached")
