"""The catalogue of published weights, `weights/catalogue.toml`, as dataclasses. Imports no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from avel_cli import recipes
from avel_cli.errors import ModelError, UsageError


@dataclass(frozen=True)
class Source:
    """A place where a file can be had: a repository of the Hub, a URL, or a Python package that holds it.

    Attributes:
        size: bytes, rounded unless `exact`.
        file: in the repository, or a pattern that fits one file of it.
        kind: of the repository.
        revision: branch, commit, or the beginning of a commit.
        sha256: of the file, or its beginning; empty if unknown.
        package: distribution that is installed with avel; `file` lies in it, its top-level module first.
    """

    size: int
    exact: bool = False
    repo: str = ""
    kind: Literal["model", "space", "dataset"] = "model"
    revision: str = "main"
    file: str = ""
    url: str = ""
    sha256: str = ""
    package: str = ""

    @property
    def place(self) -> str:
        """Where it is, for people."""
        if self.package:
            return f"package {self.package}"
        if self.url:
            return f"{urlsplit(self.url).netloc}/…/{self.file_name}"
        folder = "" if self.kind == "model" else f"{self.kind}s/"
        return f"huggingface.co/{folder}{self.repo}"

    @property
    def file_name(self) -> str:
        """The last part of its path."""
        return unquote(urlsplit(self.url).path if self.url else self.file).rpartition("/")[2]


@dataclass(frozen=True)
class Asset:
    """One published file of weights, and the places to get it from, to be tried in order.

    Attributes:
        by_hand: the page that a person would get it from.
        objects: the file holds other objects than tensors too.
    """

    name: str
    title: str
    licence: str
    citation: str
    by_hand: str
    sources: tuple[Source, ...]
    note: str = ""
    objects: bool = False

    @property
    def size(self) -> int:
        """Bytes to fetch, see `size_text`."""
        return self.sources[0].size

    @property
    def size_text(self) -> str:
        """`327.4 MB`, or `about 105 MB` where it is not known exactly."""
        return size_text([self])

    def row(self, *, at_hand: bool) -> list[str]:
        """Name, places, size, licence and whether it is on this machine, for people."""
        places = ", or ".join(source.place for source in self.sources)
        return [self.name, places, self.size_text, self.licence, "yes" if at_hand else "no"]


@dataclass(frozen=True)
class EncoderEntry:
    """What an encoder is made of: assets, or the weights of another encoder.

    Attributes:
        config: where it is not the default of the encoder's class.
    """

    assets: tuple[str, ...] = ()
    weights: str = ""
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Repository:
    """A repository of the Hub that is used as it is, by a library that knows it.

    Attributes:
        extra: of avel's, that brings the library.
    """

    repo: str
    title: str
    licence: str
    citation: str
    extra: str
    note: str = ""


@dataclass(frozen=True)
class Task:
    """What a localizer was trained to say, and the thresholds of its published evaluation."""

    labels: tuple[str, ...]
    grid: dict[str, float]
    threshold: float
    min_score: float


@dataclass(frozen=True)
class ModelEntry:
    """A published localizer: its asset, and what its authors configured."""

    asset: str
    localizer: str
    task: str
    encoders: tuple[str, ...]
    config: dict[str, Any]
    description: str
    figures: dict[str, Any]


@dataclass(frozen=True)
class Catalogue:
    """All that is published and of use, by name."""

    assets: dict[str, Asset]
    encoders: dict[str, EncoderEntry]
    models: dict[str, ModelEntry] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    repositories: dict[str, Repository] = field(default_factory=dict)

    def made_of(self, name: str) -> tuple[Asset, ...]:
        """The assets of one encoder or localizer alone; none if it is not published."""
        if name in self.models:
            return (self.assets[self.models[name].asset],)
        entry = self.encoders.get(name, EncoderEntry())
        return self.made_of(entry.weights) if entry.weights else tuple(self.assets[asset] for asset in entry.assets)


def read(path: Path) -> Catalogue:
    """The catalogue in a TOML file.

    Raises:
        ModelError: if it is missing or damaged.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        tables["assets"] = {name: {"name": name, **asset} for name, asset in tables["assets"].items()}
        return recipes.build(Catalogue, tables)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise ModelError(f"{path}: the catalogue of weights is damaged ({error}); install avel again") from None


def size_text(assets: Iterable[Asset]) -> str:
    """How large they are together: MB with what is known of it, or GB."""
    sources = [asset.sources[0] for asset in assets]
    size = sum(source.size for source in sources)
    about = "" if all(source.exact for source in sources) else "about "
    return f"{about}{size / 1e9:.1f} GB" if size >= 1e9 else f"{about}{size / 1e6:.{0 if about else 1}f} MB"
