"""`avel find`: the moments of indexed films that a phrase fits best, by exact search. numpy only."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avel_cli.encoders.classes import imagenet
from avel_cli.encoders.vocabulary import Match
from avel_cli.errors import InputError, UsageError
from avel_cli.search import entries
from avel_cli.search.entries import Entry, Scores

By = Literal["both", "heard", "seen"]

SHARE = 0.5  # of the best second of a moment, which its other seconds have at least
LEAST = 1e-3  # a moment scores more


@dataclass(frozen=True)
class Moment:
    """A part of a film that fits a phrase: seconds `start` to `end`, scores of its best second in 0..1.

    Attributes:
        file: of the film.
        start: in seconds.
        end: in seconds.
        phrase: that it fits.
        score: what moments are ranked by.
        heard: how sure it is that the phrase is heard; None if it cannot be.
        seen: the same of what is seen.
    """

    file: str
    start: float
    end: float
    phrase: str
    score: float
    heard: float | None
    seen: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Answer:
    """The moments, best first; how many films were searched; and what should be known of the others, a line each."""

    moments: tuple[Moment, ...]
    films: int
    warnings: tuple[str, ...]


def find(root: Path, matches: tuple[Match, ...], *, by: By = "both", top_k: int = 10) -> Answer:
    """The moments of the films below `root` that fit the phrases best.

    Args:
        root: a folder that `avel index` has looked at.
        matches: the phrases, see `vocabulary.match`.
        by: rank by what is both heard and seen, or by one of them; a phrase that is known by one of them always is.
        top_k: how many moments.

    Raises:
        UsageError: if there is no index.
    """
    if not (root / entries.FOLDER).is_dir():
        raise UsageError(f"{root}: no index here; avel index {root} makes it")
    found: list[Moment] = []
    warnings, films = [], 0
    for path in entries.paths(root):
        try:
            entry = entries.read(root, path)
            if problem := entry.problem:
                warnings.append(f"{entry.film} {problem} since it was indexed and is left out; run avel index again")
                continue
            moments = [moment for match in matches for moment in _moments(entry, match, by, top_k)]
        except InputError as error:
            warnings.append(str(error))
            continue
        films += 1
        found = heapq.nsmallest(top_k, [*found, *moments], key=_rank)
    return Answer(tuple(found), films, tuple(warnings))


def _rank(moment: Moment) -> tuple[float, str, float, str]:
    return -moment.score, moment.file, moment.start, moment.phrase


def _moments(entry: Entry, match: Match, by: By, most: int) -> Iterator[Moment]:
    """The best moments of a film, which do not touch each other."""
    heard, seen = _heard(entry, match), _seen(entry, match)
    left = _judged(heard, seen, by).copy()
    duration = entry.facts.duration
    for _ in range(most):
        peak = int(left.argmax())
        score = float(left[peak])
        if score <= LEAST:
            return
        first, last = _around(left, peak)
        sides = (None if side is None else float(side[peak]) for side in (heard, seen))
        yield Moment(str(entry.film), float(first), min(float(last), duration), match.phrase, score, *sides)
        left[max(first - 1, 0) : last + 1] = 0


def _around(scores: Scores, peak: int) -> tuple[int, int]:
    """The first second of a moment, and the one after its last."""
    weak = np.flatnonzero(scores < SHARE * scores[peak])
    place = int(np.searchsorted(weak, peak))
    first = int(weak[place - 1]) + 1 if place else 0
    return first, int(weak[place]) if place < len(weak) else len(scores)


def _heard(entry: Entry, match: Match) -> Scores | None:
    """How likely a phrase is heard, `[T]`: as the loudest of its sounds."""
    return entry.rows("heard", match.sounds).max(0) if match.sounds else None


def _seen(entry: Entry, match: Match) -> Scores | None:
    """How likely it is seen, `[T]`: as its classes together or the likeliest of its own, over three seconds."""
    pictures = [len(imagenet()) + place for place in match.pictures]
    parts = []
    if match.scenes:
        parts.append(entry.rows("seen", match.scenes).sum(0).clip(max=1))
    if pictures:
        parts.append(entry.rows("seen", pictures).max(0))
    if not parts:
        return None
    seen = np.maximum.reduce(parts)
    sums, steps = np.cumsum([0, *seen], dtype=np.float64), np.arange(len(seen))
    first, last = np.maximum(steps - 1, 0), np.minimum(steps + 2, len(seen))  # two seconds at either end of a film
    means: Scores = (sums[last] - sums[first]) / (last - first)
    return means


def _judged(heard: Scores | None, seen: Scores | None, by: By) -> Scores:
    if heard is None or seen is None or by in ("heard", "seen"):
        wanted = seen if heard is None or (by == "seen" and seen is not None) else heard
        assert wanted is not None
        return wanted
    both: Scores = np.sqrt(heard * seen)
    return both
