"""Which weights exist, what is known of them, and where they lie. Imports no torch."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avel_cli.errors import ModelError
from avel_cli.hub import catalogue as catalogues
from avel_cli.hub import downloads, weights_file
from avel_cli.hub.catalogue import Asset, Catalogue, Source, size_text

DEFAULT = "cace-net.starter"
STRONGEST = "cace-net.everyday"
SUFFIX = ".safetensors"  # of weights files


@dataclass(frozen=True)
class ModelCard:
    """Facts about one set of localizer weights, from the header of its file or from the catalogue.

    Attributes:
        size_bytes: of the weights and of the encoders they need, on this machine or still to be fetched.
        path: of the weights, which are there unless they are `missing`.
        card: the Markdown page that goes with them.
        assets: the published files that the weights and their encoders are made of; none of what ships with avel.
        missing: those of them that are still to be fetched.
        own: a file of the user's, which no name stands for.
    """

    name: str
    localizer: str
    description: str
    labels: tuple[str, ...]
    licence: str
    size_bytes: int
    encoders: tuple[str, ...]
    grid: dict[str, float]
    figures: dict[str, Any]
    path: Path
    card: Path
    assets: tuple[Asset, ...] = ()
    missing: tuple[Asset, ...] = ()
    own: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of all weights that must be made ready before use, see `published.prepare`."""
        return self.encoders if self.own else (self.name, *self.encoders)


def folder() -> Path:
    """Where the weights that ship with avel lie: inside the package, or beside it in a source checkout."""
    package = Path(__file__).parents[1]
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "weights"


def cache() -> Path:
    """Where published weights lie once they are fetched: `$AVEL_CACHE`, or the user's folder for caches."""
    if chosen := os.environ.get("AVEL_CACHE"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("avel", appauthor=False))


@functools.cache
def catalogue() -> Catalogue:
    """Everything published that avel can fetch."""
    return catalogues.read(folder() / "catalogue.toml")


def weights_name(encoder: str) -> str:
    """The encoder whose weights an encoder has: another one for `vggish-unav`, mostly itself."""
    entry = catalogue().encoders.get(encoder)
    return entry.weights if entry and entry.weights else encoder


def weights_path(name: str) -> Path:
    """Where the weights of a localizer or encoder lie, or will lie once they are fetched."""
    shipped = folder() / f"{weights_name(name)}.safetensors"
    if shipped.is_file():
        return shipped
    packaged = [in_package(source) for asset in catalogue().made_of(name) for source in asset.sources if source.package]
    return next((path for path in packaged if path), cache() / "weights" / shipped.name)


def in_package(source: Source) -> Path | None:
    """The file of a source that is a Python package, where that is installed; the package is not imported."""
    module, _, file = source.file.partition("/")
    spec = importlib.util.find_spec(module)
    places = [Path(place, file) for place in (spec and spec.submodule_search_locations) or ()]
    return next((place for place in places if place.is_file()), None)


def encoder_file(name: str) -> Path:
    """The weights of an encoder.

    Raises:
        ModelError: if they are not at hand.
    """
    path = weights_path(name)
    if path.is_file():
        return path
    assets = catalogue().made_of(name)
    remedy = f"avel download {name} ({size_text(assets)})" if assets else "install avel again"
    raise ModelError(f'weights of encoder "{name}" are not at hand: {path} is missing; {remedy}')


def missing(names: Iterable[str]) -> tuple[Asset, ...]:
    """The published files that localizers and encoders still want, each once."""
    wanted = (name for name in names if not weights_path(name).is_file())
    return tuple(dict.fromkeys(asset for name in wanted for asset in catalogue().made_of(name)))


def fetch(
    asset: Asset, *, offline: bool = False, listener: downloads.Listener | None = None, then: str | None = None
) -> Path:
    """The file of an asset as it was published, from this machine or from the first of its sources that has it.

    Args:
        asset: one of the catalogue.
        offline: open no connection.
        listener: is told the bytes that are there and the bytes in all (0 if unknown).
        then: what to do with a file got by hand; if absent, to name it with `--weights`.

    Raises:
        ModelError: if no source gives it; the text says why, and how to get it by hand.
    """
    reasons: dict[str, list[str]] = {}
    for source in asset.sources:
        try:
            return downloads.fetch(source, cache() / "downloads", offline=offline, listener=listener)
        except ModelError as error:
            reasons.setdefault(str(error), []).append(source.place)
    told = "; ".join(f"{', '.join(places)}: {reason}" for reason, places in reasons.items())
    raise ModelError(
        f"{asset.name} cannot be fetched; {told}. "
        f"By hand: get it from {asset.by_hand} and {then or f'add --weights {asset.name}=FILE'}"
    )


