"""The encoders by name, and how one is built from its weights file. Importing this loads no torch."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avel_cli import checkpoint, hub
from avel_cli.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

ENCODERS = {
    "starter-sound": "avel_cli.encoders.starter_sound:StarterSound",
    "starter-picture": "avel_cli.encoders.starter_picture:StarterPicture",
}


def load(name: str, path: Path | None = None) -> Any:
    """The encoder `name` in evaluation mode, with the weights in `path` or those at hand.

    Raises:
        ModelError: if the name is unknown or the weights are missing, damaged or of another encoder.
    """
    if name not in ENCODERS:
        raise ModelError(f'unknown encoder "{name}"; avel has {", ".join(ENCODERS)}')
    path = path or hub.encoder_file(name)
    header = checkpoint.read_header(path)
    if header.get("kind") != "encoder" or header.get("network") != name:
        raise ModelError(f"{path}: holds {header.get('network')}, not the encoder {name}")
    module_name, _, class_name = ENCODERS[name].partition(":")
    module = import_module(module_name)
    config = checkpoint.config(getattr(module, f"{class_name}Config"), path)
    encoder: nn.Module = getattr(module, class_name)(config)
    checkpoint.load_into(encoder, path)
    return encoder.eval().requires_grad_(False)
