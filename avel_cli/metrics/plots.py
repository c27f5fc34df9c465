"""Pictures of results as PNG: confusion, figures by class, curves of a training run.

Colours are of palettes that colour-blind readers tell apart; numbers are written where colour alone would not do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from avel_cli.metrics.clips import AVEFigures
from avel_cli.metrics.detection import DetectionResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]  # (step, value)

DPI = 150
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
BACKGROUND = "background"


def confusion_matrix(figures: AVEFigures, path: Path) -> None:
    """Draw the confusion of all classes and background, each row as percentages of its true segments.

    Rows of nothing stay empty; shares under half a percent are not written.
    """
    import numpy as np

    names = [*figures.labels, BACKGROUND]
    counts = np.array(figures.confusion, dtype=float)
    share = 100 * counts / counts.sum(1, keepdims=True).clip(1)
    side = 2.5 + 0.34 * len(names)
    figure, axes = _figure(side + 1, side)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.argwhere(share >= 0.5):
        value = share[row, column]
        colour = "white" if value > 55 else "black"
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
    between = [place + 0.5 for place in range(len(names) - 1)]
    axes.set_xticks(between, minor=True)
    axes.set_yticks(between, minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("said")
    axes.set_ylabel("true")
    axes.set_title(f"Segments of each class, in percent (accuracy {figures.accuracy:.2f} %)", fontsize=11)
    figure.colorbar(image, ax=axes, shrink=0.6, label="percent of the true segments")
    _save(figure, path)


def class_bars(figures: AVEFigures, path: Path) -> None:
    """Draw recall of segments and F1 of events by class, best recall on top, with the number of segments."""
    rows = sorted(figures.classes, key=lambda row: row.recall or 0)
    figure, axes = _figure(8, 1.6 + 0.3 * len(rows))
    for offset, colour, name in ((0.2, COLOURS[0], "recall"), (-0.2, COLOURS[4], "event_f1")):
        values = [getattr(row, name) or 0 for row in rows]
        label = "segments found, %" if name == "recall" else "F1 of events at tIoU 0.5, %"
        axes.barh([place + offset for place in range(len(rows))], values, height=0.38, color=colour, label=label)
    axes.set_yticks(range(len(rows)), [f"{row.label} ({row.segments})" for row in rows], fontsize=8)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(0, 100)
    axes.set_xlabel("percent")
    axes.axvline(figures.accuracy, color="black", linewidth=1, linestyle="--", label="accuracy of all segments")
    _finish(axes, "x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=8)
    _save(figure, path)


def training_curves(
    losses: Mapping[str, Points], scores: Mapping[str, Points], path: Path, unit: str = "accuracy, %"
) -> None:
    """Draw losses above and scores, whose `unit` is said, below, by step; whichever is empty is left out.

    Raises:
        ValueError: if both are empty.
    """
    panels = [(curves, label) for curves, label in ((losses, "loss"), (scores, unit)) if curves]
    if not panels:
        raise ValueError("there are no curves to draw")
    figure, *all_axes = _figure(7, 3.2 * len(panels), len(panels))
    for axes, (curves, label) in zip(all_axes, panels, strict=True):
        for number, (name, points) in enumerate(curves.items()):
            steps, values = zip(*points, strict=True)
            colour, dash = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
            marker = "o" if len(points) < 30 else ""
            axes.plot(steps, values, color=colour, linestyle=dash, marker=marker, markersize=3, label=name)
        axes.set_ylabel(label)
        _finish(axes, "both")
        axes.legend(frameon=False, fontsize=8)
    all_axes[-1].set_xlabel("step")
    _save(figure, path)


def map_by_tiou(lines: Mapping[str, Points], path: Path) -> None:
    """Draw mean average precision in percent by the tIoU asked for, one line for each system, the first one solid.

    Args:
        lines: points `(tIoU, percent)` by system.
        path: of the picture.
    """
    figure, axes = _figure(7, 4.5)
    for number, (name, points) in enumerate(lines.items()):
        tious, values = zip(*points, strict=True)
        style = {"linestyle": "--", "linewidth": 1.2} if number else {"linestyle": "-", "linewidth": 2.4}
        colour, marker = COLOURS[number % len(COLOURS)], "os^Dvx+"[number % 7]
        axes.plot(tious, values, color=colour, marker=marker, markersize=4, label=name, **style)
    axes.set_xticks([tenth / 10 for tenth in range(1, 10)])
    axes.set_ylim(0, 100)
    axes.set_xlabel("tIoU that counts as found")
    axes.set_ylabel("mean average precision, %")
    _finish(axes, "both")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def precision_recall(result: DetectionResult, names: Sequence[str], path: Path, tiou: float = 0.5) -> None:
    """Draw precision by recall of some classes at one tIoU; their average precision and events stand in the legend."""
    figure, axes = _figure(7, 5)
    for number, name in enumerate(names):
        recall, precision = result.curve(name, tiou)
        place = result.names.index(name)
        label = f"{name}: {100 * precision.mean():.1f} % ({result.events[place]} events)"
        colour, dash = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
        axes.step([0, *recall], [precision[0], *precision], color=colour, linestyle=dash, label=label)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.set_title(f"Events found at tIoU {tiou:g}", fontsize=11)
    _finish(axes, "both")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.06), ncols=2, frameon=False, fontsize=8)
    _save(figure, path)


def _figure(width: float, height: float, rows: int = 1) -> Any:
    """A figure of so many inches and its axes, one below the other; drawn without a display or global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, *figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]


def _finish(axes: Axes, grid: Literal["both", "x"]) -> None:
    """A quiet grid behind the data, and no frame where there is no axis."""
    axes.grid(axis=grid, color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)
