"""Pictures of results: that they are written, and that what they show follows the figures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image, read_file

from avel_cli.metrics import clips, detection, plots
from avel_cli.metrics.detection import Rows

NAMES = [f"Sound {k}, of a kind" for k in range(28)]


def draw(name: str, figures: clips.AVEFigures, path: Path) -> Tensor:
    """The picture as `[3, H, W]`."""
    getattr(plots, name)(figures, path)
    return decode_image(read_file(str(path)), ImageReadMode.RGB)


def dark_blue(picture: Tensor) -> int:
    """Pixels of the colour that high shares have."""
    red, green, blue = picture.int()
    return int(((red < 60) & (green < 100) & (blue > 80)).sum())


@pytest.fixture
def truth() -> Tensor:
    return torch.arange(28).repeat_interleave(2).unsqueeze(1).repeat(1, 10)


def test_confusion_is_darkest_where_all_are_right(truth: Tensor, tmp_path: Path) -> None:
    right = draw("confusion_matrix", clips.evaluate(truth, truth, NAMES), tmp_path / "new" / "right.png")
    spread = draw(
        "confusion_matrix", clips.evaluate(torch.arange(560).view(56, 10) % 29, truth, NAMES), tmp_path / "s.png"
    )
    assert right.shape[1] > 1500 and right.shape[2] > 1500  # room for 29 names and numbers
    assert dark_blue(right) > 2 * dark_blue(spread)


def test_bars_grow_with_the_figures(truth: Tensor, tmp_path: Path) -> None:
    full = draw("class_bars", clips.evaluate(truth, truth, NAMES), tmp_path / "full.png")
    empty = draw("class_bars", clips.evaluate(torch.full_like(truth, 28), truth, NAMES), tmp_path / "empty.png")
    blue = torch.tensor([0x00, 0x72, 0xB2], dtype=torch.uint8).view(3, 1, 1)
    assert ((full == blue).all(0).sum() > 20 * (empty == blue).all(0).sum()).item()


def test_curves_have_a_panel_for_what_there_is(tmp_path: Path) -> None:
    losses = {f"term {k}": [(0, 3.0 + k), (100, 1.0)] for k in range(9)}
    plots.training_curves(losses, {}, tmp_path / "one.png")
    plots.training_curves(losses, {"val": [(50, 40.0), (100, 60.0)]}, tmp_path / "two.png")
    one, two = (decode_image(read_file(str(tmp_path / f"{name}.png"))) for name in ("one", "two"))
    assert two.shape[1] == 2 * one.shape[1]
    with pytest.raises(ValueError, match="no curves"):
        plots.training_curves({}, {}, tmp_path / "none.png")


def coloured(picture: Tensor, colour: tuple[int, int, int]) -> int:
    """Pixels of just this colour."""
    return int((picture == torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1)).all(0).sum())


BLUE, VERMILION, GREEN = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)


def test_each_system_has_a_line_by_tiou_and_the_first_is_the_strongest(tmp_path: Path) -> None:
    tious = [tenth / 10 for tenth in range(1, 10)]
    lines = {"ours": [(t, 90 - 50 * t) for t in tious], "theirs": [(t, 60 - 50 * t) for t in tious[4:]]}
    plots.map_by_tiou(lines, tmp_path / "new" / "map.png")
    picture = decode_image(read_file(str(tmp_path / "new" / "map.png")), ImageReadMode.RGB)
    assert coloured(picture, BLUE) > 2 * coloured(picture, VERMILION) > 0
    assert coloured(picture, GREEN) == 0


def test_precision_is_drawn_for_the_chosen_classes_alone(tmp_path: Path) -> None:
    truth = Rows(["v"] * 6, [(4 * k, 4 * k + 3) for k in range(6)], [0, 0, 1, 1, 2, 2])
    result = detection.evaluate(truth, truth, [1.0] * 6, names=["dog", "rain", "drum"])
    plots.precision_recall(result, ["rain", "drum"], tmp_path / "pr.png")
    picture = decode_image(read_file(str(tmp_path / "pr.png")), ImageReadMode.RGB)
    assert coloured(picture, BLUE) and coloured(picture, VERMILION)
    assert coloured(picture, GREEN) == 0
    with pytest.raises(ValueError, match="not in tuple"):
        plots.precision_recall(result, ["bell"], tmp_path / "pr.png")
