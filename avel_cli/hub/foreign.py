"""Reads weights files of others. Nothing in such a file is ever executed: what is no tensor is refused or left out."""

from __future__ import annotations

import builtins
import pickle
import pickletools
import re
import sys
import zipfile
from _compat_pickle import IMPORT_MAPPING
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avel_cli.errors import ModelError

# Keys under which training programs keep the weights among other things; a moving average is what they test.
WRAPPERS = ("state_dict_ema", "model", "state_dict")
LEGACY_PICKLES = 4  # magic number, version, machine, objects
# Parts of Python's own library whose names occur in honest files. Of any other part, a file has no need.
HARMLESS = {"argparse", "collections", "enum", "pathlib", "typing", "_codecs"}


class StandIn:
    """What becomes of an object that is no tensor: nothing. It ignores whatever it is given."""

    def __new__(cls, *args: object, **options: object) -> StandIn:
        """An empty object."""
        return super().__new__(cls)

    def __init__(self, *args: object, **options: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Forgets it."""


def read(path: Path, *, objects: bool = False) -> dict[str, Tensor]:
    """The tensors by name in a safetensors file or in one of `torch.save`.

    Args:
        path: the file.
        objects: the file is known to hold other objects too; empty ones of ours take their place.

    Raises:
        ModelError: if it is damaged, holds something else, or names anything that could be executed.
    """
    try:
        state = _safetensors(path) if _is_safetensors(path) else _pickled(path, objects)
    except ModelError:
        raise
    except Exception as error:  # a damaged or hostile pickle can raise anything at all
        raise ModelError(f"{path}: not a weights file that can be read safely: {_reason(error)}") from error
    return _tensors(path, state)


def _reason(error: Exception) -> str:
    """The heart of torch's long explanations; those of Python's own errors help nobody."""
    if not isinstance(error, (pickle.UnpicklingError, RuntimeError)):
        return "it is damaged, or no weights file"
    if named := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"it names {named[1]}, which weights have no need of"
    return re.split(r"\. |\n", str(error))[0] or type(error).__name__


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        size, first = int.from_bytes(file.read(8), "little"), file.read(1)
    return first == b"{" and 8 + size <= path.stat().st_size


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def _pickled(path: Path, objects: bool) -> Any:
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _refuse_inflated(path)
    stand_ins = [(type("Object", (StandIn,), {}), name) for name in _globals(path, zipped)] if objects else []
    with torch.serialization.safe_globals(stand_ins):  # type: ignore[arg-type]
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)


def _refuse_inflated(path: Path) -> None:
    """torch.save compresses nothing, so a file larger inside than outside is a trap."""
    with zipfile.ZipFile(path) as archive:
        inside = sum(entry.file_size for entry in archive.infolist())
    if inside > path.stat().st_size:
        raise ModelError(f"{path}: claims to hold {inside} bytes, more than it has: refused")


def _globals(path: Path, zipped: bool) -> set[str]:
    """Every name of Python that the pickles of a file mention, as of Python 3 and as it is written there.

    Raises:
        ModelError: if one of them is not what weights need.
    """
    found = set()
    for module, _, name in (mention.partition(" ") for mention in _mentioned(path, zipped)):
        today = IMPORT_MAPPING.get(module, module)
        if not _is_harmless(today, name):
            raise ModelError(f"{path}: refused, it names {today}.{name}, which weights have no need of")
        found |= {f"{module}.{name}", f"{today}.{name}"}
    return found


def _mentioned(path: Path, zipped: bool) -> Iterator[str]:
    """The modules and names, with a space between, that a file could have looked up."""
    if zipped:
        with zipfile.ZipFile(path) as archive:
            inner = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            yield from _looked_up(archive.read(inner))
    else:
        with path.open("rb") as file:
            for _ in range(LEGACY_PICKLES):
                yield from _looked_up(file)


def _looked_up(pickled: Any) -> Iterator[str]:
    return (str(given) for opcode, given, _ in pickletools.genops(pickled) if opcode.name == "GLOBAL")


def _is_harmless(module: str, name: str) -> bool:
    root = module.partition(".")[0]
    if root == "builtins":
        return isinstance(getattr(builtins, name, None), type)
    return root in HARMLESS or root not in sys.stdlib_module_names


def _tensors(path: Path, state: Any) -> dict[str, Tensor]:
    for key in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not state:
        raise ModelError(f"{path}: holds no tensors by name")
    largest = path.stat().st_size
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ModelError(f"{path}: {name!r} is a {type(tensor).__name__}, only tensors by name are weights")
        if tensor.layout != torch.strided or tensor.numel() * tensor.element_size() > largest:
            raise ModelError(f"{path}: {name} claims to be larger than the file")
    return dict(state)
