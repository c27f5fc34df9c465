"""Files laid out like the published ones, with weights that anybody can make: for the way there, never for results."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import vgg19

from avel_cli.encoders.vggish import VGGish, VGGishConfig
from tests.localizers.cace_net_reference import PARITY, seeded_weight


def _alive(module: nn.Module) -> dict[str, Tensor]:
    """Weights under which signals neither die out nor explode."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)
        else:
            nn.init.zeros_(parameter)
    return module.state_dict()


def write_vgg19(path: Path) -> Path:
    """Oxford's file: the convolutions as in torchvision, and a classifier with indices of its own."""
    convolutions = {f"features.{name}": tensor for name, tensor in _alive(vgg19().features).items()}
    torch.save({**convolutions, "classifier.1.weight": torch.zeros(1), "classifier.4.weight": torch.zeros(1)}, path)
    return path


def write_vggish(path: Path) -> Path:
    """The torch port's file."""
    torch.save(_alive(VGGish(VGGishConfig())), path)
    return path


def write_cace_net(path: Path) -> Path:
    """The authors' checkpoint: float64, named as parallel training names it."""
    entries = json.loads((PARITY / "cace-net.state_dict.json").read_text())["params"]
    torch.save({f"module.{entry['name']}": seeded_weight(entry).double() for entry in entries}, path)
    return path