def _from_file(path: Path, header: dict[str, Any], *, own: bool = False) -> ModelCard:
    encoders = tuple(header["encoders"])
    still = missing(encoders)
    there = (weights_path(name).stat().st_size for name in encoders if weights_path(name).is_file())
    return ModelCard(
        name=header["name"],
        localizer=header["network"],
        description=header["description"],
        labels=tuple(header["labels"]),
        licence=header["licence"],
        size_bytes=path.stat().st_size + sum(there) + sum(asset.size for asset in still),
        encoders=encoders,
        grid=header["grid"],
        figures=header["figures"],
        path=path,
        card=path.with_suffix(".md"),
        assets=tuple(asset for name in encoders for asset in catalogue().made_of(name)),
        missing=still,
        own=own,
    )


def _published(name: str) -> ModelCard:
    entry = catalogue().models[name]
    parts = (name, *entry.encoders)
    assets = tuple(asset for part in parts for asset in catalogue().made_of(part))
    still = missing(parts)
    there = (weights_path(part).stat().st_size for part in parts if weights_path(part).is_file())
    return ModelCard(
        name=name,
        localizer=entry.localizer,
        description=entry.description,
        labels=catalogue().tasks[entry.task].labels,
        licence=catalogue().assets[entry.asset].licence,
        size_bytes=sum(there) + sum(asset.size for asset in still),
        encoders=entry.encoders,
        grid=catalogue().tasks[entry.task].grid,
        figures=entry.figures,
        path=weights_path(name),
        card=own if (own := folder() / f"{name}.md").is_file() else folder() / "README.md",
        assets=assets,
        missing=still,
    )


def models() -> list[ModelCard]:
    """Every localizer whose weights ship with avel or are published, by name."""
    headers = [(path, weights_file.read_header(path)) for path in folder().glob("*.safetensors")]
    shipped = [_from_file(path, header) for path, header in headers if header["kind"] == "localizer"]
    return sorted([*shipped, *map(_published, catalogue().models)], key=lambda card: card.name)


def model(name: str) -> ModelCard:
    """The card of the model called `name`; `auto` is the strongest whose weights are all on this machine.

    A name that ends in `.safetensors` is that of a file, as `avel train` writes them.

    Raises:
        ModelError: if there is no such model, naming the closest one, or the file is missing or no localizer.
    """
    if name.endswith(SUFFIX):
        header = weights_file.read_header(Path(name))
        if header["kind"] != "localizer":
            raise ModelError(f"{name}: holds the {header['kind']} {header['network']}, not a localizer")
        return _from_file(Path(name), header, own=True)
    known = {found.name: found for found in models()}
    if name == "auto":
        name = STRONGEST if STRONGEST in known and not known[STRONGEST].missing else DEFAULT
    if name not in known:
        raise _unknown("model", name, known)
    return known[name]


def needs() -> dict[str, tuple[str, ...]]:
    """All models and encoders whose weights ship or are published, with the encoders that they need."""
    known = {found.name: found.encoders for found in models()}
    known |= dict.fromkeys((encoder for encoders in known.values() for encoder in encoders), ())
    return known | dict.fromkeys(catalogue().encoders, ())


def with_encoders(names: Iterable[str]) -> list[str]:
    """Models and encoders, each model followed by the encoders it needs; everything once.

    Raises:
        ModelError: if there is neither a model nor an encoder of that name; the text names the closest one.
    """
    known, wanted = needs(), dict[str, None]()
    for name in names:
        if name not in known:
            raise _unknown("model or encoder", name, known)
        wanted |= dict.fromkeys((name, *known[name]))
    return list(wanted)


def _unknown(kind: str, name: str, known: Iterable[str]) -> ModelError:
    near = difflib.get_close_matches(name, known, 1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    return ModelError(f'unknown {kind} "{name}"; {hint}see: avel models')


def stronger(card: ModelCard) -> str | None:
    """A line for those who asked for `auto`: which weights are used, and which would be stronger; None if none are."""
    best = next((found for found in models() if found.name == STRONGEST), card)
    if not best.missing:
        return None
    return f"using {card.name}; stronger: {best.name} (avel download {best.name}, {size_text(best.missing)})"
