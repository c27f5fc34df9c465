"""Weights on disk: safetensors files whose header says what they are, so that a file alone rebuilds its network.

The header is one JSON text under the key `avel`: format, kind (`encoder` or `localizer`), network, config, and for a
localizer also labels, grid, encoders and threshold; then licence, recipe and figures. Reading it needs no torch.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from avel_cli import recipes
from avel_cli.errors import ModelError, UsageError
from avel_cli.text import is_line

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

T = TypeVar("T")
FORMAT = "avel.weights/1"
LARGEST_HEADER = 16 * 2**20
LARGEST_SIZE = 2**20  # of anything that a network is described by
MOST_LABELS, MOST_ENCODERS, MOST_MODULES = 10_000, 8, 20_000
GRID = {"start": (-60.0, 60.0), "stride": (0.01, 600.0), "window": (0.01, 600.0)}  # seconds
COUNTER = "num_batches_tracked"  # of batch normalisations: of no use after training
KEYS = {
    "encoder": {"network", "config"},
    "localizer": {
        "name",
        "network",
        "config",
        "labels",
        "grid",
        "encoders",
        "threshold",
        "min_score",
        "description",
        "licence",
        "figures",
    },
}


def save(path: Path, state: Mapping[str, Tensor], header: Mapping[str, Any], dtype: torch.dtype | None = None) -> None:
    """Write `state` with its header; the file appears whole or not at all.

    Args:
        path: where to.
        state: tensors by name; counters of batches are left out.
        header: what `read_header` is to return.
        dtype: of all floating-point tensors, float16 if None; integers stay as they are.

    Raises:
        ModelError: if it cannot be written.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    dtype = dtype or torch.float16
    cast = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items() if not k.endswith(COUNTER)}
    part = path.with_name(f".avel-{uuid4().hex}.part")
    metadata = {"avel": json.dumps({"format": FORMAT, **header}, ensure_ascii=False)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as stream:
                mode = os.fstat(stream.fileno()).st_mode & 0o777
            save_file({k: v.contiguous() for k, v in cast.items()}, part, metadata=metadata)
            part.chmod(mode)  # safetensors lets nobody else read its files, whatever the user's umask says
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: cannot be written: {error}") from None


def read_header(path: Path) -> dict[str, Any]:
    """What the file says of itself.

    Raises:
        ModelError: if it is missing, no safetensors file, or was not written by avel.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ValueError("its path leads to no file")
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if not 0 < size <= LARGEST_HEADER:
                raise ValueError("its header has an impossible size")
            text = json.loads(stream.read(size))["__metadata__"]["avel"]
        header: dict[str, Any] = json.loads(text)
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']}, this avel reads {FORMAT}")
        if missing := KEYS[header["kind"]] - header.keys():
            raise ValueError(f"its header lacks {', '.join(sorted(missing))}")
        _validate(header)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such weights file") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = error if isinstance(error, ValueError) and "its " in str(error) else "it carries no avel header"
        raise ModelError(f"{path}: not a weights file of avel: {reason}") from None
    return header


def _validate(header: Mapping[str, Any]) -> None:
    """Everything that is used as it stands.

    Raises:
        ValueError: for the first value that is not what it must be.
    """
    for key in KEYS[header["kind"]] & {"name", "network", "description", "licence"}:
        _require(is_line(header[key]), key, "is no line of text")
    _require(isinstance(header["config"], dict) and _is_bounded(header["config"]), "config", "has impossible sizes")
    if header["kind"] != "localizer":
        return
    for key, most in (("labels", MOST_LABELS), ("encoders", MOST_ENCODERS)):
        names = header[key]
        _require(isinstance(names, list) and all(is_line(name, 200) and name for name in names), key, "are no names")
        _require(len(names) <= most, key, f"are more than {most}")
    _require(len(header["labels"]) == len(set(header["labels"])), "labels", "are not each once")
    for key in ("threshold", "min_score"):
        _require(_is_number(header[key], 0, 1), key, "is no number from 0 to 1")
    grid = header["grid"]
    _require(isinstance(grid, dict) and grid.keys() <= GRID.keys(), "grid", "is no table of start, stride and window")
    for key, value in grid.items():
        _require(_is_number(value, *GRID[key]), f"grid.{key}", "is out of range")
    _require(isinstance(header["figures"], dict), "figures", "are no table")


def _require(right: bool, key: str, wrong: str) -> None:
    if not right:
        raise ValueError(f"its {key} {wrong}")


def _is_number(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_bounded(value: object) -> bool:
    """Whether all numbers in nested tables and lists are such that a network can be described by them."""
    if isinstance(value, dict | list):
        return all(map(_is_bounded, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str | bool | None) or _is_number(value, -LARGEST_SIZE, LARGEST_SIZE)


def config(kind: type[T], path: Path) -> T:
    """The network configuration in the header of `path`, as a dataclass `kind`.

    Raises:
        ModelError: if it is not one of that kind.
    """
    try:
        return recipes.build(kind, read_header(path)["config"])
    except UsageError as error:
        raise ModelError(f"{path}: not weights of this network: {error}") from None


def require_sizes(kind: Callable[[Any], nn.Module], config: Any, path: Path) -> None:
    """Compares the network that `config` describes with the tensors in the file before any memory is taken for it.

    Raises:
        ModelError: if they do not fit, or there is no such network.
    """
    import torch
    from safetensors import SafetensorError, safe_open
    from torch.nn.modules.module import register_module_module_registration_hook

    parts = 0

    def count(*_: object) -> None:
        nonlocal parts
        parts += 1
        if parts > MOST_MODULES:
            raise ValueError(f"more than {MOST_MODULES} parts")

    handle = register_module_module_registration_hook(count)
    try:
        with torch.device("meta"):
            module = kind(config)
            with safe_open(path, "pt") as stream:
                given = {key: torch.empty(stream.get_slice(key).get_shape()) for key in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: damaged weights file: {error}") from None
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: no network has the sizes that it gives: {error}") from None
    finally:
        handle.remove()
    check_fit(module, given, str(path))


def load_into(module: nn.Module, path: Path) -> None:
    """Fill `module`, which may be on the meta device, with the float32 form of the weights in `path`.

    Raises:
        ModelError: if the file is damaged, or names or shapes differ; the text lists them.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: damaged weights file: {error}") from None
    check_fit(module, state, str(path))
    empty = any(parameter.is_meta for parameter in module.parameters())
    full = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    if broken := [k for k, v in full.items() if v.is_floating_point() and not v.isfinite().all()]:
        raise ModelError(f"{path}: damaged weights: not a number or infinite in {_some(broken)}")
    module.load_state_dict(full, strict=False, assign=empty)


def check_fit(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Compares names and shapes of `state` with those of `module`, which may be on the meta device.

    Raises:
        ModelError: if they differ; the text begins with `what` and lists them.
    """
    wanted = {k: v.shape for k, v in module.state_dict().items() if not k.endswith(COUNTER)}
    given = {k: v.shape for k, v in state.items() if not k.endswith(COUNTER)}
    problems = {
        "missing": sorted(wanted.keys() - given.keys()),
        "unexpected": sorted(given.keys() - wanted.keys()),
        "other shape": sorted(k for k in wanted.keys() & given.keys() if wanted[k] != given[k]),
    }
    if any(problems.values()):
        found = ", ".join(f"{problem} {_some(names)}" for problem, names in problems.items())
        raise ModelError(f"{what}: weights do not fit: {found}")


def _some(names: list[str], most: int = 8) -> str:
    """The first few, and how many there are in all if that is more."""
    return f"{names[:most]}" + (f" and {len(names) - most} more" if len(names) > most else "")


def sha256(path: Path) -> str:
    """Hash of the file, in hexadecimal; taken once for as long as the file does not change."""
    facts = path.stat()
    return _sha256(path, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(64)
def _sha256(path: Path, modified: int, size: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
