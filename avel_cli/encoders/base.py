"""What every encoder is: units of sound or picture in, one feature for each step of a regular grid out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from avel_cli.timeline.grid import Grid


class Encoder(nn.Module):
    """Features of sound or pictures on a regular grid.

    A *unit* is a sample (sound) or a frame (picture). Feature `k` sees the units
    `[k * stride - context, k * stride - context + window)`; it stands for those of them that are not context.
    Work that concerns one unit alone belongs in `prepare`, which sees each unit once however much windows overlap;
    everything else belongs in `encode`.

    Attributes:
        modality: what goes in.
        averages: a feature is the mean over the frames of a second, so that fewer frames change it little; the
            configuration has `frames_per_second`.
        rate: units a second.
        window: units that a feature sees.
        context: of these, units before and again after those that the feature stands for; before the file there is
            silence.
        stride: units from one feature to the next.
        ahead: units after a unit that `prepare` needs to see as well; 1 for optical flow.
        shape: of one feature.
        size: height and width to which FFmpeg brings the frames, averaging; None leaves them as they are.
        together: windows that are encoded at once, for the sake of memory.
        has_constants: whether it holds tensors that are computed and not loaded. A network that does not can be made
            without memory and filled while it is loaded, which is worth it for very large ones.
        Config: frozen dataclass of its sizes, which weights files carry.
        config: what it was built from.
        resampler: sound comes at `rate` from FFmpeg, or from the Kaiser filter that published features used.
    """

    Config: ClassVar[type]
    has_constants: ClassVar[bool] = True
    config: Any
    modality: ClassVar[Literal["sound", "picture"]]
    averages: ClassVar[bool] = False
    rate: int
    window: int
    stride: int
    context: int = 0
    ahead: int = 0
    together: int = 10
    shape: tuple[int, ...]
    size: tuple[int, int] | None = None
    resampler: Literal["ffmpeg", "kaiser"] = "ffmpeg"

    @property
    def grid(self) -> Grid:
        """Where the features lie in time, without their context."""
        return Grid(stride=self.stride / self.rate, window=(self.window - 2 * self.context) / self.rate)

    def count(self, duration: float) -> int:
        """How many features a file of `duration` seconds has, at least one."""
        return self.grid.count(duration - self.ahead / self.rate)

    def prepare(self, units: Tensor) -> Tensor:
        """What `encode` wants of each unit: `[n, ...]` from `[n + ahead, ...]`.

        Args:
            units: float32 `[n + ahead]` in -1..1 (sound), or RGB uint8 `[n + ahead, H, W, 3]` (pictures).
        """
        return units

    def encode(self, windows: Tensor) -> Tensor:
        """Features `[N, *shape]` of windows `[N, window, ...]` of what `prepare` gave."""
        raise NotImplementedError

    @staticmethod
    def from_published(*states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of this encoder from those of the published files, in the order of the catalogue.

        Names are mapped and what the network never uses is dropped; whether names and shapes then fit is for the
        caller to check.
        """
        raise NotImplementedError
