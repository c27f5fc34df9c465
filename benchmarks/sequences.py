"""Dense localizers beside each other and beside CACE-Net in sliding windows, on composed test sequences.

    python benchmarks/sequences.py train --data starter --data starter_extra -o runs --variant cdp --seed 1
    python benchmarks/sequences.py cace  --data starter --data starter_extra -o runs
    python benchmarks/sequences.py measure --data starter --data starter_extra -o runs
    python benchmarks/sequences.py table -o runs

`train` trains one variant of `loco.starter`, chooses on the part `val` and measures on the part `test`. `cace` applies
`cace-net.starter` to the same sequences, one answer a second, and merges the seconds into events; the threshold that
does best on `val` is taken. Each writes a JSON file into the folder; `measure` writes those of trained weights again,
`table` puts them together.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from avel_cli import checkpoint, localizers, recipes
from avel_cli.datasets.composed_dense import ENCODERS, Composition, composed, make, part_pool, sequence_names
from avel_cli.encoders.grid import Grid
from avel_cli.evaluation.dense import annotated, evaluate_localizer
from avel_cli.evaluation.detection import DetectionResult, Rows, evaluate
from avel_cli.localizers.dense_windows import Rows as Features
from avel_cli.pipeline import Detector, segment_scores
from avel_cli.timeline.segments import SegmentScores, decode
from avel_cli.training import dense
from avel_cli.training.dense import DenseRecipe

VARIANTS = {
    "cdp": ["model.perception=cdp", "model.lcc=learned"],
    "cdp, no LCC": ["model.perception=cdp", "model.lcc=off"],
    "fixed": ["model.perception=fixed", "model.lcc=learned"],
    "global": ["model.perception=global", "model.lcc=learned"],
}
GRID = Grid(stride=0.25, window=1.0)
THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


def train(args: argparse.Namespace) -> None:
    """Train a variant with a seed and measure it."""
    name = f"{args.variant}-{args.seed}".replace(", ", "-").replace(" ", "-")
    recipe = recipes.load(DenseRecipe, args.recipe, [*VARIANTS[args.variant], f"seed={args.seed}", *args.changes])
    assert recipe.composition is not None
    parts = {part: composed(recipe.composition, args.data, part, args.cache) for part in ("train", "val", "test")}
    labels = list(recipe.composition.labels)

    def score(network: torch.nn.Module) -> float:
        return evaluate_localizer(network, parts["val"], recipe.steps, GRID).average

    began = time.process_time()
    network = dense.train(recipe, parts["train"], len(labels), args.output / name, score=score)
    facts = {"seconds": round(time.process_time() - began)}
    results = {
        part: evaluate_localizer(network, parts[part], recipe.steps, GRID, names=labels) for part in ("val", "test")
    }
    figures = {"composed test, mAP": round(results["test"].average, 2)}
    path = args.output / f"{name}.safetensors"
    dense.save(network, recipe, path, figures, labels=labels, grid=GRID, encoders=ENCODERS)
    _write(path.with_suffix(".json"), args.variant, args.seed, results, facts)


def measure(args: argparse.Namespace) -> None:
    """Measure all weights in the folder."""
    for path in sorted(args.output.glob("*.safetensors")):
        header, before = checkpoint.read_header(path), json.loads(path.with_suffix(".json").read_text())
        recipe = recipes.build(DenseRecipe, header["recipe"])
        kind = localizers.localizer_class(recipe.network)
        network = kind(checkpoint.config(getattr(kind, "Config"), path))  # noqa: B009
        checkpoint.load_into(network, path)
        assert recipe.composition is not None
        results = {
            part: evaluate_localizer(
                network.eval(),
                composed(recipe.composition, args.data, part, args.cache),
                recipe.steps,
                GRID,
                names=header["labels"],
            )
            for part in ("val", "test")
        }
        _write(path.with_suffix(".json"), before["variant"], before["seed"], results, {"seconds": before["seconds"]})


def cace(args: argparse.Namespace) -> None:
    """Measure `cace-net.starter`."""
    recipe = recipes.load(DenseRecipe, args.recipe, args.changes)
    assert recipe.composition is not None
    detector = Detector("cace-net.starter", "cpu")
    assert detector.labels == tuple(recipe.composition.labels)
    scored = {part: _segments(detector, recipe.composition, args.data, part) for part in ("val", "test")}
    sequences = {part: composed(recipe.composition, args.data, part, args.cache) for part in ("val", "test")}
    on_val = {t: _merged(detector, scored["val"], sequences["val"], t) for t in THRESHOLDS}
    best = max(on_val, key=lambda t: on_val[t].average)
    results = {"val": on_val[best], "test": _merged(detector, scored["test"], sequences["test"], best)}
    facts = {"threshold": best, "val_by_threshold": {t: round(result.average, 2) for t, result in on_val.items()}}
    _write(args.output / "cace-net.json", "cace-net.starter, merged", 1, results, facts)


def _segments(detector: Detector, composition: Composition, data: list[Path], part: str) -> list[SegmentScores]:
    """What the localizer says of each second of each sequence."""
    rate, size = detector.sound.config.sample_rate, detector.picture.config.size
    pool = part_pool(composition, data, part, rate, size)
    found = []
    for name in sequence_names(composition, part):
        made = make(pool, size, composition.mixture, name)
        waves = F.pad(made.wave, (0, -len(made.wave) % rate)).view(-1, rate)
        shown = torch.cat([made.shown, made.shown[-1:].expand(-len(made.shown) % 4)]).view(-1, 4)
        with torch.inference_mode():
            with torch.autocast("cpu", torch.bfloat16):
                audio = torch.cat([detector.sound(some).float() for some in waves.split(64)])
                maps = torch.cat([detector.picture.maps(some * 2 - 1).float() for some in made.frames.split(64)])
            visual = torch.stack([maps[second].mean(0) for second in shown])
            found.append(segment_scores(detector.localizer, [Features.of(audio, visual)], len(detector.labels)))
    return found


def _merged(detector: Detector, scored: list[SegmentScores], sequences: object, threshold: float) -> DetectionResult:
    """Seconds whose event probability exceeds the threshold, merged where neighbours have one label."""
    videos: list[str] = []
    rows = []
    for scores, sample in zip(scored, sequences, strict=True):  # type: ignore[call-overload]
        count = detector.grid.count(sample.duration)
        events = decode(
            scores, detector.labels, detector.grid, count=count, duration=sample.duration, threshold=threshold
        )
        videos += [sample.name] * len(events)
        rows += [(event.start, event.end, detector.labels.index(event.label), event.score) for event in events]
    table = np.array(rows).reshape(-1, 4)
    predictions = Rows(videos, table[:, :2], table[:, 2].astype(np.int64))
    return evaluate(annotated(sequences, GRID), predictions, table[:, 3], names=detector.labels)  # type: ignore[arg-type]


def _write(path: Path, variant: str, seed: int, results: dict[str, DetectionResult], facts: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    measured = {part: result.to_dict() for part, result in results.items()}
    path.write_text(json.dumps({"variant": variant, "seed": seed, **facts, **measured}, indent=1))
    print(path.stem, {part: round(result.average, 2) for part, result in results.items()}, facts, flush=True)


def table(args: argparse.Namespace) -> None:
    """Mean and spread over the seeds of each variant, in Markdown."""
    found = [json.loads(path.read_text()) for path in sorted(args.output.glob("*.json"))]
    print("| | .5 | .6 | .7 | .8 | .9 | average | seeds |\n| --- | --- | --- | --- | --- | --- | --- | --- |")
    for variant in dict.fromkeys(one["variant"] for one in found):
        runs = [one for one in found if one["variant"] == variant]
        columns = [[run["test"]["map"][k] for run in runs] for k in range(4, 9)]
        averages = [run["test"]["average_map"] for run in runs]
        cells = [_spread(values) for values in [*columns, averages]]
        print(f"| {variant} | {' | '.join(cells)} | {', '.join(f'{value:.1f}' for value in averages)} |")


def _spread(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "cace", "measure", "table"])
    parser.add_argument("--data", type=Path, action="append", default=[], help="folder of a starter pack")
    parser.add_argument("--recipe", default="loco.starter")
    parser.add_argument("--variant", choices=list(VARIANTS), default="cdp")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--cache", type=Path, default=Path("runs"), help="folder of the composed sequences")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    {"train": train, "cace": cace, "measure": measure, "table": table}[args.what](args)


if __name__ == "__main__":
    main()
