"""The names of what tag heads were taught: AudioSet's 527 sounds and ImageNet's 1,000 pictures, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from avel_cli.errors import UsageError

RANGE = ".."  # between the first and the last name of neighbouring classes


@cache
def audioset() -> tuple[str, ...]:
    """AudioSet's display names (Gemmeke et al. 2017; the ontology is CC BY 4.0)."""
    return _lines("audioset.txt")


@cache
def imagenet() -> tuple[str, ...]:
    """ImageNet-1k's classes, each with its synonyms, parted by commas (Russakovsky et al. 2015)."""
    return _lines("imagenet.txt")


def _lines(name: str) -> tuple[str, ...]:
    return tuple(files("avel_cli.encoders").joinpath(name).read_text(encoding="utf-8").splitlines())


def outputs(names: Sequence[str], known: Sequence[str]) -> tuple[int, ...]:
    """The places of `names` among the `known` classes, each once, in order.

    A name is that of a class or one of its synonyms; `first..last` names all classes from one to the other. A name
    that several classes share stands for all of them.

    Raises:
        UsageError: if a name is unknown.
    """
    places: set[int] = set()
    for name in names:
        first, dots, last = name.partition(RANGE)
        if dots:
            places.update(range(min(_places(first, known)), max(_places(last, known)) + 1))
        else:
            places.update(_places(name, known))
    return tuple(sorted(places))


def _places(name: str, known: Sequence[str]) -> list[int]:
    found = [place for place, entry in enumerate(known) if name == entry]
    found = found or [place for place, entry in enumerate(known) if name in entry.split(", ")]
    if not found:
        raise UsageError(f'no class is called "{name}"')
    return found
