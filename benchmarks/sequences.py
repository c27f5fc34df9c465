"""Mean average precision of `loco.starter` beside `cace-net.starter`, merged second by second, on composed sequences.

    python benchmarks/sequences.py --data starter --data starter_extra -o runs

The sequences are those of the recipe's part `test`; the threshold of the merged seconds is the one that does best on
them, which favours them. Variants of LoCo: `avel train --dataset starter --model loco --set model.perception=fixed`.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from avel_cli import recipes
from avel_cli.datasets.composed_dense import ComposedSequences, Composition, composed, make, part_pool, sequence_names
from avel_cli.datasets.packs import Options
from avel_cli.localizers.dense.windows import Rows as Features
from avel_cli.metrics.detection import TIOUS, DetectionResult, Rows, evaluate
from avel_cli.pipeline import Detector
from avel_cli.tasks.base import Data
from avel_cli.tasks.dense import Dense, annotated
from avel_cli.tasks.labels import label_scores
from avel_cli.timeline.grid import Grid
from avel_cli.timeline.labels import LabelScores, decode

GRID = Grid(stride=0.25, window=1.0)
THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


@torch.inference_mode()
def seconds(detector: Detector, composition: Composition, data: list[Path]) -> list[LabelScores]:
    """What the localizer says of each second of each sequence."""
    sound, picture = detector.sound, detector.picture
    pool = part_pool(composition, data, "test", sound.rate, picture.config.size)
    found = []
    for name in sequence_names(composition, "test"):
        made = make(pool, picture.config.size, composition.mixture, name, composition.durations)
        wave = F.pad(made.wave, (sound.context, sound.context + sound.rate - 1))
        audio = torch.cat([sound(some) for some in wave.unfold(0, sound.window, sound.stride).split(32)])
        frames = (made.frames[made.shown[::4]] * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        rows = Features.of(audio[: len(frames)], picture.maps(frames)[: len(audio)])
        found.append(label_scores(detector.localizer, [rows], len(detector.labels)))
    return found


def merged(
    detector: Detector, scored: list[LabelScores], sequences: ComposedSequences, threshold: float
) -> DetectionResult:
    """Seconds that score the threshold, merged where neighbours have one label."""
    videos: list[str] = []
    rows = []
    for scores, sample in zip(scored, sequences, strict=True):
        for event in decode(scores, detector.labels, Grid(), duration=sample.duration, min_score=threshold):
            videos.append(sample.name)
            rows.append((event.start, event.end, detector.labels.index(event.label), event.score))
    table = np.array(rows).reshape(-1, 4)
    predictions = Rows(videos, table[:, :2], table[:, 2].astype(np.int64))
    return evaluate(annotated(sequences, GRID), predictions, table[:, 3], names=detector.labels)


def main() -> None:
    """Measure both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs"), help="where composed sequences are kept")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    options = recipes.build(Options, recipes.read("loco.starter")[1]["data"])
    composition = options.composition
    sequences = composed(composition, arguments.data, "test", arguments.output)
    loco, cace = (Detector(name, "cpu") for name in ("loco.starter", "cace-net.starter"))
    data = Data({"test": sequences}, tuple(composition.labels), {}, (), GRID)
    results = {"loco.starter": Dense().figures(loco.localizer, data, "test")}
    scored = seconds(cace, composition, arguments.data)
    by_threshold = {t: merged(cace, scored, sequences, t) for t in THRESHOLDS}
    best = max(by_threshold, key=lambda t: by_threshold[t].average)
    results[f"cace-net.starter, merged at {best:g}"] = by_threshold[best]
    print(f"| {len(sequences)} sequences |", " | ".join(f"{t:.1f}" for t in TIOUS), "| average |")
    for name, result in results.items():
        print(f"| {name} |", " | ".join(f"{value:.1f}" for value in result.mean), f"| {result.average:.1f} |")


if __name__ == "__main__":
    main()
