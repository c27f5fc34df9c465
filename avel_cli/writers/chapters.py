"""Places to jump to: markers of an editor, chapters of a film."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import groupby, pairwise
from operator import itemgetter
from typing import TextIO

from avel_cli.timeline.events import Timeline
from avel_cli.writers.names import one_line, stem
from avel_cli.writers.subtitles import cues

HOUR = 3600  # seconds; where the time code of a timeline begins in Resolve, unless it is told otherwise
USUAL_FPS = Fraction(25)  # of what has no pictures
SHORTEST = 10  # seconds; YouTube shows no chapters where one is shorter
NOTHING = "–"


def write_edl(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """Markers for DaVinci Resolve (Import > Timeline Markers from EDL), one for each event, to the nearest frame.

    The time code counts frames without drops and begins at 01:00:00:00, as timelines of Resolve do; the rate is that
    of the film, with 23.976, 29.97 and 59.94 taken as exact multiples of 1000/1001.
    """
    for timeline in timelines:
        rate = frame_rate(timeline)
        stream.write(f"TITLE: {one_line(stem(timeline))}\nFCM: NON-DROP FRAME\n\n")
        for number, event in enumerate(timeline.events, 1):
            first, last = (round(Fraction(moment) * rate) for moment in (event.start, event.end))
            codes = " ".join([_time_code(first, rate), _time_code(first + 1, rate)] * 2)
            name = one_line(event.label).replace("|", "/")
            stream.write(f"{number:03}  001      V     C        {codes}\n")
            stream.write(f" |C:ResolveColorBlue |M:{name} |D:{max(last - first, 1)}\n\n")


def write_ffmetadata(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """Chapters for `ffmpeg -i film.mp4 -i this -map_metadata 1 -codec copy`: what is on together is one, to 1 ms."""
    for timeline in timelines:
        stream.write(";FFMETADATA1\n")
        for start, end, text in cues(timeline.events):
            title = re.sub(r"([=;#\\])", r"\\\1", text)
            stream.write(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}\n")


def write_chapters(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """Chapters for the description of a video on YouTube: `0:15 dog` a line, whole seconds.

    The first begins at 0:00 and none is shorter than 10 s, as YouTube wants it: what begins sooner after a chapter
    joins it. YouTube shows three chapters or more.
    """
    for timeline in timelines:
        for name, same in groupby(_chapters(timeline), key=itemgetter(1)):
            start = next(same)[0]
            minutes, seconds = divmod(start, 60)
            clock = f"{minutes // 60}:{minutes % 60:02}" if minutes >= 60 else f"{minutes}"
            stream.write(f"{clock}:{seconds:02} {name}\n")


def frame_rate(timeline: Timeline) -> Fraction:
    """Pictures a second: that of the film, made exact where the container rounds a rate of NTSC."""
    video = timeline.media.get("video")
    fps = video.get("fps") if isinstance(video, dict) else None
    if not isinstance(fps, int | float) or not 1 <= fps <= 1000:
        return USUAL_FPS
    usual = (Fraction(round(fps)), Fraction(round(fps * 1.001) * 1000, 1001))
    closest = min(usual, key=lambda exact: abs(exact - Fraction(fps)))
    return closest if abs(closest - Fraction(fps)) < Fraction(1, 200) else Fraction(fps)


def _time_code(frame: int, rate: Fraction) -> str:
    """`HH:MM:SS:FF` of a frame, without drops: every second counts as many frames."""
    whole = round(rate)
    seconds, frames = divmod(frame + HOUR * whole, whole)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frames:02}"


def _chapters(timeline: Timeline) -> Iterator[tuple[int, str]]:
    """Start in seconds and name of each; where it begins, an event begins or ends."""
    spans = [(int(e.start), max(int(e.end), int(e.start) + 1), one_line(e.label)) for e in timeline.events]
    starts = [0]
    for edge in sorted({edge for start, end, _ in spans for edge in (start, end)}):
        if edge - starts[-1] >= SHORTEST <= timeline.duration - edge:
            starts.append(edge)
    for begin, stop in pairwise([*starts, timeline.duration + 1]):
        labels = dict.fromkeys(label for start, end, label in spans if start < stop and end > begin)
        yield int(begin), ", ".join(labels) or NOTHING
