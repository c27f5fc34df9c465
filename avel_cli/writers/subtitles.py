"""Subtitles: at most one cue at any time, which names every label that is on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from itertools import groupby
from operator import itemgetter
from typing import TextIO

from avel_cli.timeline.events import Event, Timeline
from avel_cli.writers.names import one_line, without_arrows


def write_srt(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """Numbered SubRip cues; nothing at all where there are no events. Some readers take `-->` in a text for times."""
    for timeline in timelines:
        for number, (start, end, text) in enumerate(cues(timeline.events), 1):
            stream.write(f"{number}\n{clock(start)} --> {clock(end)}\n{without_arrows(text)}\n\n")


def write_vtt(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """WebVTT cues; `&`, `<` and `>` are escaped, so no label is a tag or ends its cue."""
    for timeline in timelines:
        stream.write("WEBVTT\n\n")
        for start, end, text in cues(timeline.events):
            stream.write(f"{clock(start, '.')} --> {clock(end, '.')}\n{escape(text, quote=False)}\n\n")


def cues(events: Iterable[Event]) -> Iterator[tuple[int, int, str]]:
    """Consecutive cues `(start, end, text)` in milliseconds; labels that are on together share a cue, "dog, speech"."""
    edges = sorted(edge for event in events for edge in _edges(event))
    sounding: Counter[str] = Counter()
    begun, shown = 0, ""
    for moment, changes in groupby(edges, key=itemgetter(0)):
        for _, label, step in changes:
            sounding[label] += step
        text = ", ".join(sorted(+sounding))
        if text != shown:
            if shown:
                yield begun, moment, shown
            begun, shown = moment, text


def _edges(event: Event) -> tuple[tuple[int, str, int], tuple[int, str, int]]:
    """Where the event goes on (+1) and off (-1), in milliseconds; line breaks in a label would end its cue."""
    label = one_line(event.label)
    return (round(event.start * 1000), label, 1), (round(event.end * 1000), label, -1)


def clock(milliseconds: int, mark: str = ",") -> str:
    """A time as `HH:MM:SS,mmm`."""
    minutes, rest = divmod(milliseconds, 60_000)
    seconds, thousandths = divmod(rest, 1000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{mark}{thousandths:03}"
