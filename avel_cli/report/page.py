"""HTML pages from timelines: jinja2 templates with everything inside, and nothing fetched from anywhere.

A policy in each page lets run the scripts of the page alone, by their hashes, and load the film alone.
"""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from avel_cli import __version__
from avel_cli.report.strips import Strips
from avel_cli.timeline.events import Timeline

HOUR = 3600.0


def film_page(timeline: Timeline, film: str = "", strips: Strips | None = None) -> str:
    """The page of one film.

    Args:
        timeline: what was found; without kept scores the slider of the page can hide events only.
        film: address of the film, relative to the page, or a data URI; empty if there is none.
        strips: what is drawn beside the events.
    """
    data = {
        "duration": timeline.duration,
        "events": [asdict(event) for event in timeline.events],
        "minScore": timeline.parameters.get("min_score") or 0.0,
        "film": film,
        "strips": asdict(strips or Strips()),
        "scores": timeline.scores,
    }
    return _page("page", ["rules.js", "page.js"], data, timeline=timeline, name=Path(timeline.file).name)


def index_page(pages: Mapping[str, Timeline]) -> str:
    """The index of several films.

    Args:
        pages: file name of the page of each timeline, beside the index.
    """
    rows = [
        {
            "page": "./" + quote(os.fsencode(page)),
            "name": timeline.file,
            "duration": timeline.duration,
            "events": len(timeline),
            "labels": sorted({event.label for event in timeline}),
        }
        for page, timeline in pages.items()
    ]
    hours = Counter(int(event.start // HOUR) for timeline in pages.values() for event in timeline)
    totals = totals_by_label(list(pages.values()))
    return _page("index", ["index.js"], None, rows=rows, totals=totals, hours=sorted(hours.items()))


def totals_by_label(timelines: Sequence[Timeline]) -> list[tuple[str, int, float]]:
    """Label, number of events and their seconds, the most frequent first."""
    counts: Counter[str] = Counter(event.label for timeline in timelines for event in timeline)
    seconds: Counter[str] = Counter()
    for timeline in timelines:
        for event in timeline:
            seconds[event.label] += event.duration  # type: ignore[assignment]
    return [(label, count, float(seconds[label])) for label, count in sorted(counts.items(), key=lambda c: (-c[1], c))]


def link(film: Path, folder: Path) -> str:
    """The address of a film for a page in `folder`: relative, so that both can be moved together."""
    try:
        relative = os.path.relpath(film, folder)
    except ValueError:  # another drive
        return film.absolute().as_uri()
    return "./" + quote(os.fsencode(relative.replace(os.sep, "/")))  # "./": a colon in a name makes no scheme


def _page(template: str, scripts: Sequence[str], data: Any, **values: Any) -> str:
    script = "\n".join(_source(file) for file in scripts)
    style = _source("page.css")
    policy = (
        f"default-src 'none'; img-src data:; media-src 'self' file: data:; script-src '{_hash(script)}'; "
        f"style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'"
    )
    page = _templates().get_template(f"{template}.html")
    return page.render(script=script, style=style, policy=policy, data=data, version=__version__, **values)


def _hash(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _source(name: str) -> str:
    """A script or style as it stands between its tags, where its hash begins."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("avel_cli.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["clock"] = _clock
    return environment


def _clock(seconds: float) -> str:
    """`1:02:03.4`; hours where there are some."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02}" if hours else f"{minutes}") + f":{rest / 10:04.1f}"
