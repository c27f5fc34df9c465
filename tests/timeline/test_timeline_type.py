"""Events and timelines refuse nonsense, and turn into files and tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from avel_cli.errors import InputError, UsageError
from avel_cli.timeline.events import Event, Timeline

EVENTS = (Event(0, 2, "dog", 0.75), Event(1.5, 4, "speech", 0.5))


@pytest.mark.parametrize(
    ("start", "end", "score"),
    [(1, 1, 0.5), (2, 1, 0.5), (-1, 1, 0.5), (0, 1, 1.5), (0, 1, float("nan")), (0, float("inf"), 0.5)],
)
def test_an_event_with_an_impossible_interval_or_score_is_refused(start: float, end: float, score: float) -> None:
    with pytest.raises(ValueError, match="no event"):
        Event(start, end, "dog", score)


def test_a_timeline_refuses_events_out_of_order() -> None:
    with pytest.raises(ValueError, match="order"):
        Timeline("a.mp4", 9, EVENTS[::-1])


def test_a_timeline_refuses_events_after_the_end_of_the_file() -> None:
    with pytest.raises(ValueError, match="after the file"):
        Timeline("a.mp4", 3, EVENTS)


def test_a_frame_has_a_row_per_event() -> None:
    frame = Timeline("a.mp4", 9, EVENTS).to_frame()
    assert frame.to_dict("list") == {
        "file": ["a.mp4", "a.mp4"],
        "start": [0, 1.5],
        "end": [2, 4],
        "label": ["dog", "speech"],
        "score": [0.75, 0.5],
        "heard": [None, None],
        "seen": [None, None],
        "modality": ["both", "both"],
    }


def test_an_empty_timeline_makes_an_empty_frame_with_the_same_columns() -> None:
    assert list(Timeline("a.mp4", 9).to_frame().columns) == [
        *("file", "start", "end", "label", "score", "heard", "seen", "modality")
    ]


def test_write_takes_the_format_from_the_extension(tmp_path: Path) -> None:
    Timeline("a.mp4", 9, EVENTS).write(tmp_path / "a.srt")
    assert (tmp_path / "a.srt").read_text().startswith("1\n00:00:00,000 --> 00:00:01,500\ndog\n")


def test_write_refuses_an_unknown_extension(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.csv"):
        Timeline("a.mp4", 9).write(tmp_path / "a.doc")
    assert not list(tmp_path.iterdir())


def test_write_into_a_missing_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        Timeline("a.mp4", 9).write(tmp_path / "missing" / "a.csv")
