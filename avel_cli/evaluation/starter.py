"""What the starter models are measured with: top-1 of the taggers, and segment accuracy beside four baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from avel_cli import checkpoint, recipes
from avel_cli.datasets import augment, starter
from avel_cli.datasets.composed import ComposedClips, Label
from avel_cli.encoders.starter_picture import StarterPicture
from avel_cli.encoders.starter_sound import StarterSound
from avel_cli.errors import ModelError
from avel_cli.evaluation.segments import decode_segments, segment_accuracy
from avel_cli.pipeline import Detector
from avel_cli.training.starter import StarterRecipe, composed


class Top1(NamedTuple):
    """Percentage of files named rightly among the fine classes, and among the labels of the vocabulary."""

    fine: float
    label: float
    files: int


def memberships(classes: Sequence[str], groups: Sequence[Sequence[str]]) -> Tensor:
    """`[K, G]`, 1 where a fine class belongs to a label; what belongs to none falls to a last column, "other"."""
    table = torch.zeros(len(classes), len(groups) + 1)
    for row, name in enumerate(classes):
        column = next((g for g, group in enumerate(groups) if name in group), len(groups))
        table[row, column] = 1
    return table


def sound_probabilities(sound: StarterSound, embeddings: Tensor, labels: Mapping[str, Label]) -> Tensor:
    """Tagger probabilities `[..., G + 1]` of the labels and "other" for embeddings `[..., D]`."""
    groups = memberships(sound.config.classes, [label.sounds for label in labels.values()])
    return sound.tag(embeddings).softmax(-1) @ groups


def picture_probabilities(picture: StarterPicture, maps: Tensor, labels: Mapping[str, Label]) -> Tensor:
    """Tagger probabilities `[..., G + 1]` of the labels and "other" for maps `[..., H, W, D]`."""
    groups = memberships(picture.config.classes, [label.pictures for label in labels.values()])
    return picture.tag(maps).softmax(-1) @ groups


@torch.inference_mode()
def sound_top1(sound: StarterSound, data: Sequence[Path], split: str, labels: Mapping[str, Label]) -> Top1:
    """Top-1 of the sound tagger over files: the mean probability of five random audible seconds of each."""
    classes = sound.config.classes
    rows = [r for r in starter.read_manifests(data) if (r.modality, r.split) == ("sound", split) and r.name in classes]
    rate = sound.config.sample_rate
    probabilities = []
    for wave in starter.load_sounds(rows, rate):
        rng = torch.Generator().manual_seed(1)
        probabilities.append(sound.tag(sound(augment.segments([wave] * 5, rate, rng))).softmax(-1).mean(0))
    groups = [label.sounds for label in labels.values()]
    return _top1(torch.stack(probabilities), [row.name for row in rows], classes, groups)


@torch.inference_mode()
def picture_top1(picture: StarterPicture, data: Sequence[Path], split: str, labels: Mapping[str, Label]) -> Top1:
    """Top-1 of the picture tagger over whole pictures."""
    classes = picture.config.classes
    rows = [r for r in starter.read_manifests(data) if (r.modality, r.split) == ("image", split) and r.name in classes]
    pictures = starter.load_pictures([row.path for row in rows], picture.config.size).permute(0, 2, 3, 1)
    probabilities = torch.cat([picture.tag(picture(batch)).softmax(-1) for batch in pictures.split(128)])
    groups = [label.pictures for label in labels.values()]
    return _top1(probabilities, [row.name for row in rows], classes, groups)


def _top1(probabilities: Tensor, names: Sequence[str], classes: Sequence[str], groups: Sequence[Sequence[str]]) -> Top1:
    targets = torch.tensor([classes.index(name) for name in names])
    fine: float = (probabilities.argmax(1) == targets).double().mean().item()
    table = memberships(classes, groups)
    label: float = ((probabilities @ table).argmax(1) == table[targets].argmax(1)).double().mean().item()
    return Top1(100 * fine, 100 * label, len(names))


def decode_scores(scores: Tensor, threshold: float) -> Tensor:
    """Class indices `[N, T]` of label scores `[N, T, K]`: the best label where it exceeds the threshold, else `K`."""
    best, label = scores.max(-1)
    return label.masked_fill(best <= threshold, scores.shape[-1])


def best_threshold(scores: Tensor, targets: Tensor) -> float:
    """The threshold that gives the highest segment accuracy, from the quantiles of the best scores."""
    grid = scores.max(-1).values.flatten().quantile(torch.linspace(0.02, 0.98, 49)).tolist()
    best: float = max(grid, key=lambda value: segment_accuracy(decode_scores(scores, value), targets))
    return best


@torch.inference_mode()
def baselines(
    sound: StarterSound,
    picture: StarterPicture,
    labels: Mapping[str, Label],
    val: ComposedClips,
    test: ComposedClips,
) -> dict[str, float]:
    """Segment accuracy in percent of four ways without a localizer; each threshold is chosen on `val`.

    Late fusion multiplies the two taggers' probabilities of a label in each second.
    """
    results = {"always background": segment_accuracy(torch.full_like(test.targets, len(labels)), test.targets)}
    scores: dict[str, list[Tensor]] = {"sound only": [], "picture only": [], "late fusion": []}
    for clips in (val, test):
        heard = sound_probabilities(sound, clips.audio, labels)[..., :-1]
        seen = torch.cat(
            [picture_probabilities(picture, part.float(), labels)[..., :-1] for part in clips.visual.split(64)]
        )
        for name, value in zip(scores, (heard, seen, heard * seen), strict=True):
            scores[name].append(value)
    for name, (on_val, on_test) in scores.items():
        threshold = best_threshold(on_val, val.targets)
        results[name] = segment_accuracy(decode_scores(on_test, threshold), test.targets)
    return results


@torch.inference_mode()
def localizer_accuracy(model: nn.Module, clips: ComposedClips) -> float:
    """Segment accuracy in percent, decoded as AVE's protocol does."""
    predicted = []
    for audio, visual in zip(clips.audio.split(64), clips.visual.split(64), strict=True):
        output = model(audio, visual.float())
        predicted.append(decode_segments(output.event_logits, output.category_logits))
    return segment_accuracy(torch.cat(predicted), clips.targets)


def evaluate_model(name: str, data: Sequence[Path], cache: Path) -> dict[str, float]:
    """All figures of a starter model, in percent: its taggers' top-1, its segment accuracy, and the baselines'.

    Raises:
        ModelError: if the model is unknown or was not trained on composed clips.
    """
    detector = Detector(name, "cpu")
    header = checkpoint.read_header(detector.card.path)
    if "recipe" not in header:
        raise ModelError(f"{detector.card.name} was not trained on composed clips; there is nothing to measure it on")
    recipe = recipes.build(StarterRecipe, header["recipe"])
    val, test = (composed(recipe, data, split, cache) for split in ("val", "test"))
    on_sounds = sound_top1(detector.sound, data, "test", recipe.labels)
    on_pictures = picture_top1(detector.picture, data, "test", recipe.labels)
    figures = {
        f"sound top-1, {len(detector.sound.config.classes)} classes, {on_sounds.files} files": on_sounds.fine,
        "sound top-1, labels and other": on_sounds.label,
        f"picture top-1, {len(detector.picture.config.classes)} classes, {on_pictures.files} files": on_pictures.fine,
        "picture top-1, labels and other": on_pictures.label,
    }
    for baseline, value in baselines(detector.sound, detector.picture, recipe.labels, val, test).items():
        figures[f"segment accuracy, {baseline}"] = value
    figures[f"segment accuracy, {detector.card.name}"] = localizer_accuracy(detector.localizer, test)
    return figures
