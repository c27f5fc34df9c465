"""What the tag heads of the encoders say of each label, second by second: the evidence that a localizer starts from.

A label is *heard* as much as the loudest of its AudioSet classes, and *seen* as much as its ImageNet classes together
or the likeliest of its own picture classes. An event needs both: their geometric mean, as log-odds, is what a tagged
localizer adds its own judgement to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KnownBy = Literal["both", "heard", "seen", ""]
WAYS: dict[tuple[bool, bool], KnownBy] = {
    (True, True): "both",
    (True, False): "heard",
    (False, True): "seen",
    (False, False): "",
}
LEAST = 1e-4  # probabilities below it are not told apart
POOLED = 1280  # width of a pooled picture


@dataclass(frozen=True)
class TagsConfig:
    """Which outputs of the tag heads stand for which label.

    Attributes:
        audio_dim: width of the audio features.
        visual_dim: width of the visual features, of which the first 1,280 are the mean over all positions.
        sounds: AudioSet classes by label.
        scenes: ImageNet classes by label.
        pictures: outputs of the picture head by label.
        reach: segments to either side over which what is seen is averaged.

    Raises:
        ValueError: if the three do not describe equally many labels, or one has nothing that it could be known by.
    """

    audio_dim: int
    visual_dim: int
    sounds: tuple[tuple[int, ...], ...]
    scenes: tuple[tuple[int, ...], ...]
    pictures: tuple[tuple[int, ...], ...]
    reach: int = 1

    def __post_init__(self) -> None:
        if not len(self.sounds) == len(self.scenes) == len(self.pictures):
            raise ValueError("sounds, scenes and pictures must describe the same labels")
        if "" in self.known_by:
            raise ValueError(f"label {self.known_by.index('')} has no sound and no picture that it could be known by")

    @property
    def known_by(self) -> tuple[KnownBy, ...]:
        """By what each label is known."""
        given = zip(self.sounds, self.scenes, self.pictures, strict=True)
        return tuple(WAYS[bool(sounds), bool(scenes or pictures)] for sounds, scenes, pictures in given)


class Tagger(Protocol):
    """An encoder with a tag head."""

    def tag(self, features: Tensor) -> Tensor:
        """Logits `[..., K]` of classes from pooled features `[..., D]`."""
        ...


class Heads:
    """The tag heads of a sound and a picture encoder; where a network is copied they are shared."""

    def __init__(self, sound: Tagger, picture: Tagger) -> None:
        self.sound, self.picture = sound, picture

    def __deepcopy__(self, memo: dict[int, object]) -> Heads:
        return self


class TaggedSizes:
    """Sizes of a network on tags, which are those of the tags. It has labels that are both heard and seen alone."""

    tags: TagsConfig

    def require_both(self) -> None:
        """Check the labels.

        Raises:
            ValueError: if one of them has no sound or no picture.
        """
        half = [number for number, way in enumerate(self.tags.known_by) if way != "both"]
        if half:
            raise ValueError(f"label {half[0]} has no sound or no picture that it could be known by")

    @property
    def audio_dim(self) -> int:
        """Width of the audio features."""
        return self.tags.audio_dim

    @property
    def visual_dim(self) -> int:
        """Channels of the visual features."""
        return self.tags.visual_dim

    @property
    def num_classes(self) -> int:
        """Labels."""
        return len(self.tags.sounds)


class Evidence(NamedTuple):
    """What the tag heads say of `B` clips of `T` segments and `L` labels, each `[B, T, L]`.

    Attributes:
        heard: probability that the label is heard, 0..1.
        seen: probability that it is seen, 0..1.
        logits: log-odds of the geometric mean of both.
    """

    heard: Tensor
    seen: Tensor
    logits: Tensor


class Probabilities(NamedTuple):
    """Of every name, in each segment, 0..1.

    Attributes:
        sounds: AudioSet's, `[B, T, 527]`, each for itself.
        scenes: ImageNet's, `[B, T, 1000]`, which sum to 1.
        pictures: of our own picture head, `[B, T, P]`, each for itself.
    """

    sounds: Tensor
    scenes: Tensor
    pictures: Tensor


class Tags(nn.Module):
    """Tag heads of both encoders, sorted by label, and one of our own.

    The encoders keep theirs: `adopt` says whose they are. None of them is trained with the localizer.
    """

    def __init__(self, config: TagsConfig) -> None:
        super().__init__()
        self.config = config
        self.heads: Heads | None = None
        self.picture = nn.Linear(POOLED, max(1, _outputs(config.pictures)))
        for name in ("sounds", "scenes", "pictures"):
            self.register_buffer(f"_{name}", _places(getattr(config, name)), persistent=False)
        self.requires_grad_(False)

    def adopt(self, sound: Tagger, picture: Tagger) -> None:
        """Take the heads of these encoders, whose features are what is judged."""
        self.heads = Heads(sound, picture)

    def forward(self, audio: Tensor, visual: Tensor) -> Evidence:
        """The evidence in audio features `[B, T, D_a]` and visual ones `[B, T, D_v]`."""
        sounds, scenes, pictures = (self.get_buffer(f"_{name}") for name in ("sounds", "scenes", "pictures"))
        every = self.names(audio, visual)
        heard = _gathered(every.sounds, sounds).amax(-1)
        scene = _gathered(every.scenes, scenes).sum(-1)
        picture = _gathered(every.pictures, pictures).amax(-1)
        seen = _averaged(torch.maximum(scene.clamp(max=1), picture), self.config.reach)
        both = (heard * seen).clamp(min=LEAST**2).sqrt()
        return Evidence(heard, seen, both.logit(LEAST))

    def names(self, audio: Tensor, visual: Tensor) -> Probabilities:
        """What the heads say of every name they know, in features as `forward` takes them."""
        assert self.heads is not None, "the encoders are yet to be adopted"
        with torch.autocast(audio.device.type, enabled=False):
            audio, pooled = audio.float(), visual[..., :POOLED].float()
            return Probabilities(
                self.heads.sound.tag(audio).sigmoid(),
                self.heads.picture.tag(pooled).softmax(-1),
                self.picture(pooled).sigmoid(),
            )


def _outputs(groups: tuple[tuple[int, ...], ...]) -> int:
    """How many outputs a head needs."""
    return 1 + max((output for group in groups for output in group), default=-1)


def _places(groups: tuple[tuple[int, ...], ...]) -> Tensor:
    """Indices `[L, M]` of the outputs of each label, -1 where a label has fewer than `M`."""
    most = max([1, *map(len, groups)])
    return torch.tensor([[*group, *[-1] * (most - len(group))] for group in groups])


def _gathered(values: Tensor, places: Tensor) -> Tensor:
    """`[..., L, M]` of `[..., O]`; 0 where a label has fewer than `M` outputs."""
    return values[..., places.clamp(min=0)] * (places >= 0)


def _averaged(values: Tensor, reach: int) -> Tensor:
    """`[B, T, L]` averaged over `reach` segments to either side, of which those outside of the clip do not count."""
    if not reach:
        return values
    turned = values.mT
    return F.avg_pool1d(turned, 2 * reach + 1, 1, reach, count_include_pad=False).mT
