"""Makes published weights ready for use: fetched, checked and converted once, to files like those that ship with avel.

They lie in `registry.cache()/weights`, in float32, with a header that says what they were made from.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from avel_cli import recipes
from avel_cli.encoders import LARGE, encoder_class
from avel_cli.errors import ModelError, UsageError
from avel_cli.hub import downloads, foreign, registry, weights_file
from avel_cli.hub.catalogue import Asset
from avel_cli.hub.downloads import FOLDERS, Listener
from avel_cli.localizers import localizer_class
from avel_cli.localizers.cace_net.published import from_official

log = logging.getLogger("avel")

State = dict[str, Tensor]
Watch = Callable[[str], AbstractContextManager[Listener | None]]  # a progress bar of that name


def _unwatched(name: str) -> AbstractContextManager[None]:
    return nullcontext()


def prepare(
    names: Sequence[str],
    *,
    offline: bool = False,
    files: Mapping[str, Path] | None = None,
    say: Callable[[str], None] = log.warning,
    watch: Watch = _unwatched,
) -> dict[str, Path]:
    """Weights files of models and encoders by name, with those of the encoders that the models need.

    What is not on this machine is fetched, and said before in one line.

    Args:
        names: of models and encoders.
        offline: open no connection.
        files: local files by the name of the asset that they are, or of the model or encoder made of it alone. What
            is made of them is kept under their hash, and never takes the place of the official weights. A weights
            file of avel is used as it is.
        say: is told what is about to be done, a line at a time.
        watch: makes a progress bar.

    Raises:
        ModelError: if a name is unknown, or weights cannot be fetched, read or converted.
        UsageError: if a file has the name of nothing that is needed here.
    """
    known = registry.needs()
    new = {name: path for name, path in (files or {}).items() if name in names and name not in known}
    new = {name: path for name, path in new.items() if _is_ours(name, path)}  # an encoder of somebody else's
    wanted = registry.with_encoders([name for name in names if name not in new])
    own = _by_asset({name: path for name, path in (files or {}).items() if name not in new}, wanted)

    def fetch(asset: Asset) -> Path:
        with watch(asset.name) as listener:
            return registry.fetch(asset, offline=offline, listener=listener)

    still = [asset for asset in registry.missing(wanted) if asset.name not in own]
    if still and not offline and not downloads.is_offline():
        say(f"fetching {', '.join(map(_announcement, still))}")
    return {**new, **{name: _ready(name, own, fetch, say) for name in wanted}}


def _announcement(asset: Asset) -> str:
    return f"{asset.name} ({asset.size_text}, licence: {asset.licence}, from {asset.sources[0].place})"


def _by_asset(files: Mapping[str, Path], wanted: Sequence[str]) -> dict[str, Path]:
    """The local files by the asset that they stand for.

    Raises:
        UsageError: if that is none, or not one.
    """
    made_of = {name: registry.catalogue().made_of(name) for name in wanted}
    names = {asset.name: asset.name for assets in made_of.values() for asset in assets}
    names |= {name: assets[0].name for name, assets in made_of.items() if len(assets) == 1}
    for name in files.keys() - names.keys():
        known = f"it can be given for {', '.join(names)}" if names else "all that is needed ships with avel"
        raise UsageError(f"--weights {name}={files[name]}: {name} is not needed here; {known}")
    return {names[name]: path for name, path in files.items()}


def _ready(name: str, own: Mapping[str, Path], fetch: Callable[[Asset], Path], say: Callable[[str], None]) -> Path:
    """The weights file of one model or encoder, made if it is not there."""
    assets = registry.catalogue().made_of(name)
    mine = [own[asset.name] for asset in assets if asset.name in own]
    if len(mine) == 1 and _is_ours(name, mine[0]):
        return mine[0]
    target = _own_file(name, mine) if mine else registry.weights_path(name)
    if not assets and not target.is_file():
        raise ModelError(f"{name}: {target} is missing; install avel again")
    if target.is_file():
        return target
    with _alone(target):  # another process may be making it
        if not target.is_file():
            originals = [own.get(asset.name) or fetch(asset) for asset in assets]
            _convert(registry.weights_name(name), assets, originals, target, say)
            _discard(originals)
    return target


def _is_ours(name: str, path: Path) -> bool:
    """Whether a local file is one of avel for this model or encoder, as training writes it: it is taken as it is.

    Raises:
        ModelError: if it is one of avel for something else.
    """
    try:
        header = weights_file.read_header(path)
    except ModelError:
        return False
    model = registry.catalogue().models.get(name)
    wanted = ("localizer", model.localizer) if model else ("encoder", registry.weights_name(name))
    if (header["kind"], header["network"]) != wanted:
        raise ModelError(f"{path}: holds the {header['kind']} {header['network']}, not {name}")
    if model and tuple(header["labels"]) != registry.catalogue().tasks[model.task].labels:
        raise ModelError(f"{path}: learnt other labels than {name}")
    return True


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Holds the lock of a file that is to be made.

    Raises:
        ModelError: if its folder cannot be written to.
    """
    lock = FileLock(f"{target}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise ModelError(f"{target.parent}: {error.strerror}; {FOLDERS}") from None
    try:
        yield
    finally:
        lock.release()


def _own_file(name: str, files: Sequence[Path]) -> Path:
    """Where the weights made of local files are kept: under their hash.

    Raises:
        ModelError: if one cannot be read.
    """
    try:
        hashes = [weights_file.sha256(path) for path in files]
    except OSError as error:
        raise ModelError(f"{error.filename}: {error.strerror}") from None
    key = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    return registry.cache() / "weights" / f"{registry.weights_name(name)}-{key[:16]}.safetensors"


def _discard(files: Sequence[Path]) -> None:
    """Removes what was fetched and is of no more use; what lies in the cache of the Hub others may use too."""
    for path in files:
        if path.parent == registry.cache() / "downloads":
            path.unlink(missing_ok=True)


def _convert(
    name: str, assets: Sequence[Asset], files: Sequence[Path], target: Path, say: Callable[[str], None]
) -> None:
    """Writes the weights file `target` from published files."""
    states = []
    for asset, path in zip(assets, files, strict=True):
        if (size := path.stat().st_size) > LARGE:
            say(f"reading {path.name}, which takes {size / 1e9:.1f} GB of memory")
        states.append(foreign.read(path, objects=asset.objects))
    what = ", ".join(map(str, files))
    convert = _localizer if name in registry.catalogue().models else _encoder
    state, header = convert(name, states, what)
    broken = [key for key, tensor in state.items() if not tensor.float().isfinite().all()]
    if broken:
        raise ModelError(f"{what}: holds values that are not finite, in {', '.join(broken[:3])}")
    origin = [_provenance(asset, path) for asset, path in zip(assets, files, strict=True)]
    try:
        weights_file.save(target, state, {**header, "name": name, "published": origin}, torch.float32)
    except ModelError as error:
        raise ModelError(f"{error}; {FOLDERS}") from None


def _encoder(name: str, states: Sequence[State], what: str) -> tuple[State, dict[str, Any]]:
    """State dict and header of an encoder."""
    kind, config = encoder_class(name)
    settings = registry.catalogue().encoders[name].config
    with torch.device("meta"):
        module = kind(config(**settings))
    state = _from(what, kind.from_published, *states)
    weights_file.check_fit(module, state, what)
    licence = "; ".join(asset.licence for asset in registry.catalogue().made_of(name))
    return state, {"kind": "encoder", "network": name, "config": settings, "licence": licence}


def _localizer(name: str, states: Sequence[State], what: str) -> tuple[State, dict[str, Any]]:
    """State dict and header of a localizer."""
    catalogue = registry.catalogue()
    entry = catalogue.models[name]
    config = recipes.build(getattr(localizer_class(entry.localizer), "Config"), entry.config)  # noqa: B009
    header = {
        "kind": "localizer",
        "network": entry.localizer,
        "config": recipes.to_dict(config),
        "encoders": entry.encoders,
        "description": entry.description,
        "licence": catalogue.assets[entry.asset].licence,
        "figures": entry.figures,
        **recipes.to_dict(catalogue.tasks[entry.task]),
    }
    return _from(what, from_official, *states, config), header


def _from(what: str, convert: Callable[..., State], *arguments: Any) -> State:
    """The state dict that a conversion makes.

    Raises:
        ModelError: if it cannot; the text begins with the files.
    """
    try:
        return convert(*arguments)
    except ModelError as error:
        raise ModelError(f"{what}: {error}") from None
    except (ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{what}: not the weights that were expected: {error}") from error


def _provenance(asset: Asset, path: Path) -> dict[str, str]:
    """Where the weights come from, for their header."""
    commit = path.parts[path.parts.index("snapshots") + 1] if "snapshots" in path.parts else ""
    facts = {"asset": asset.name, "file": path.name, "sha256": weights_file.sha256(path), "licence": asset.licence}
    return {**facts, "revision": commit} if commit else facts
