"""Words of one's own, answered by what ships with avel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avel_cli import Detector, UsageError
from avel_cli.cli.main import run
from avel_cli.timeline import labels as timeline
from avel_cli.timeline.grid import Grid
from avel_cli.timeline.labels import LabelScores

EXAMPLE = Path(__file__).parents[1] / "examples" / "speakers_and_helicopter.mp4"


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(device="cpu", words=("a helicopter", "glass breaking", "goldfish"))


def test_a_phrase_is_found_where_it_is_seen_and_heard(detector: Detector) -> None:
    found = detector.detect(EXAMPLE)
    assert [(event.start, event.end, event.label, event.modality) for event in found] == [
        (10, 15, "a helicopter", "both")
    ]
    assert found.labels == ("a helicopter", "glass breaking", "goldfish")
    assert (found.parameters["min_score"], found.parameters["min_alone"]) == (0.225, 0.5)
    assert found.model["words"]["glass breaking"] == {"heard as": ["Glass", "Shatter"], "seen as": []}


def test_what_can_only_be_heard_or_only_be_seen_is_judged_by_that(detector: Detector) -> None:
    found = detector.detect(EXAMPLE, min_score=1e-6, labels=("glass breaking", "goldfish"))
    assert {(event.label, event.modality) for event in found} == {("glass breaking", "heard"), ("goldfish", "seen")}
    for event in found:
        assert event.score == (event.heard if event.modality == "heard" else event.seen)


def test_a_phrase_that_is_seen_alone_is_shown_where_that_is_asked_for(detector: Detector) -> None:
    found = detector.detect(EXAMPLE, show="seen")
    assert ("a helicopter", "seen") in {(event.label, event.modality) for event in found}


def test_half_known_labels_need_their_own_score() -> None:
    rows = np.array([[0.9, 0.4], [0.9, 0.6], [0.9, 0.6]])
    scores = LabelScores(both=rows * 0, heard=rows, seen=rows * 0.5)
    found = timeline.decode(
        scores, ("a", "b"), Grid(), duration=3, min_score=0.1, known_by=("seen", "heard"), min_alone=0.45
    )
    assert [(event.start, event.end, event.label, event.modality) for event in found] == [
        (0, 3, "a", "seen"),
        (1, 3, "b", "heard"),
    ]


def test_models_with_labels_do_not_take_words() -> None:
    with pytest.raises(UsageError, match=r"loco\.starter has labels of its own; words are answered by words\.starter"):
        Detector("loco.starter", words=("dog",))


def test_the_command_line_takes_words_and_lists_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "words.txt").write_text("glass breaking\n\na helicopter\n")
    assert (
        run(["detect", str(EXAMPLE), "--words", f"@{tmp_path}/words.txt", "--words", "rain", "-f", "json", "-o", "-"])
        == 0
    )
    out, err = capsys.readouterr()
    assert '"glass breaking": heard as Glass, Shatter' in err
    assert [event["label"] for event in json.loads(out)["events"]] == ["a helicopter"]
    assert run(["detect", str(EXAMPLE), "--words", "helikopter", "-o", str(tmp_path)]) == 2
    assert 'no known name is like "helikopter"; the nearest are "helicopter"' in capsys.readouterr().err
