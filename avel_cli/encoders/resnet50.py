"""`resnet50`: maps of ResNet-50 (arXiv 1512.03385), the picture half of CACE-Net's efficient encoders.

The weights are torchvision's second ones for ImageNet; CACE-Net's own, tuned on AVE, were not published.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, resnet50

from avel_cli.encoders.frame_maps import FRAMES_PER_SECOND, FrameMaps


@dataclass(frozen=True)
class ResNet50Config:
    """How many frames of each second are averaged."""

    frames_per_second: int = FRAMES_PER_SECOND


class ResNet50(FrameMaps):
    """Maps `[7, 7, 2048]` of each second: the last stage before the pooling, from the middle of the frame."""

    def __init__(self, config: ResNet50Config) -> None:
        super().__init__(config.frames_per_second, channels=2048)
        self.config = config
        stages = OrderedDict(resnet50().named_children())
        del stages["avgpool"], stages["fc"]
        self.features = nn.Sequential(stages)
        self.transform = ResNet50_Weights.IMAGENET1K_V2.transforms()

    def picture(self, frame: Tensor) -> Tensor:
        """The short side at 232, its middle 224 x 224, normalised over ImageNet; Pillow agrees within a grey level."""
        picture: Tensor = self.transform(frame.movedim(-1, 1))
        return picture

    @staticmethod
    def from_published(*states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All but the classifier of torchvision's file, or of timm's copy of it."""
        [state] = states
        return {f"features.{name}": tensor for name, tensor in state.items() if not name.startswith("fc.")}
