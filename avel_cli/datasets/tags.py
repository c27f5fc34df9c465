"""The tags of a vocabulary: classes of the encoders' heads, and a head of our own for what ImageNet has no class of."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from avel_cli.datasets import augment, starter
from avel_cli.datasets.composed import Label, split_rows
from avel_cli.encoders.classes import audioset, imagenet, outputs
from avel_cli.encoders.efficientat import EfficientAT
from avel_cli.encoders.efficientnet_lite0 import EfficientNetLite0
from avel_cli.encoders.starter_sound import StarterSound
from avel_cli.hub import registry, weights_file
from avel_cli.localizers.tagged.tags import Tags, TagsConfig

log = logging.getLogger("avel")

STEPS, BATCH, RATE, DECAY = 600, 512, 3e-3, 1e-2
VIEWS = 2  # of each picture: the whole of it, and a crop


def build(
    labels: Mapping[str, Label],
    data: Sequence[Path],
    licences: Sequence[str],
    sound: StarterSound | EfficientAT,
    picture: EfficientNetLite0,
    cache: Path,
    *,
    pooled: int = 1,
    reach: int = 1,
) -> Tags:
    """The tags of a vocabulary, with their weights.

    Args:
        labels: the vocabulary.
        data: the starter packs, whose split `train` the picture head learns from.
        licences: patterns of the licences whose rows may be used; empty takes all.
        sound: the sound encoder, with its AudioSet head.
        picture: the picture encoder, with its ImageNet head.
        cache: folder where the features of the pictures are kept.
        pooled: how many vectors of the encoder's width a visual feature is made of, the mean over positions first.
        reach: steps to either side over which what is seen is averaged.
    """
    own = sorted({name for label in labels.values() for name in label.pictures})
    config = TagsConfig(
        audio_dim=sound.shape[-1],
        visual_dim=pooled * picture.shape[-1],
        sounds=tuple(outputs(label.sounds, audioset()) for label in labels.values()),
        scenes=tuple(outputs(label.scenes, imagenet()) for label in labels.values()),
        pictures=tuple(tuple(own.index(name) for name in label.pictures) for label in labels.values()),
        reach=reach,
    )
    tags = Tags(config)
    tags.adopt(sound, picture)
    if own:
        weight, bias = picture_head(own, data, licences, picture, cache)
        with torch.no_grad():
            tags.picture.weight.copy_(weight)
            tags.picture.bias.copy_(bias)
    return tags


def picture_head(
    classes: Sequence[str], data: Sequence[Path], licences: Sequence[str], picture: EfficientNetLite0, cache: Path
) -> tuple[Tensor, Tensor]:
    """Weights `[P, 1280]` and biases `[P]` of a linear layer that knows these classes of the packs from all others."""
    rows = [row for row in split_rows(data, "train", licences) if row.modality == "image"]
    features = _features([row.path for row in rows], picture, cache)  # [N, VIEWS, 1280]
    targets = torch.tensor([[float(row.name == name) for name in classes] for row in rows])
    counts = targets.sum(0).clamp(min=1)
    rare = 1 + targets * ((counts.max() / counts).sqrt() - 1)  # a class of few pictures counts for more
    mean, spread = features.mean((0, 1)), features.std((0, 1)) + 0.05
    layer = nn.Linear(features.shape[-1], len(classes))
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, -3.0)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=RATE, weight_decay=DECAY)
    rng = Generator().manual_seed(1)
    for _ in range(STEPS):
        index, view = (torch.randint(most, (BATCH,), generator=rng) for most in (len(rows), VIEWS))
        logits = layer((features[index, view] - mean) / spread)
        losses = F.binary_cross_entropy_with_logits(logits, targets[index] * 0.98 + 0.002, reduction="none")
        optimizer.zero_grad()
        (losses * rare[index]).sum(1).mean().backward()
        optimizer.step()
    weight = layer.weight.detach() / spread
    return weight, layer.bias.detach() - weight @ mean


@torch.inference_mode()
def _features(paths: Sequence[Path], picture: EfficientNetLite0, cache: Path) -> Tensor:
    """Pooled features `[N, VIEWS, 1280]` of pictures, from `cache` if they were made before."""
    facts = [
        weights_file.sha256(registry.encoder_file("efficientnet-lite0")),
        *(f"{path.parent.name}/{path.name}" for path in paths),
    ]
    file = cache / f"pictures-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]}.pt"
    if file.is_file():
        kept: Tensor = torch.load(file, weights_only=True)
        return kept.clone()
    log.info("looking at %d pictures", len(paths))
    rng = Generator().manual_seed(1)
    size, found = picture.config.size, []
    for start in range(0, len(paths), 16):
        pictures = starter.load_pictures(paths[start : start + 16], size)
        crops = (augment.crop(pictures, size, rng, (0.45, 0.9)) * 255).round().to(torch.uint8)
        both = torch.stack([pictures, crops], dim=1).flatten(0, 1).permute(0, 2, 3, 1)
        found.append(picture.maps(both).mean((1, 2)).unflatten(0, (-1, VIEWS)))
    features = torch.cat(found)
    cache.mkdir(parents=True, exist_ok=True)
    torch.save(features, file)
    return features
