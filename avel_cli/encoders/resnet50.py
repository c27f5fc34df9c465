"""`resnet50`: maps of ResNet-50 (arXiv 1512.03385), the picture half of CACE-Net's efficient encoders.

The weights are torchvision's second ones for ImageNet; CACE-Net's own, tuned on AVE, were not published.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.transforms.functional import center_crop, normalize

from avel_cli.encoders.frame_maps import FRAMES_PER_SECOND, FrameMaps
from avel_cli.encoders.frames import resize

SHORT_SIDE, CROP = 232, 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet in 0..1: red, green, blue


@dataclass(frozen=True)
class ResNet50Config:
    """How many frames of each second are averaged."""

    frames_per_second: int = FRAMES_PER_SECOND


class ResNet50(FrameMaps):
    """Maps `[7, 7, 2048]` of each second: the last stage before the pooling, from the middle of the frame."""

    Config = ResNet50Config

    def __init__(self, config: ResNet50Config) -> None:
        super().__init__(config.frames_per_second, channels=2048)
        self.config = config
        stages = OrderedDict(resnet50().named_children())
        del stages["avgpool"], stages["fc"]
        self.features = nn.Sequential(stages)

    def picture(self, frame: Tensor) -> Tensor:
        """The middle of the frame, normalised over ImageNet: float32 `[1, 3, 224, 224]`."""
        height, width = frame.shape[1:3]
        sides = (SHORT_SIDE * side // min(height, width) for side in (height, width))
        middle = center_crop(resize(frame, *sides, antialias=True), [CROP, CROP])
        normal: Tensor = normalize(middle.float() / 255, MEAN, STD)
        return normal

    @staticmethod
    def from_published(*states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All but the classifier of torchvision's file, or of timm's copy of it."""
        [state] = states
        return {f"features.{name}": tensor for name, tensor in state.items() if not name.startswith("fc.")}
