"""A localizer that needs no training: words answered by the tag heads of the encoders, both at once as their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from avel_cli.localizers.base import Localizer
from avel_cli.localizers.tagged.tags import Evidence, Tags, TagsConfig
from avel_cli.timeline.events import Modality


@dataclass(frozen=True)
class WordsConfig:
    """Which outputs of the tag heads stand for which word; a word may have sounds alone, or pictures alone."""

    tags: TagsConfig

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
        """Words."""
        return len(self.tags.sounds)


class WordsOutput(NamedTuple):
    """What `Words` gives for `B` clips of `T` segments and `L` words.

    Attributes:
        label_logits: log-odds that the word is heard and seen, `[B, T, L]`.
        evidence: of sound and of picture.
    """

    label_logits: Tensor
    evidence: Evidence


class Words(Localizer):
    """Probabilities of words in each segment by sound and by picture, and their geometric mean."""

    Config: ClassVar = WordsConfig
    task: ClassVar = "labels"
    config: WordsConfig

    def __init__(self, config: WordsConfig) -> None:
        super().__init__()
        self.config = config
        self.tags = Tags(config.tags)

    @property
    def known_by(self) -> tuple[Modality, ...]:
        """How each word can be known."""
        return tuple(way for way in self.config.tags.known_by if way)

    def forward(self, audio: Tensor, visual: Tensor) -> WordsOutput:
        """The evidence for every word in every segment.

        Args:
            audio: `[B, T, audio_dim]`.
            visual: `[B, T, H, W, visual_dim]`.
        """
        pooled: Any = visual.mean(dim=(2, 3))
        evidence = self.tags(audio, pooled)
        return WordsOutput(evidence.logits, evidence)
