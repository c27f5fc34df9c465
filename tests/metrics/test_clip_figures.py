"""Figures of AVE: reference points of the real lists, confusion, rates, events, both readings of weak outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from avel_cli.datasets import ave as data
from avel_cli.datasets.ave_reported import REPORTED
from avel_cli.metrics import clips
from tests.metrics.test_segments import PARITY, points

NAMES = ("dog", "drum")
B = 2  # background of the two names


def labels(*rows: str) -> Tensor:
    """`"00.1"`: two segments of class 0, one background, one of class 1."""
    return torch.tensor([[B if letter == "." else int(letter) for letter in row] for row in rows])


@pytest.fixture(scope="module")
def real_labels(shared: Path) -> Tensor:
    folder = shared / "data" / "ave"
    annotations = data.Annotations(data.read_annotations(folder / "Annotations.txt"))
    return annotations.segments[data.read_split(folder, "test", len(annotations.clips))]


@pytest.mark.shared
def test_reference_points_of_the_published_test_split(real_labels: Tensor) -> None:
    points = clips.reference_points(real_labels, 28)
    assert points == {
        "always background": 100 * 715 / 4020,
        "perfect category, never background": 100 * 3305 / 4020,
    }
    assert [round(value, 2) for value in points.values()] == [17.79, 82.21]


@pytest.mark.shared
def test_true_labels_score_a_hundred_everywhere(real_labels: Tensor) -> None:
    figures = clips.evaluate(real_labels, real_labels, [f"class {k}" for k in range(28)])
    assert (figures.segments, figures.accuracy, figures.event_f1) == (4020, 100, 100)
    assert (figures.event_rate, figures.background_rate, figures.category_accuracy) == (100, 100, 100)
    assert all((row.recall, row.precision, row.event_f1) == (100, 100, 100) for row in figures.classes)
    assert sum(row.segments for row in figures.classes) == 3305
    assert np.diag(figures.confusion).sum() == 4020


@pytest.mark.parametrize("name", points())
def test_figures_agree_with_each_other_at_the_published_points(name: str) -> None:
    truth = points()[name][2]
    reference = np.load(PARITY / "cace_net.npz")
    predicted = torch.from_numpy(reference[f"accuracy/{name}_pred"]).long()
    figures = clips.evaluate(predicted, truth, [str(k) for k in range(28)])
    table = np.array(figures.confusion)
    assert figures.accuracy == float(reference[f"accuracy/{name}"]) == 100 * np.trace(table) / 640
    np.testing.assert_array_equal(table.sum(1), truth.flatten().bincount(minlength=29))
    for k, row in enumerate(figures.classes):
        assert row.recall == (100 * table[k, k] / table[k].sum() if table[k].sum() else None)


def test_confusion_has_true_rows_and_predicted_columns() -> None:
    assert clips.confusion(labels("00.1"), labels("01.0"), 2).tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert clips.confusion(labels("0"), labels("."), 2).tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_rates_tell_finding_from_naming() -> None:
    figures = clips.evaluate(labels("00..1111"), labels("00001..."), NAMES)
    assert figures.accuracy == 100 * 3 / 8
    assert figures.event_rate == 60  # 3 of 5 event segments are taken for events
    assert figures.category_accuracy == 100  # and all 3 are of the right category
    assert figures.background_rate == 0
    assert figures.classes[0] == ("dog", 4, 50, 100, 100)
    assert figures.classes[1] == ("drum", 1, 100, 25, 0)


@pytest.mark.parametrize(
    ("predicted", "truth", "f1"),
    [
        ("0000......", "0000......", 100),
        ("00........", "0000......", 100),  # tIoU 0.5 is enough
        ("0.........", "0000......", 0),
        ("1111......", "0000......", 0),  # the right time, another category
        ("00..00....", "000000....", 0),  # in two pieces of a third each
        ("0000.00000", "0000000000", 200 / 3),  # one piece is half of it, the other is too much
        ("0000..1...", "0000..11..", 100),
        ("0000......", "0000..1111", 200 / 3),
        ("..........", "0000......", 0),
        ("..........", "..........", None),
    ],
)
def test_events_are_found_at_half_overlap(predicted: str, truth: str, f1: float | None) -> None:
    assert clips.evaluate(labels(predicted), labels(truth), NAMES).event_f1 == f1


def test_what_was_never_there_has_no_figure() -> None:
    figures = clips.evaluate(labels("...."), labels("...."), NAMES)
    assert (figures.event_rate, figures.category_accuracy, figures.background_rate) == (None, None, 100)
    assert figures.classes[1] == ("drum", 0, None, None, None)
    with pytest.raises(ValueError, match="cannot compare"):
        clips.evaluate(labels("..."), labels("...."), NAMES)


def test_figures_are_ready_for_json() -> None:
    figures = clips.evaluate(labels("00.1"), labels("01.0"), NAMES)
    read = json.loads(json.dumps(figures.to_dict()))
    assert read["classes"][0] == {"label": "dog", "segments": 2, "recall": 50, "precision": 50, "event_f1": 200 / 3}
    assert read["confusion"] == [[1, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert read["reference"] == {"always background": 25, "perfect category, never background": 25}


def test_the_official_reading_of_weak_outputs_localizes_nothing() -> None:
    gate = torch.tensor([[0.01, 0.49, 0.5, 0.51, 0.99]])
    scores = torch.tensor([[0.1, 0.7, 0.2]])
    assert clips.decode_weak(gate, scores, "official").tolist() == [[1] * 5]
    assert clips.decode_weak(gate, scores).tolist() == [[B, B, B, 1, 1]]
    assert clips.decode_weak(gate, torch.tensor([[0.1, 0.2, 0.7]])).tolist() == [[B] * 5]


def test_published_figures_have_sources_and_the_headline() -> None:
    assert all(row.source and 0 < row.accuracy < 100 for row in REPORTED)
    assert len({row.system + row.supervision for row in REPORTED}) == len(REPORTED)
    best = max(REPORTED, key=lambda row: row.accuracy)
    assert (best.accuracy, best.source) == (82.36, "CACE-Net, arXiv 2408.01952, Table 3")
    released = next(row for row in REPORTED if row.system == "CACE-Net, released checkpoint")
    assert released.accuracy == round(100 * 3248 / 4020, 3)
