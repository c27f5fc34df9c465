"""Words answered in a space that sound, picture and text share: no list of names, no training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from avel_cli.localizers.base import Localizer
from avel_cli.localizers.tagged.tags import LEAST, Evidence
from avel_cli.localizers.words.network import WordsOutput


@dataclass(frozen=True)
class EmbeddedWordsConfig:
    """Sizes: of the features of sound and of pictures, and how many words there are."""

    audio_dim: int
    visual_dim: int
    num_classes: int


class Space(NamedTuple):
    """Where one kind of feature is compared with words.

    Attributes:
        words: `[L, D]`.
        scale: of the dot products, `[1]`.
        bias: of the log-odds, `[1]`.
    """

    words: Tensor
    scale: Tensor
    bias: Tensor


class EmbeddedWords(Localizer):
    """Probabilities of words by sound and by picture, trained as such by their encoders; both at once as their mean.

    The geometric mean is our choice, as in the other models, so that an event is heard and seen.
    """

    Config: ClassVar = EmbeddedWordsConfig
    task: ClassVar = "labels"
    config: EmbeddedWordsConfig

    def __init__(self, heard: Space, seen: Space) -> None:
        super().__init__()
        self.config = EmbeddedWordsConfig(heard.words.shape[1], seen.words.shape[1], len(heard.words))
        for name, space in (("heard", heard), ("seen", seen)):
            for part, tensor in space._asdict().items():
                self.register_buffer(f"{name}_{part}", tensor.detach().clone())

    def forward(self, audio: Tensor, visual: Tensor) -> WordsOutput:
        """The evidence for every word, `[B, T, L]`, of features `[B, T, D]`."""
        heard, seen = self._probabilities("heard", audio), self._probabilities("seen", visual)
        both = (heard * seen).clamp(min=LEAST**2).sqrt()
        return WordsOutput(both.logit(LEAST), Evidence(heard, seen, both.logit(LEAST)))

    def _probabilities(self, name: str, features: Tensor) -> Tensor:
        words, scale, bias = (self.get_buffer(f"{name}_{part}") for part in Space._fields)
        return (features.float() @ words.T * scale + bias).sigmoid()
