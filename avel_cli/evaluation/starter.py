"""What tagged localizers are measured with: F1 over segments and labels of composed clips, beside four baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from avel_cli import recipes
from avel_cli.datasets import composed_dense
from avel_cli.datasets.composed_clips import ComposedClips
from avel_cli.errors import ModelError
from avel_cli.evaluation.dense import evaluate_localizer
from avel_cli.hub import weights_file
from avel_cli.localizers.tagged.loco import TaggedLoCo
from avel_cli.localizers.tagged.network import Tagged
from avel_cli.metrics.detection import TIOUS
from avel_cli.pipeline import Detector
from avel_cli.training.dense import DenseRecipe
from avel_cli.training.starter import StarterRecipe, composed

BATCH = 32
THRESHOLDS = torch.linspace(0.02, 0.98, 49)


def f1(scores: Tensor, targets: Tensor, threshold: float) -> float:
    """F1 in percent of all segments and labels together, of scores and targets of one shape."""
    told, true = scores >= threshold, targets.bool()
    right = int((told & true).sum())
    return 200.0 * right / max(1, int(told.sum()) + int(true.sum()))


def best_f1(scores: Tensor, targets: Tensor, chosen_on: tuple[Tensor, Tensor] | None = None) -> float:
    """F1 at the threshold that is best on `chosen_on`, scores and targets of another split; of the same, if None."""
    others = chosen_on or (scores, targets)
    threshold = max(THRESHOLDS.tolist(), key=lambda value: f1(*others, value))
    return f1(scores, targets, threshold)


@torch.inference_mode()
def scores(model: Tagged, clips: ComposedClips) -> dict[str, Tensor]:
    """Scores `[N, 10, L]` of the localizer and of its tags by sound, picture and both, for labels in the clips."""
    known = clips.targets.flatten(0, 1).bool().any(0)
    parts: dict[str, list[Tensor]] = {"localizer": [], "sound only": [], "picture only": [], "tags of both": []}
    for start in range(0, len(clips), BATCH):
        audio, visual = (part[start : start + BATCH].float() for part in (clips.audio, clips.visual))
        output = model(audio, visual)
        evidence = output.evidence
        given = (output.label_logits.sigmoid(), evidence.heard, evidence.seen, evidence.logits.sigmoid())
        for kept, value in zip(parts.values(), given, strict=True):
            kept.append(value[..., known])
    return {name: torch.cat(values) for name, values in parts.items()}


def known_targets(clips: ComposedClips) -> Tensor:
    """Targets `[N, 10, L]` of the labels that are in the clips."""
    return clips.targets[..., clips.targets.flatten(0, 1).bool().any(0)]


def segment_f1(model: Tagged, clips: ComposedClips) -> float:
    """F1 of the localizer in percent, at the best threshold."""
    return best_f1(scores(model.eval(), clips)["localizer"], known_targets(clips))


def evaluate_model(name: str, data: Sequence[Path], cache: Path) -> dict[str, float]:
    """Figures in percent of a starter model, on what is composed of the split test of the packs.

    Of clips: segment F1 of the localizer and of the baselines, at the thresholds that are best on the split val. Of
    sequences: mean average precision.

    Raises:
        ModelError: if the model is unknown or was not trained on composed clips.
    """
    detector = Detector(name, "cpu")
    header = weights_file.read_header(detector.card.path)
    if isinstance(detector.localizer, TaggedLoCo) and "recipe" in header:
        return _of_sequences(detector, recipes.build(DenseRecipe, header["recipe"]), data, cache)
    if not isinstance(detector.localizer, Tagged) or "recipe" not in header:
        raise ModelError(f"{detector.card.name} was not trained on composed clips; there is nothing to measure it on")
    recipe = recipes.build(StarterRecipe, header["recipe"])
    val, test = (composed(recipe, data, split, cache) for split in ("val", "test"))
    chosen, found = (scores(detector.localizer, clips) for clips in (val, test))
    truths = known_targets(val), known_targets(test)
    if chosen["localizer"].shape[-1] != found["localizer"].shape[-1]:
        raise ModelError("the splits val and test of these packs hold different labels; set more clips")
    figures = {
        "segment F1, every label": 200.0 * float(truths[1].float().mean()) / (1 + float(truths[1].float().mean()))
    }
    for way, values in found.items():
        figures[f"segment F1, {way}"] = best_f1(values, truths[1], (chosen[way], truths[0]))
    return figures


def _of_sequences(detector: Detector, recipe: DenseRecipe, data: Sequence[Path], cache: Path) -> dict[str, float]:
    """Mean average precision by tIoU on composed sequences."""
    assert recipe.composition is not None
    sequences = composed_dense.composed(recipe.composition, data, "test", cache)
    result = evaluate_localizer(
        detector.localizer, sequences, recipe.steps, detector.grid, names=list(recipe.composition.labels)
    )
    figures = {f"mAP at tIoU {tiou:.1f}": float(value) for tiou, value in zip(TIOUS, result.mean, strict=True)}
    return {**figures, "mAP, average of tIoU 0.1 to 0.9": float(result.average)}
