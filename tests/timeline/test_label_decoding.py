import numpy as np
import pytest

from avel_cli.timeline.events import Event
from avel_cli.timeline.grid import Grid
from avel_cli.timeline.labels import LabelScores, decode, most_special

LABELS = ("dog", "speech", "animal")


def _scores(both, heard=None, seen=None):
    """Scores of segments by label: a row a label, digits in tenths."""
    parts = [np.array([[int(digit) / 10 for digit in row] for row in rows or both]).T for rows in (both, heard, seen)]
    return LabelScores(*parts)


def _found(scores, **settings):
    events = decode(scores, LABELS, Grid(), **{"duration": 5.0, "min_score": 0.4, **settings})
    return [(event.label, event.start, event.end, event.modality) for event in events]


def test_labels_overlap_and_neighbouring_segments_are_one_event():
    scores = _scores(["04400", "00884", "00000"], ["05600", "00999", "00000"], ["03400", "00777", "00000"])
    assert _found(scores) == [("dog", 1.0, 3.0, "both"), ("speech", 2.0, 5.0, "both")]
    event = decode(scores, LABELS, Grid(), duration=5.0, min_score=0.4)[1]
    assert (event.score, event.heard, event.seen) == pytest.approx((2.0 / 3, 0.9, 0.7))


def test_a_more_general_label_is_said_only_where_its_own_are_not_sure():
    scores = _scores(["06600", "00000", "09999"])
    assert _found(scores, parents={"dog": "animal"}) == [("dog", 1.0, 3.0, "both"), ("animal", 3.0, 5.0, "both")]


def test_a_circle_of_parents_ends():
    circle = {"dog": "animal", "animal": "dog"}
    assert _found(_scores(["90000", "00000", "00000"]), parents=circle) == [("dog", 0.0, 1.0, "both")]


def test_what_is_only_heard_or_only_seen_is_listed_on_request():
    scores = _scores(["00000", "99000", "00000"], ["00990", "99000", "00000"], ["00000", "99099", "00000"])
    assert _found(scores) == [("speech", 0.0, 2.0, "both")]
    assert _found(scores, modalities=("both", "heard")) == [("speech", 0.0, 2.0, "both"), ("dog", 2.0, 4.0, "heard")]
    assert ("speech", 3.0, 5.0, "seen") in _found(scores, modalities=("both", "heard", "seen"))


def test_events_end_with_the_file_and_pass_the_filters():
    scores = _scores(["00009", "99999", "00000"])
    assert _found(scores, duration=4.5)[-1] == ("dog", 4.0, 4.5, "both")
    assert _found(scores, min_duration=2.0) == [("speech", 0.0, 5.0, "both")]
    assert _found(scores, keep=("dog",)) == [("dog", 4.0, 5.0, "both")]
    assert _found(scores, min_score=0.95) == []


def test_an_event_that_lies_in_a_less_general_one_is_left_out():
    dog, short, long = Event(1, 5, "dog", 0.5), Event(2, 6, "animal", 0.9), Event(2, 20, "animal", 0.9)
    parents = {"dog": "animal"}
    assert most_special([dog, short, long], LABELS, parents) == [dog, long]
    assert most_special([dog, short], LABELS, {}) == [dog, short]
    assert most_special([dog, Event(1, 5, "speech", 0.9)], LABELS, parents) == [dog, Event(1, 5, "speech", 0.9)]
