"""What was found in many films, in numbers: events and seconds by label, by hour of film and by hour of the clock."""

from __future__ import annotations

import datetime
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from avel_cli.films.ffmpeg import source
from avel_cli.media import Media, find_ffmpeg
from avel_cli.timeline.events import Timeline

HOUR = 3600.0
MOST = 12  # labels in the picture
By = Literal["film", "clock"]


@dataclass(frozen=True)
class Row:
    """What was found of one label in one hour.

    Attributes:
        label: of the events.
        by: whether the hour is one of the films, counted from 0, or of the clock.
        hour: `0`; or `2024-05-01T13`, in the time zone that the file names.
        events: that begin in it.
        seconds: of events that lie in it.
        media_seconds: of film that lie in it, with events or without.
    """

    label: str
    by: By
    hour: str
    events: int
    seconds: float
    media_seconds: float

    @property
    def events_an_hour(self) -> float:
        """Events for each hour of film."""
        return self.events * HOUR / self.media_seconds


@dataclass(frozen=True)
class Summary:
    """Totals and rows of many films.

    Attributes:
        films: how many.
        seconds: of them all.
        dated: how many tell when they were taken.
        labels: label, events and seconds, the most frequent first.
        rows: by hour, in order of time.
    """

    films: int
    seconds: float
    dated: int
    labels: tuple[tuple[str, int, float], ...]
    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; seconds to 1 ms."""
        hours = self.seconds / HOUR
        labels = [
            {"label": label, "events": events, "seconds": round(seconds, 3), "events_an_hour": round(events / hours, 3)}
            for label, events, seconds in self.labels
        ]
        rows = [
            {**vars(row), "seconds": round(row.seconds, 3), "media_seconds": round(row.media_seconds, 3)}
            for row in self.rows
        ]
        return {
            "films": self.films,
            "seconds": round(self.seconds, 3),
            "dated": self.dated,
            "labels": labels,
            "hours": rows,
        }


def summarize(films: Iterable[tuple[Timeline, datetime.datetime | None]]) -> Summary:
    """The summary of films, each with the time at which it was taken, where that is known."""
    given = list(films)
    counts: Counter[tuple[str, By, str]] = Counter()
    lasting: dict[tuple[str, By, str], float] = defaultdict(float)
    there: dict[tuple[By, str], float] = defaultdict(float)
    for timeline, begun in given:
        for by, clock in (("film", None), ("clock", begun)):
            if by == "clock" and clock is None:
                continue
            for hour, _, seconds in hours(0.0, timeline.duration, clock):
                there[by, hour] += seconds  # type: ignore[index]
            for event in timeline:
                for hour, first, seconds in hours(event.start, event.end, clock):
                    lasting[event.label, by, hour] += seconds  # type: ignore[index]
                    counts[event.label, by, hour] += first  # type: ignore[index]
    rows = [
        Row(label, by, hour, counts[label, by, hour], seconds, there[by, hour])
        for (label, by, hour), seconds in lasting.items()
    ]
    return Summary(
        films=len(given),
        seconds=sum(timeline.duration for timeline, _ in given),
        dated=sum(begun is not None for _, begun in given),
        labels=tuple(_totals(rows)),
        rows=tuple(
            sorted(
                rows, key=lambda row: (row.by != "film", int(row.hour) if row.by == "film" else 0, row.hour, row.label)
            )
        ),
    )


def hours(start: float, end: float, begun: datetime.datetime | None) -> Iterable[tuple[str, bool, float]]:
    """The hours that `[start, end)` lies in: name, whether it begins there, and how many seconds lie there."""
    offset = 0.0 if begun is None else begun.minute * 60 + begun.second + begun.microsecond / 1e6
    first = True
    while start < end:
        number = int((start + offset) // HOUR)
        stop = min(end, (number + 1) * HOUR - offset)
        if stop <= start:  # rounding, at the very edge of an hour
            number, stop = number + 1, min(end, (number + 2) * HOUR - offset)
        yield _name(number, begun), first, stop - start
        start, first = stop, False


def _name(number: int, begun: datetime.datetime | None) -> str:
    if begun is None:
        return str(number)
    return (begun + datetime.timedelta(hours=number)).strftime("%Y-%m-%dT%H")


def _totals(rows: Iterable[Row]) -> list[tuple[str, int, float]]:
    counts: Counter[str] = Counter()
    lasting: dict[str, float] = defaultdict(float)
    for row in rows:
        if row.by == "film":
            counts[row.label] += row.events
            lasting[row.label] += row.seconds
    return [
        (label, count, lasting[label]) for label, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def taken(media: Media) -> datetime.datetime | None:
    """When a film was taken, as its container's `creation_time` says; None if it does not.

    Raises:
        SetupError: if there is no FFmpeg.
    """
    command = [find_ffmpeg(), "-nostdin", "-hide_banner", *source(media)]  # without an output it tells about the input
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    found = re.search(rb"^ +creation_time *: (\S+)", done.stderr, re.MULTILINE)
    if not found:
        return None
    try:
        begun = datetime.datetime.fromisoformat(found[1].decode())
    except ValueError:
        return None
    return begun if 1980 < begun.year < 9000 else None  # cameras without a clock say 1904 or 1970


def plot(summary: Summary, path: Path) -> None:
    """A PNG of events by label, and by hour in the most frequent labels: of the clock if every film is dated.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    most = summary.labels[:MOST]
    figure = Figure(figsize=(10, 3 + 0.25 * len(most)), layout="constrained")
    bars, grid = figure.subplots(1, 2)
    bars.barh(_plain(label for label, *_ in most[::-1]), [count for _, count, _ in most[::-1]], color="#33618f")
    bars.set(xlabel="events", title=f"{summary.films} films, {summary.seconds / HOUR:.2f} h")
    _plot_hours(grid, summary, [label for label, *_ in most])
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})


def _plot_hours(grid: Any, summary: Summary, labels: list[str]) -> None:
    by: By = "clock" if summary.dated == summary.films else "film"
    rows = [row for row in summary.rows if row.by == by and row.label in labels]
    names = list(dict.fromkeys(row.hour for row in rows))
    cells = [[0] * len(names) for _ in labels]
    for row in rows:
        cells[labels.index(row.label)][names.index(row.hour)] = row.events
    if names:
        grid.figure.colorbar(grid.imshow(cells, aspect="auto", cmap="cividis"), ax=grid, label="events")
    shown = range(0, len(names), max(1, len(names) // 8))
    grid.set_xticks(list(shown), [names[n] for n in shown], rotation=30, ha="right")
    grid.set_yticks(range(len(labels)), _plain(labels))
    grid.set(title="by hour of the clock" if by == "clock" else "by hour of film")


def _plain(labels: Iterable[str]) -> list[str]:
    """For matplotlib, which would read mathematics between dollar signs."""
    return [label.replace("$", r"\$") for label in labels]
