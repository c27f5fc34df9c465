"""From everyday words to the names that tag heads know. Imports no torch.

A phrase is matched for the ear and for the eye separately, each time by the first of these rules that finds anything:

1. names of the same words: "church bells" is Church bell, "lawnmower" is Lawn mower;
2. all names whose words are in the phrase, except within a longer one that is too: "a dog barking" is Dog and Bark;
3. all names that end with the phrase: "horn" is Train horn, Air horn and others.

Words are compared without their endings (Porter's English stemmer), some stand for each other ("talking", "speech"),
and articles and the like do not count. Names are AudioSet's and ImageNet's, to which `words.toml` and the labels of the
starter models add groups: ImageNet has 118 breeds and no "dog".
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from avel_cli.encoders.classes import audioset, imagenet, outputs
from avel_cli.errors import UsageError

Stems = tuple[str, ...]
Names = dict[Stems, tuple[int, ...]]

LONGEST = 200  # characters of a phrase
TOLD = 6  # names that a line lists


@dataclass(frozen=True)
class Match:
    """What a phrase is known by: classes of AudioSet, of ImageNet, and of the picture head of the starter models.

    Attributes:
        phrase: as it was given.
        sounds: AudioSet classes.
        scenes: ImageNet classes.
        pictures: outputs of the picture head.
        unknown: words that none of the names has.
    """

    phrase: str
    sounds: tuple[int, ...] = ()
    scenes: tuple[int, ...] = ()
    pictures: tuple[int, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def heard_as(self) -> tuple[str, ...]:
        """Names of its sounds."""
        return tuple(audioset()[place] for place in self.sounds)

    @property
    def seen_as(self) -> tuple[str, ...]:
        """Names of its pictures, each class by the first of its synonyms."""
        own = (f"{picture_classes()[place]} (our own)" for place in self.pictures)
        return (*(imagenet()[place].split(", ")[0] for place in self.scenes), *own)

    def __str__(self) -> str:
        heard = f"heard as {_listed(self.heard_as)}" if self.sounds else "no sound is called so, the picture decides"
        seen = f"seen as {_listed(self.seen_as)}" if self.seen_as else "no picture is called so, the sound decides"
        left = f"; nothing is known of {', '.join(self.unknown)}" if self.unknown else ""
        return f'"{self.phrase}": {heard}; {seen}{left}'


def match(phrases: Iterable[str]) -> tuple[Match, ...]:
    """What each phrase is known by, in their order; the same phrase counts once.

    Raises:
        UsageError: if a phrase is empty or too long, or no name is like it; the text gives the nearest names of each.
    """
    found = [_matched(phrase) for phrase in check(phrases)]
    if unknown := [one.phrase for one in found if not (one.sounds or one.scenes or one.pictures)]:
        raise UsageError("; ".join(f'no known name is like "{phrase}"{_nearest(phrase)}' for phrase in unknown))
    return tuple(found)


def check(phrases: Iterable[str]) -> tuple[str, ...]:
    """The phrases without needless spaces, each once.

    Raises:
        UsageError: if a phrase is empty or too long.
    """
    wanted = tuple(dict.fromkeys(" ".join(phrase.split()) for phrase in phrases))
    if "" in wanted:
        raise UsageError("one of the words is empty")
    if bad := next((phrase for phrase in wanted if len(phrase) > LONGEST), None):
        raise UsageError(f"{bad[:40]!r}… has {len(bad)} characters; a phrase has {LONGEST} at most")
    return wanted


def stems(text: str) -> Stems:
    """The words of a text that count, without their endings, each as the one that stands for it."""
    return tuple(_words(text).values())


def _words(text: str) -> dict[str, str]:
    """The stem of each word that counts."""
    same, ignored = _stand_ins()
    words = (word for word in re.findall(r"[^\W_]+", text.casefold().replace("'s", "")) if word not in ignored)
    stemmed = ((word, _stemmer().stemWord(word)) for word in words)
    return {word: same.get(stem, stem) for word, stem in stemmed}


@cache
def picture_classes() -> tuple[str, ...]:
    """What the picture head of the starter models was taught, in the order of its outputs."""
    return tuple(sorted({name for group in _starter().values() for name in group.get("pictures", ())}))


def _matched(phrase: str) -> Match:
    words = _words(phrase)
    wanted = tuple(words.values())
    (heard, told), (seen, shown) = (_of(wanted, names) for names in _names())
    if not heard and wanted not in shown and set(seen) <= set(_names()[1][stems("person")]):
        return Match(phrase)  # "people booing": that there are people says nothing of it
    classes = len(imagenet())
    scenes = tuple(place for place in seen if place < classes)
    pictures = tuple(place - classes for place in seen if place >= classes)
    known = {stem for name in (*told, *shown) for stem in name}
    left = (word for word, stem in words.items() if stem not in known and word not in _table()["plain"])
    return Match(phrase, heard, scenes, pictures, tuple(left))


def _of(wanted: Stems, names: Names) -> tuple[tuple[int, ...], list[Stems]]:
    """The classes that the first of the three rules gives, and the names that it found."""
    if not wanted:
        return (), []
    words = frozenset(wanted)
    same = [wanted] if wanted in names else [name for name in names if frozenset(name) == words]
    inside = [name for name in names if words.issuperset(name)]
    inside = [name for name in inside if not any(set(name) < set(other) for other in inside)]
    ending = [name for name in names if name[-len(wanted) :] == wanted]
    chosen = same or inside or ending
    return tuple(sorted({place for name in chosen for place in names[name]})), chosen


@cache
def _names() -> tuple[Names, Names]:
    """Sounds and sights by the stems of their names: ImageNet's classes, and after them those of the picture head.

    Groups of `words.toml` come before names of classes, labels of the starter models after them.
    """
    groups = (_starter(), _table()["groups"])
    starter, own = ((_grouped(part, _sounds), _grouped(part, _sights)) for part in groups)
    heard, seen = _called(audioset()), _called(imagenet())
    return starter[0] | heard | own[0], starter[1] | seen | own[1]


def _sounds(group: dict[str, Any]) -> tuple[int, ...] | None:
    return outputs(group["sounds"], audioset()) if "sounds" in group else None


def _sights(group: dict[str, Any]) -> tuple[int, ...] | None:
    if not group.keys() & {"scenes", "pictures"}:
        return None
    pictures = outputs(group.get("pictures", ()), picture_classes())
    return (*outputs(group.get("scenes", ()), imagenet()), *(len(imagenet()) + place for place in pictures))


def _grouped(groups: dict[str, Any], classes: Callable[[dict[str, Any]], tuple[int, ...] | None]) -> Names:
    """The classes of each group by its names; groups that say nothing of them are left out."""
    found: Names = {}
    for label, group in groups.items():
        places = classes(group)
        if places is not None:
            found |= dict.fromkeys(map(stems, (label, *group.get("also", ()))), places)
    return found


def _called(entries: Sequence[str]) -> Names:
    """Each class by its name and synonyms, and by names of two words also in one."""
    found: dict[Stems, set[int]] = {}
    for place, entry in enumerate(entries):
        for name in entry.split(", "):
            plain = re.sub(r"\(.*?\)", "", name)
            joined = plain.replace(" ", "").replace("-", "")
            for words in {stems(name), stems(plain), stems(joined)}:
                if words:
                    found.setdefault(words, set()).add(place)
    return {words: tuple(sorted(places)) for words, places in found.items()}


def _nearest(phrase: str) -> str:
    """The end of a message about an unknown phrase: what is written most like it, or like one of its words."""
    names = [name for entry in (*audioset(), *imagenet()) for name in entry.split(", ")]
    spelled = {name.casefold(): name for name in [*names, *_table()["groups"], *_starter()]}
    given = [phrase.casefold(), *phrase.casefold().split()]
    near = dict.fromkeys(name for text in given for name in difflib.get_close_matches(text, spelled, 2, 0.75))
    told = [f'"{spelled[name]}"' for name in near][:3]
    return f"; the nearest are {', '.join(told)}" if told else ""


def _listed(names: Sequence[str]) -> str:
    quoted = [f'"{name}"' if "," in name else name for name in names]
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return ", ".join(quoted[:TOLD]) + more


@cache
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")


@cache
def _stand_ins() -> tuple[dict[str, str], frozenset[str]]:
    """Which stem stands for a stem, and the words that do not count."""
    stem = _stemmer().stemWord
    same = {stem(word): stem(first) for first, *others in _table()["same"] for word in others}
    return same, frozenset(_table()["ignored"])


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("avel_cli.encoders").joinpath("words.toml").read_text(encoding="utf-8"))


@cache
def _starter() -> dict[str, Any]:
    text = files("avel_cli").joinpath("recipes/everyday.toml").read_text(encoding="utf-8")
    labels: dict[str, Any] = tomllib.loads(text)["data"]["labels"]
    return labels
