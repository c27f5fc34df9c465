"""Weights on disk: safetensors files whose header says what they are, so that a file alone rebuilds its network.

The header is one JSON text under the key `avel`: format, kind (`encoder` or `localizer`), network, config, and for a
localizer also labels, grid, encoders and threshold; then licence, recipe and figures. Reading it needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from avel_cli import recipes
from avel_cli.errors import ModelError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")
FORMAT = "avel.weights/1"
LARGEST_HEADER = 16 * 2**20
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


def save(path: Path, state: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write `state` as float16 (integers stay as they are) with its header; the file appears whole or not at all."""
    import torch
    from safetensors.torch import save_file

    small = {k: v.half() if v.dtype == torch.float32 else v for k, v in state.items()}
    small = {k: v.contiguous() for k, v in small.items() if not k.endswith("num_batches_tracked")}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    save_file(small, part, metadata={"avel": json.dumps({"format": FORMAT, **header}, ensure_ascii=False)})
    part.chmod(0o644)  # safetensors lets nobody else read its files, and weights are for everybody
    os.replace(part, path)


def read_header(path: Path) -> dict[str, Any]:
    """What the file says of itself.

    Raises:
        ModelError: if it is missing, no safetensors file, or was not written by avel.
    """
    try:
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
    except FileNotFoundError:
        raise ModelError(f"{path}: no such weights file") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = error if isinstance(error, ValueError) and "its " in str(error) else "it carries no avel header"
        raise ModelError(f"{path}: not a weights file of avel: {reason}") from None
    return header


def config(kind: type[T], path: Path) -> T:
    """The network configuration in the header of `path`, as a dataclass `kind`.

    Raises:
        ModelError: if it is not one of that kind.
    """
    try:
        return recipes.build(kind, read_header(path)["config"])
    except UsageError as error:
        raise ModelError(f"{path}: not weights of this network: {error}") from None


def load_into(module: nn.Module, path: Path) -> None:
    """Fill `module` with the float32 form of the weights in `path`.

    Raises:
        ModelError: if the file is damaged, or names or shapes differ; the text lists them.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: damaged weights file: {error}") from None
    wanted = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    shapes = [k for k in wanted.keys() & state.keys() if wanted[k].shape != state[k].shape]
    if missing or extra or shapes:
        raise ModelError(f"{path}: weights do not fit: missing {missing}, unexpected {extra}, other shape {shapes}")
    module.load_state_dict({k: v.to(wanted[k].dtype) for k, v in state.items()}, strict=False)


def sha256(path: Path) -> str:
    """Hash of the file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
