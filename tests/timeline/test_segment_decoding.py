"""Window scores become events: averages, thresholds, merging, padding, filters."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from avel_cli.errors import UsageError
from avel_cli.timeline.events import Event
from avel_cli.timeline.segments import SegmentScores, decode, match_labels

LABELS = ("dog", "drum", "speech")


class Steps(NamedTuple):
    """A grid without gaps or overlap."""

    start: float = 0.0
    stride: float = 1.0

    def seconds(self, index: int) -> tuple[float, float]:
        return self.start + index * self.stride, self.start + (index + 1) * self.stride


def one_window(events: list[float], classes: list[list[float]]) -> SegmentScores:
    """Scores in which each segment has classes of its own, as windows of one segment give."""
    scores = SegmentScores(len(classes[0]))
    for index, (event, row) in enumerate(zip(events, classes, strict=True)):
        scores.add(index, [event], row)
    return scores


probabilities = st.floats(0, 1, width=32)
segments = st.integers(1, 25).flatmap(
    lambda n: st.tuples(
        arrays(np.float64, n, elements=probabilities), arrays(np.float64, (n, 3), elements=probabilities)
    )
)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 20),
            arrays(np.float64, 4, elements=probabilities),
            arrays(np.float64, 3, elements=probabilities),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_each_segment_is_the_mean_of_the_windows_that_cover_it(
    windows: list[tuple[int, np.ndarray, np.ndarray]],
) -> None:
    scores = SegmentScores(3)
    for first, events, classes in windows:
        scores.add(first, events, classes)
    means, class_means = scores.means()
    assert len(scores) == len(means) == max(first for first, _, _ in windows) + 4
    for index in range(len(scores)):
        covering = [
            (events[index - first], classes) for first, events, classes in windows if first <= index < first + 4
        ]
        expected = np.mean([event for event, _ in covering]) if covering else 0
        expected_classes = np.mean([classes for _, classes in covering], axis=0) if covering else np.zeros(3)
        assert means[index] == pytest.approx(expected)
        assert class_means[index] == pytest.approx(expected_classes)


@given(segments, st.floats(0, 1), st.floats(0, 1), st.integers(0, 30), st.floats(0.2, 40))
def test_every_segment_gets_the_label_that_the_rules_give_it(
    scored: tuple[np.ndarray, np.ndarray], threshold: float, min_score: float, count: int, duration: float
) -> None:
    event_scores, classes = scored
    grid = Steps(stride=0.5)
    found = decode(
        one_window(event_scores.tolist(), classes.tolist()),
        LABELS,
        grid,
        count=count,
        duration=duration,
        threshold=threshold,
        min_score=min_score,
    )
    assert list(found) == sorted(found)
    assert all(0 <= e.start < e.end <= duration and 0 <= e.score <= 1 for e in found)
    assert all(a.end <= b.start and (a.label != b.label or a.end < b.start) for a, b in pairwise(found))
    for index in range(len(event_scores)):
        begin, end = grid.seconds(index)
        said = [e.label for e in found if e.start <= begin and min(end, duration) <= e.end and begin < duration]
        heard = event_scores[index] > threshold and event_scores[index] * classes[index].max() >= min_score
        real = index < count and begin < duration
        assert said == ([LABELS[classes[index].argmax()]] if heard and real else [])


@given(segments, st.integers(1, 8))
def test_a_larger_top_k_only_adds_events_that_score_no_higher(scored: tuple[np.ndarray, np.ndarray], k: int) -> None:
    events, classes = scored
    scores = one_window(events.tolist(), classes.tolist())
    fewer, more = (
        decode(scores, LABELS, Steps(), count=len(events), duration=99, threshold=0.1, top_k=top_k)
        for top_k in (k, k + 1)
    )
    everything = decode(scores, LABELS, Steps(), count=len(events), duration=99, threshold=0.1)
    assert len(fewer) == min(k, len(everything))
    assert set(fewer) <= set(more) <= set(everything)
    assert list(more) == sorted(more)
    assert all(added.score <= kept.score for added in set(more) - set(fewer) for kept in fewer)


@given(segments, st.floats(0, 5), st.sets(st.sampled_from(LABELS)))
def test_filters_drop_whole_events_and_change_none(
    scored: tuple[np.ndarray, np.ndarray], min_duration: float, keep: set[str]
) -> None:
    events, classes = scored
    scores = one_window(events.tolist(), classes.tolist())
    everything = decode(scores, LABELS, Steps(), count=len(events), duration=99, threshold=0.1)
    kept = decode(
        scores, LABELS, Steps(), count=len(events), duration=99, threshold=0.1, min_duration=min_duration, keep=keep
    )
    assert kept == tuple(e for e in everything if e.duration >= min_duration - 1e-9 and (not keep or e.label in keep))


def test_neighbours_with_one_label_become_one_event_with_their_mean_score() -> None:
    scores = one_window([0.75, 1.0, 0.625, 0.875], [[1, 0], [0.5, 0], [0, 0.5], [0.5, 0]])
    assert decode(scores, ("a", "b"), Steps(), count=4, duration=4) == (
        Event(0, 2, "a", (0.75 + 0.5) / 2),
        Event(2, 3, "b", 0.3125),
        Event(3, 4, "a", 0.4375),
    )


def test_a_segment_under_min_score_parts_the_events_around_it() -> None:
    scores = one_window([0.9, 0.9, 0.9], [[0.9], [0.2], [0.9]])
    found = decode(scores, ("a",), Steps(), count=3, duration=3, min_score=0.5)
    assert [(e.start, e.end) for e in found] == [(0, 1), (2, 3)]


def test_an_event_probability_at_the_threshold_is_no_event() -> None:
    assert decode(one_window([0.5], [[1.0]]), ("a",), Steps(), count=1, duration=1, threshold=0.5) == ()


def test_padding_of_a_short_clip_is_never_an_event() -> None:
    scores = SegmentScores(1)
    scores.add(0, np.ones(10), [1.0])
    (event,) = decode(scores, ("a",), Steps(), count=3, duration=2.4)
    assert (event.start, event.end) == (0, 2.4)


def test_no_windows_give_no_events() -> None:
    assert decode(SegmentScores(3), LABELS, Steps(), count=5, duration=5) == ()


def test_a_grid_with_fractions_does_not_lose_events_of_exactly_the_minimum_duration() -> None:
    scores = one_window([0, 1, 1, 0], [[1.0]] * 4)
    (event,) = decode(scores, ("a",), Steps(stride=0.1), count=4, duration=0.4, min_duration=0.2)
    assert event.label == "a"


def test_long_files_are_collected_without_losing_windows() -> None:
    scores = SegmentScores(2)
    for first in range(0, 5000, 5):
        scores.add(first, np.full(10, 0.75), [1.0, 0.5])
    events, classes = scores.means()
    assert len(events) == 5005
    assert np.all(events == 0.75) and np.all(classes == [1.0, 0.5])


def test_labels_match_whatever_their_case() -> None:
    assert match_labels(["DOG", "Speech"], LABELS) == ("dog", "speech")


def test_an_unknown_label_names_the_closest_one() -> None:
    with pytest.raises(UsageError, match=r'no label "drun"\. Did you mean drum\?'):
        match_labels(["dog", "drun"], LABELS)
    with pytest.raises(UsageError, match="avel models show"):
        match_labels(["xyzzy"], LABELS)
