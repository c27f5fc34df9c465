"""Files of a run that can be gone on with: whole or absent, with a checksum, and read without trust."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from avel_cli.errors import SetupError


def write(path: Path, state: object) -> None:
    """Write `state` with `torch.save`; the file appears whole or not at all.

    Raises:
        SetupError: if it cannot be written, for want of room for one.
    """
    part = path.with_name(f".avel-{uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as stream:
            torch.save(state, stream)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # RuntimeError: what torch makes of a full disk
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "is the disk full?"
        raise SetupError(f"{path}: cannot be written: {reason}") from None
    finally:
        part.unlink(missing_ok=True)


def read(path: Path, **kinds: type) -> Any:
    """What `write` wrote; its checksums (one for each tensor, of the archive that `torch.save` makes) are compared.

    Args:
        path: the file.
        kinds: the keys that a dict must have, with the types of their values; if none, anything is taken.

    Raises:
        SetupError: if it is damaged or holds something else.
    """
    try:
        if not path.is_file():
            raise ValueError("no file")
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise ValueError("a checksum differs")
        state = torch.load(path, weights_only=True, map_location="cpu")
        if kinds and not _fits(state, kinds):
            raise ValueError("other contents")
    except Exception:  # a damaged or hostile archive can raise anything at all
        raise SetupError(f"{path}: damaged; delete it to begin anew without --resume") from None
    return state


def _fits(state: object, kinds: Mapping[str, type]) -> bool:
    return isinstance(state, dict) and all(isinstance(state.get(key), kind) for key, kind in kinds.items())
