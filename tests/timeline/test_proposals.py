"""Dense scores become events: Soft-NMS as published, windows of long files, seconds and filters."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avel_cli.timeline.grid import Grid
from avel_cli.timeline.proposals import Level, Proposals, decode, merge_windows, propose, soft_nms, to_seconds, to_steps

PARITY = Path(__file__).parents[1] / "data" / "parity"
CASES = json.loads((PARITY / "soft_nms.json").read_text())
GAUSSIAN = [case for case in CASES["raw"] if case["method"] == 2]
CLASSWISE = [case for case in CASES["batched"] if case["params"]["use_soft_nms"] and case["params"]["multiclass"]]
AGNOSTIC = [case for case in CASES["batched"] if case["params"]["use_soft_nms"] and not case["params"]["multiclass"]]
ULP = 6e-8  # of scores between 0.5 and 1 in float32
I3D = Grid(stride=0.32, window=0.96)


def rows(values: list[Any], columns: int) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, columns)


@pytest.mark.parametrize("case", GAUSSIAN, ids=lambda case: case["name"])
def test_one_class_is_lowered_as_published_in_the_published_order(case: dict[str, Any]) -> None:
    labels = np.zeros(len(case["scores"]), int)
    kept = soft_nms(
        rows(case["segments"], 2),
        case["scores"],
        labels,
        sigma=case["sigma"],
        min_score=case["min_score"],
        per_class=10**6,
    )
    assert kept.places.tolist() == case["out_indices"]
    np.testing.assert_allclose(kept.scores, rows(case["out_start_end_score"], 3)[:, 2], rtol=0, atol=ULP)


@pytest.mark.parametrize("case", CLASSWISE, ids=lambda case: case["name"])
def test_classes_are_lowered_each_by_itself_as_published(case: dict[str, Any]) -> None:
    settings, segments = case["params"], rows(case["segments"], 2)
    count = settings["max_seg_num"]
    kept = soft_nms(
        segments,
        case["scores"],
        case["labels"],
        sigma=settings["sigma"],
        min_score=settings["min_score"],
        per_class=count,
    )
    np.testing.assert_array_equal(segments[kept.places[:count]], rows(case["out_segments"], 2))
    assert [case["labels"][place] for place in kept.places[:count]] == case["out_labels"]
    np.testing.assert_allclose(kept.scores[:count], case["out_scores"], rtol=0, atol=ULP)


@pytest.mark.parametrize("case", AGNOSTIC, ids=lambda case: case["name"])
def test_under_one_label_all_classes_lower_each_other_as_published(case: dict[str, Any]) -> None:
    kept = soft_nms(rows(case["segments"], 2), case["scores"], np.zeros(len(case["scores"]), int))
    assert [case["labels"][place] for place in kept.places] == case["out_labels"]
    np.testing.assert_allclose(kept.scores, case["out_scores"], rtol=0, atol=ULP)


def one_by_one(segments: np.ndarray, scores: np.ndarray, min_score: float = 0.001) -> list[tuple[int, float]]:
    """Soft-NMS of one class, a segment at a time, in lists that swap and move as the published routine does."""
    waiting = [(int(i), *map(np.float32, (*segments[i], scores[i]))) for i in range(len(scores))]
    kept: list[tuple[int, float]] = []
    tiny = np.float32(1e-6)
    while waiting:
        best = max(range(len(waiting)), key=lambda i: waiting[i][3])
        waiting[0], waiting[best] = waiting[best], waiting[0]
        place, begin, end, score = waiting.pop(0)
        kept.append((place, float(score)))
        i = 0
        while i < len(waiting):
            other, b, e, s = waiting[i]
            shared = max(np.float32(0), min(end, e) - max(begin, b))
            overlap = shared / ((end - begin + tiny) + (e - b + tiny) - shared)
            s = s * np.exp(-overlap * overlap / np.float32(0.4))
            if s < min_score:
                waiting[i] = waiting[-1]
                waiting.pop()
            else:
                waiting[i] = (other, b, e, s)
                i += 1
    return kept


quarters = st.integers(0, 40).map(lambda value: value / 4)
candidate = st.tuples(quarters, st.integers(1, 40), st.sampled_from([0.001, 0.0011, 0.002, 0.01, 0.3, 0.5, 1.0]))


@settings(deadline=None)
@given(st.lists(st.tuples(candidate, st.integers(0, 3)), max_size=40))
def test_ties_and_removals_of_many_classes_keep_the_order_of_the_plain_loop(found: list[Any]) -> None:
    segments = rows([(begin, begin + length / 4) for (begin, length, _), _ in found], 2)
    scores, labels = np.array([c[2] for c, _ in found], np.float32), np.array([label for _, label in found], int)
    kept = soft_nms(segments, scores, labels)
    for label in set(labels.tolist()):
        places = np.flatnonzero(labels == label)
        expected = one_by_one(segments[places], scores[places])
        ours = labels[kept.places] == label
        assert kept.places[ours].tolist() == [places[place] for place, _ in expected]
        np.testing.assert_allclose(kept.scores[ours], [score for _, score in expected], rtol=1e-6)
    assert np.all(np.diff(kept.scores) <= 0)
    assert np.all(kept.scores <= scores[kept.places])


def test_of_equal_scores_the_one_that_changed_places_with_the_best_comes_last() -> None:
    kept = soft_nms([(0, 1), (2, 3), (4, 5)], [0.3, 0.3, 0.5], [0, 0, 0])
    assert kept.places.tolist() == [2, 1, 0]


def test_of_equal_scores_the_last_ones_come_first_after_filling_gaps() -> None:
    segments = [(0, 9), (0, 9), (0, 9), (10, 11), (12, 13), (14, 15)]
    kept = soft_nms(segments, [1, 0.005, 0.005, 0.5, 0.5, 0.5], [0] * 6)
    assert kept.places.tolist() == [0, 5, 4, 3]
    assert [place for place, _ in one_by_one(rows(segments, 2), np.array([1, 0.005, 0.005, 0.5, 0.5, 0.5]))] == [
        0,
        5,
        4,
        3,
    ]


def test_of_each_class_no_more_are_kept_than_asked_for() -> None:
    segments = np.arange(20)[:, None] + np.array([0.0, 0.5])
    kept = soft_nms(segments, np.linspace(1, 0.1, 20), np.arange(20) % 2, per_class=3)
    assert kept.places.tolist() == [0, 1, 2, 3, 4, 5]


def random_level(points: int, stride: int, classes: int = 5, seed: int = 0) -> Level:
    rng = np.random.default_rng(seed)
    scores = rng.random((points, classes), np.float32) ** 4
    return Level(scores, rng.random((points, classes, 2), np.float32) * 6, stride)


def test_a_point_proposes_what_its_offsets_reach_in_strides() -> None:
    scores, offsets = np.zeros((3, 2), np.float32), np.zeros((3, 2, 2), np.float32)
    scores[2, 1], offsets[2, 1] = 0.5, (3, 0.5)
    found = propose([Level(scores, offsets, 4)])
    assert (found.segments.tolist(), found.scores.tolist(), found.labels.tolist()) == ([[-4, 10]], [0.5], [1])


def test_low_scores_short_segments_and_more_than_the_best_are_not_proposed() -> None:
    scores = np.array([[0.001], [0.2], [0.9], [0.4]], np.float32)
    offsets = np.ones((4, 1, 2), np.float32)
    offsets[3] = 0.02
    level = Level(scores, offsets, 1)
    assert propose([level]).scores.tolist() == [np.float32(0.9), np.float32(0.2)]
    assert propose([level], top_k=1).scores.tolist() == [np.float32(0.9)]
    assert len(propose([level, level]).scores) == 4


@pytest.mark.parametrize(("batch", "row", "duration"), [("b1", 0, 16.5), ("b2", 0, 16.5), ("b2", 1, 20.0)])
def test_logits_of_the_published_network_become_its_published_detections(batch: str, row: int, duration: float) -> None:
    reference = np.load(PARITY / "unav_model.npz")
    logits, offsets = reference[f"{batch}_cls_logits"][row], reference[f"{batch}_offsets"][row]
    scores = reference[f"{batch}_mask"][row][:, None] / (1 + np.exp(-logits))
    strides = [2**level for level in range(6)]
    ends = np.cumsum([64 // stride for stride in strides])[:-1]
    parts = zip(np.split(scores, ends), np.split(offsets, ends), strides, strict=True)
    found = merge_windows([(0, propose(Level(*part) for part in parts))])
    seconds = to_seconds(found.segments, I3D).clip(0, duration)
    expected = reference[f"{batch}_det{row}"]
    assert found.labels.tolist() == expected[:, 3].tolist()
    np.testing.assert_allclose(seconds, expected[:, :2], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected[:, 2], rtol=0, atol=1e-5)


def test_one_window_is_a_file_like_any_other() -> None:
    found = propose([random_level(32, 1), random_level(16, 2, seed=1)])
    merged, plain = merge_windows([(0, found)]), soft_nms(*found)
    np.testing.assert_array_equal(merged.segments, found.segments[plain.places[:100]])
    np.testing.assert_array_equal(merged.scores, plain.scores[:100])


def test_an_event_that_two_windows_see_is_found_once() -> None:
    first = Proposals(rows([(50, 60), (3, 9)], 2), rows([0.9, 0.8], 1)[:, 0], np.array([2, 2]))
    second = Proposals(rows([(18, 28), (40, 48)], 2), rows([0.85, 0.7], 1)[:, 0], np.array([2, 2]))
    merged = merge_windows([(0, first), (32, second)])
    assert merged.segments[:3].tolist() == [[50, 60], [3, 9], [72, 80]]
    assert merged.scores[3] == pytest.approx(0.85 * np.exp(-2.5), rel=1e-4)


def test_windows_are_read_one_by_one_and_let_go_again() -> None:
    seen: list[weakref.ref[np.ndarray]] = []

    def windows() -> Iterator[tuple[int, Proposals]]:
        for index in range(20):
            found = propose([random_level(64, 1, 100, index)])
            seen.append(weakref.ref(found.scores))
            assert sum(scores() is not None for scores in seen) <= 2
            yield index * 100, found

    merged = merge_windows(windows(), per_window=7)
    assert (len(seen), len(merged.labels)) == (20, 140)
    assert merged.segments.max() > 1900


def test_no_windows_and_empty_windows_leave_nothing() -> None:
    nothing = Proposals(np.empty((0, 2), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    for windows in ([], [(0, nothing)], [(0, nothing), (128, nothing)]):
        assert decode(merge_windows(windows), ("a",), I3D, duration=9) == ()


@settings(deadline=None)
@given(st.lists(st.floats(-10, 1e5), min_size=1), st.sampled_from([I3D, Grid(stride=0.25), Grid(0.5, 1.0, 1.0)]))
def test_seconds_and_steps_are_each_others_inverse(moments: list[float], grid: Grid) -> None:
    np.testing.assert_allclose(to_seconds(to_steps(moments, grid), grid), moments, rtol=1e-12, atol=1e-9)


def test_a_step_stands_for_the_middle_of_its_window() -> None:
    assert to_seconds([0, 10], I3D).tolist() == pytest.approx([0.48, 3.68])
    assert to_seconds(4, Grid()) == pytest.approx(sum(Grid().seconds(4)) / 2)


def test_events_end_with_the_file_and_pass_the_filters() -> None:
    segments = rows([(-5, 2), (1, 30), (40, 50), (2, 3)], 2)
    found = Proposals(segments, rows([0.9, 0.5, 0.8, 0.2], 1)[:, 0], np.array([0, 1, 0, 1]))
    decoded = decode(found, ("dog", "drum"), Grid(), duration=10)
    assert [(e.start, e.end, e.label) for e in decoded] == [(0, 2.5, "dog"), (1.5, 10, "drum"), (2.5, 3.5, "drum")]
    assert [e.start for e in decode(found, ("dog", "drum"), Grid(), duration=10, min_score=0.3)] == [0, 1.5]
    assert [e.start for e in decode(found, ("dog", "drum"), Grid(), duration=10, min_duration=2)] == [0, 1.5]
    assert [e.start for e in decode(found, ("dog", "drum"), Grid(), duration=10, keep=("drum",))] == [1.5, 2.5]
    assert [e.start for e in decode(found, ("dog", "drum"), Grid(), duration=10, top_k=1)] == [0]


def test_an_event_longer_than_a_window_is_one_event() -> None:
    """Windows of 64 steps that begin every 32; each sees some 45 steps of an event from 10 to 150."""
    parts = [(0, (10, 55)), (32, (10, 60)), (64, (9, 56)), (96, (8, 54))]
    windows = [
        (first, Proposals(rows([part, (20, 22)], 2), rows([0.9 - first / 1000, 0.2], 1)[:, 0], np.array([1, 0])))
        for first, part in parts
    ]
    merged = merge_windows(windows)
    assert merged.segments[0].tolist() == [10, 150]
    assert merged.scores[0] == pytest.approx(0.9)
    assert merged.labels.tolist() == [1, 0, 0, 0, 0]


def test_parts_that_do_not_meet_or_are_not_alike_stay_apart() -> None:
    def two(left: tuple[float, float], right: tuple[float, float], scores: tuple[float, float]) -> int:
        parts = [(0, left, scores[0]), (32, right, scores[1])]
        windows = [(at, Proposals(rows([part], 2), rows([score], 1)[:, 0], np.array([3]))) for at, part, score in parts]
        return len(merge_windows(windows).labels)

    assert two((20, 60), (0, 50), (0.9, 0.8)) == 1
    assert two((20, 47), (0, 50), (0.9, 0.8)) == 2  # the first ends before it is handed over
    assert two((20, 60), (17, 50), (0.9, 0.8)) == 2  # the second begins after that
    assert two((20, 60), (0, 50), (0.9, 0.3)) == 2


def test_events_lie_where_there_is_sound_and_picture() -> None:
    found = Proposals(rows([(0, 100), (0, 8)], 2), rows([0.9, 0.8], 1)[:, 0], np.array([0, 0]))
    grid = Grid(stride=0.25)
    (event,) = decode(found, ("a",), grid, begin=2.75, duration=9.5)
    assert (event.start, event.end) == (2.75, 9.5)
