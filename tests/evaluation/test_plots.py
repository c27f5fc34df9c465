"""Pictures of results: that they are written, and that what they show follows the figures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image, read_file

from avel_cli.evaluation import ave, plots

NAMES = [f"Sound {k}, of a kind" for k in range(28)]


def draw(name: str, figures: ave.AVEFigures, path: Path) -> Tensor:
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
    right = draw("confusion_matrix", ave.evaluate(truth, truth, NAMES), tmp_path / "new" / "right.png")
    spread = draw(
        "confusion_matrix", ave.evaluate(torch.arange(560).view(56, 10) % 29, truth, NAMES), tmp_path / "s.png"
    )
    assert right.shape[1] > 1500 and right.shape[2] > 1500  # room for 29 names and numbers
    assert dark_blue(right) > 2 * dark_blue(spread)


def test_bars_grow_with_the_figures(truth: Tensor, tmp_path: Path) -> None:
    full = draw("class_bars", ave.evaluate(truth, truth, NAMES), tmp_path / "full.png")
    empty = draw("class_bars", ave.evaluate(torch.full_like(truth, 28), truth, NAMES), tmp_path / "empty.png")
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
