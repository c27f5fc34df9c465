"""Kept scores, decoded again by the page (its rules run by node) and by Python, give the events that were found."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import avel_cli.report
from avel_cli.timeline import kept, labels, segments
from avel_cli.timeline.events import Event
from avel_cli.timeline.filters import select
from avel_cli.timeline.grid import Grid
from avel_cli.timeline.labels import LabelScores, most_special
from avel_cli.timeline.redrawn import redrawn as redraw

RULES = Path(avel_cli.report.__file__).parent / "templates" / "rules.js"
NAMES = ("animal", "dog", "puppy", "speech", "vehicle", "car")
PARENTS = {"dog": "animal", "puppy": "dog", "car": "vehicle"}
KNOWN_BY = ("both", "heard", "both", "seen", "both", "both")
LEVELS = [0.01, 0.3, 0.5, 0.72]
FILTERS = [{}, {"min_duration": 2.0}, {"keep": ("dog", "car")}, {"top_k": 3}]


def redrawn(scores: list[kept.Kept], levels: list[float]) -> list[list[Event]]:
    """The events of each scores at each level, by the rules of the page."""
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not here")
    code = f"""
        const rules = require({json.dumps(str(RULES))});
        const asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
        console.log(JSON.stringify(asked.scores.map((kept, n) => rules.redraw(kept, asked.levels[n]))));
    """
    asked = json.dumps({"scores": scores, "levels": levels})
    done = subprocess.run([node, "-e", code], input=asked, capture_output=True, text=True, check=True)
    return [[Event(**event) for event in events] for events in json.loads(done.stdout)]


def drawn_by_python(scores: list[kept.Kept], levels: list[float]) -> list[list[Event]]:
    """The same by `avel convert`, from the JSON that is kept."""
    return [list(redraw(json.loads(json.dumps(one)), level)) for one, level in zip(scores, levels, strict=True)]


BY = pytest.mark.parametrize("by", [redrawn, drawn_by_python])


def assert_same(found: list[list[Event]], expected: list[list[Event]]) -> None:
    assert sum(map(len, expected)) > 100  # the cases hold something
    for ours, theirs in zip(found, expected, strict=True):
        assert [(event.label, event.modality) for event in ours] == [(event.label, event.modality) for event in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert [one.start, one.end, one.score] == pytest.approx([other.start, other.end, other.score], abs=1e-9)
            if other.heard is not None:
                assert [one.heard, one.seen] == pytest.approx([other.heard, other.seen], abs=1e-9)


def cases() -> list[tuple[int, float, dict, Grid, float]]:
    grids = [Grid(), Grid(0.25, 0.5, 0.96)]
    whole = [(level, filters, grid) for level in LEVELS for filters in FILTERS for grid in grids]
    return [(seed, *case, 23.4) for seed, case in enumerate(whole)]


def rounded(seed: int, *shape: int) -> np.ndarray:
    return np.round(np.random.default_rng(seed).beta(0.7, 0.9, shape), kept.DIGITS)


@BY
@pytest.mark.parametrize("known_by", [(), KNOWN_BY])
@pytest.mark.parametrize("modalities", [("both",), ("both", "heard", "seen")])
def test_labels_by_themselves(known_by, modalities, by) -> None:
    scores, levels, expected = [], [], []
    for seed, level, filters, grid, duration in cases():
        given = LabelScores(*rounded(seed, 3, grid.count(duration), len(NAMES)))
        kinds = kept.of_labels(given, NAMES, known_by, modalities)
        rules = {"grid": grid, "duration": duration, "parents": PARENTS}
        scores.append(kept.with_rules(kinds, **rules, **{"min_duration": 0, "keep": (), "top_k": None, **filters}))
        how = {"modalities": modalities, "known_by": known_by, "min_score": level, "min_alone": level}
        expected.append(list(labels.decode(given, NAMES, **rules, **how, **filters)))
        levels.append(level)
    assert_same(by(scores, levels), expected)


@BY
def test_one_label_a_segment(by) -> None:
    scores, levels, expected = [], [], []
    for seed, level, filters, grid, duration in cases():
        given, count = segments.SegmentScores(len(NAMES)), grid.count(duration)
        classes = rounded(seed, count, len(NAMES))
        for n, (probability, row) in enumerate(zip(rounded(seed + 1000, count), classes, strict=True)):
            given.add(n, [probability], row)
        kinds = kept.of_clips(*given.means(), NAMES, 0.4)
        rules = {"grid": grid, "duration": duration}
        filters = {"min_duration": 0, "keep": (), "top_k": None, **filters}
        scores.append(kept.with_rules(kinds, **rules, parents={}, **filters))
        how = {"count": count, "threshold": 0.4, "min_score": level}
        expected.append(list(segments.decode(given, NAMES, **rules, **how, **filters)))
        levels.append(level)
    assert_same(by(scores, levels), expected)


@BY
def test_events_that_may_overlap(by) -> None:
    scores, levels, expected = [], [], []
    for seed, level, filters, grid, duration in cases():
        random = np.random.default_rng(seed)
        starts, lengths = random.uniform(0, 20, 40), random.uniform(0.1, 3, 40)
        chosen, sure = random.integers(len(NAMES), size=40), rounded(seed, 40).clip(0, 1)
        every = [
            Event(float(start), float(start + length), NAMES[label], float(score))
            for start, length, label, score in zip(starts, lengths, chosen, sure, strict=True)
        ]
        filters = {"min_duration": 0, "keep": (), "top_k": None, **filters}
        kinds = kept.of_proposals(every, NAMES)
        scores.append(kept.with_rules(kinds, grid=grid, duration=duration, parents=PARENTS, **filters))
        special = most_special(select(every, min_score=level), NAMES, PARENTS)
        expected.append(list(select(special, **filters)))
        levels.append(level)
    assert_same(by(scores, levels), expected)


@BY
def test_the_part_of_a_film_keeps_its_place(by) -> None:
    event = Event(1.0, 2.0, "dog", 0.5)
    kinds = kept.of_proposals([event], NAMES)
    rules = {"grid": Grid(), "duration": 5.0, "parents": {}, "min_duration": 0, "keep": (), "top_k": None}
    [[moved]] = by([{**kept.with_rules(kinds, **rules), "begin": 60.0}], [0.25])
    assert asdict(moved) == {**asdict(event), "start": 61.0, "end": 62.0}
