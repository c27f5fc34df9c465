"""`vgg19`: the picture features of AVE, the last pooled maps of VGG-19 (arXiv 1409.1556, configuration E).

The network is published in two sets of weights that share their names and nothing else. AVE's features, and every
checkpoint trained on them, were made with those from Oxford, which see grey levels in the order blue, green, red.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torchvision.models.vgg import cfgs, make_layers
from torchvision.transforms.functional import normalize

from avel_cli.encoders.frame_maps import FRAMES_PER_SECOND, FrameMaps
from avel_cli.encoders.frames import resize
from avel_cli.errors import ModelError

SIDE = 224  # to which frames are pressed, whatever their form
OXFORD_MEAN = (103.939, 116.779, 123.68)  # of ImageNet, in grey levels: blue, green, red
TORCHVISION_MEAN, TORCHVISION_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # red, green, blue in 0..1
TORCHVISION_NAMES = {"classifier.0.weight", "pre_logits.fc1.weight"}  # as torchvision and timm publish them


@dataclass(frozen=True)
class VGG19Config:
    """How many frames of each second are averaged; AVE's features have 16."""

    frames_per_second: int = FRAMES_PER_SECOND


@dataclass(frozen=True)
class VGG19TorchvisionConfig(VGG19Config):
    """As for `vgg19`."""


class VGG19(FrameMaps):
    """Maps `[7, 7, 512]` of each second, with the weights from Oxford (`vgg19-d01eb7cb.pth`)."""

    Config = VGG19Config

    def __init__(self, config: VGG19Config) -> None:
        super().__init__(config.frames_per_second, channels=512)
        self.config = config
        self.features = make_layers(cfgs["E"])

    def picture(self, frame: Tensor) -> Tensor:
        """Blue, green and red in grey levels, less the mean of ImageNet: float32 `[1, 3, 224, 224]`."""
        levels = resize(frame, SIDE, SIDE, antialias=False).float()
        centred: Tensor = normalize(levels.flip(1), OXFORD_MEAN, (1.0, 1.0, 1.0))
        return centred

    @staticmethod
    def from_published(*states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The convolutions of Oxford's file; its classifier takes no part.

        Raises:
            ModelError: if the file holds torchvision's weights, which fit and give other features.
        """
        [state] = states
        if not TORCHVISION_NAMES.isdisjoint(state):
            raise ModelError(
                "these are torchvision's weights of VGG-19, not those AVE's features were made with; "
                "the encoder vgg19-torchvision takes them"
            )
        return convolutions(state)


class VGG19Torchvision(VGG19):
    """The same network with torchvision's weights and preprocessing. AVE's features were **not** made with it.

    For localizers trained on its own features; to one trained on AVE's, these mean nothing.
    """

    Config = VGG19TorchvisionConfig

    def picture(self, frame: Tensor) -> Tensor:
        """Red, green and blue, normalised over ImageNet: float32 `[1, 3, 224, 224]`."""
        levels = resize(frame, SIDE, SIDE, antialias=False).float()
        normal: Tensor = normalize(levels / 255, TORCHVISION_MEAN, TORCHVISION_STD)
        return normal

    @staticmethod
    def from_published(*states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The convolutions of torchvision's file, or of timm's copy of it."""
        [state] = states
        return convolutions(state)


def convolutions(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What of a published state dict belongs to the convolutions."""
    return {name: tensor for name, tensor in state.items() if name.startswith("features.")}


def ave_frame_indices(frames: int, seconds: int = 10) -> list[int]:
    """Which of `frames` decoded frames AVE's features are made of: 16 for each of `seconds`, one second after another.

    The frame rate plays no part: second `l` begins at frame `l * step` with `step = floor(frames / seconds)`, and its
    frame `i` is number `floor(l * step + i * step / 16)`. What is left over at the end is not seen.
    """
    step = frames // seconds
    return [index * step // FRAMES_PER_SECOND for index in range(FRAMES_PER_SECOND * seconds)]
