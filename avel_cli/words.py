"""Models that answer words of one's own, in place of a list of labels. Imports no torch before a network is built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avel_cli.encoders import vocabulary
from avel_cli.encoders.pe_av.folder import is_folder
from avel_cli.encoders.vocabulary import Match
from avel_cli.errors import ModelError, UsageError
from avel_cli.hub import registry, snapshots
from avel_cli.hub.registry import ModelCard

if TYPE_CHECKING:
    from avel_cli.encoders.pe_av.picture import PEAVPicture
    from avel_cli.encoders.pe_av.sound import PEAVSound
    from avel_cli.localizers.words.embedded import EmbeddedWords
    from avel_cli.localizers.words.network import Words

HEADS = "cace-net.starter"  # whose encoders, picture head and threshold the words take
OFFLINE = "words.starter"


def takes_words(model: str) -> bool:
    """Whether a model answers words, and has no labels of its own."""
    return model == OFFLINE or model in registry.catalogue().repositories or is_folder(Path(model))


@dataclass(frozen=True)
class Wording:
    """Words as a model understands them.

    Attributes:
        card: of the model; its labels are the words.
        matches: what each word is known by; none where a model takes words as they are.
    """

    card: ModelCard
    matches: tuple[Match, ...] = ()

    @property
    def as_they_are(self) -> bool:
        """Whether the model, a folder of PE-AV, needs no names for the words."""
        return self.card.path.is_dir()

    @property
    def model(self) -> str:
        """What the model is called on the command line."""
        known = self.card.name in (OFFLINE, *registry.catalogue().repositories)
        return self.card.name if known else str(self.card.path)

    def told(self) -> dict[str, dict[str, list[str]]]:
        """The names that each word is answered with, JSON-ready."""
        return {one.phrase: {"heard as": list(one.heard_as), "seen as": list(one.seen_as)} for one in self.matches}


def understood(words: Sequence[str], model: str = "auto") -> Wording:
    """The words as a model understands them.

    Args:
        words: any number of phrases, "glass breaking".
        model: `words.starter`, or `auto`, which is the same; a PE-AV of the catalogue, or a folder that holds one.

    Raises:
        UsageError: if the model does not answer words, or a word is like no name that it knows.
        ModelError: if the model is published and still to be fetched.
    """
    if entry := registry.catalogue().repositories.get(model):
        folder = snapshots.folder(entry)
        if folder is None:
            raise ModelError(f"{model} is not on this machine: avel download {model}")
        return Wording(replace(_folder_card(folder, words), name=model, licence=entry.licence))
    if is_folder(Path(model)):
        return Wording(_folder_card(Path(model), words))
    if model not in ("auto", OFFLINE):
        raise UsageError(
            f"{model} has labels of its own; words are answered by {OFFLINE}, the default with --words, "
            f"{', '.join(registry.catalogue().repositories)}, and folders with a PE-AV"
        )
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


def _folder_card(folder: Path, words: Sequence[str]) -> ModelCard:
    """The card of a PE-AV, which lies as the Hub has it."""
    sizes = (path.stat().st_size for path in folder.glob(f"*{registry.SUFFIX}"))
    return ModelCard(
        name=folder.resolve().name,
        localizer="words",
        description=f"words of your own ({len(words)}), in the space of PE-AV",
        labels=vocabulary.check(words),
        licence="see its folder",
        size_bytes=sum(sizes),
        encoders=(),
        grid={"stride": 1.0, "window": 2.0},
        figures={},
        path=folder,
        card=folder / "README.md",
        own=True,
    )


def files(card: ModelCard) -> Iterator[tuple[str, Path]]:
    """Name and path of each file with weights in the folder of a PE-AV."""
    yield from ((path.name, path) for path in sorted(card.path.glob(f"*{registry.SUFFIX}")))


def opened(wording: Wording) -> tuple[EmbeddedWords, PEAVSound, PEAVPicture]:
    """The network that answers with a PE-AV, and its encoders, on the CPU.

    Raises:
        SetupError: if transformers is not installed.
        ModelError: if the folder is damaged.
    """
    from avel_cli.encoders.pe_av.load import load
    from avel_cli.localizers.words.embedded import EmbeddedWords, Space

    parts = load(wording.card.path, wording.card.labels)
    heard, seen = Space(parts.heard, *parts.heard_logits), Space(parts.seen, *parts.seen_logits)
    return EmbeddedWords(heard, seen).eval(), parts.sound, parts.picture


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
