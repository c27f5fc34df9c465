"""Models that answer words of one's own, in place of a list of labels. Imports no torch before a network is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from avel_cli.encoders import vocabulary
from avel_cli.encoders.vocabulary import Match
from avel_cli.errors import UsageError
from avel_cli.hub import registry
from avel_cli.hub.registry import ModelCard

if TYPE_CHECKING:
    from avel_cli.localizers.words.network import Words

HEADS = "cace-net.starter"  # whose encoders, picture head and threshold the words take
OFFLINE = "words.starter"


@dataclass(frozen=True)
class Wording:
    """Words as a model understands them.

    Attributes:
        card: of the model; its labels are the words.
        matches: what each word is known by.
    """

    card: ModelCard
    matches: tuple[Match, ...]

    def told(self) -> dict[str, dict[str, list[str]]]:
        """The names that each word is answered with, JSON-ready."""
        return {one.phrase: {"heard as": list(one.heard_as), "seen as": list(one.seen_as)} for one in self.matches}


def understood(words: Sequence[str], model: str = "auto") -> Wording:
    """The words as a model that ships with avel understands them.

    Args:
        words: any number of phrases, "glass breaking".
        model: `words.starter`, or `auto`, which is the same.

    Raises:
        UsageError: if the model does not answer words, or a word is like no name that it knows.
    """
    if model not in ("auto", OFFLINE):
        raise UsageError(f"{model} has labels of its own; words are answered by {OFFLINE}, the default with --words")
    matches = vocabulary.match(words)
    card = replace(
        registry.model(HEADS),
        name=OFFLINE,
        localizer="words",
        description=f"words of your own ({len(matches)}), by the names of AudioSet and ImageNet",
        labels=tuple(one.phrase for one in matches),
        figures={},
        own=True,
    )
    return Wording(card, matches)


def network(wording: Wording) -> Words:
    """The network that answers, in evaluation mode; its tags are yet to adopt their encoders."""
    from avel_cli import localizers
    from avel_cli.localizers.tagged.tags import TagsConfig
    from avel_cli.localizers.words.network import Words, WordsConfig

    heads: Any = localizers.load(wording.card.path)
    sides = {sense: tuple(getattr(one, sense) for one in wording.matches) for sense in ("sounds", "scenes", "pictures")}
    config = heads.tags.config
    answer = Words(WordsConfig(TagsConfig(config.audio_dim, config.visual_dim, reach=config.reach, **sides)))
    answer.tags.picture = heads.tags.picture
    return answer.eval().requires_grad_(False)
