"""What a localizer says of clips with one category each, and how good that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from avel_cli.datasets.ave import AVESample
from avel_cli.errors import UsageError
from avel_cli.metrics.clips import AVEFigures, decode_weak, evaluate
from avel_cli.metrics.segments import decode_segments, segment_accuracy

TOGETHER = 64  # clips that a network sees at once

Forward = Callable[[Tensor, Tensor], Any]  # audio and visual features → the output of a network
Task = Literal["full", "weak"]
Reading = Literal["gate", "official"]


class Clips(Protocol):
    """Clips with their features; attributes as those of `datasets.ave.AVE`."""

    names: tuple[str, ...]
    labels: Tensor

    def __len__(self) -> int:
        """How many there are."""
        ...

    def batch(self, index: Tensor) -> AVESample:
        """Some of them, stacked."""
        ...


def truth(clips: Clips) -> Tensor:
    """Class index of each segment, `[N, 10]` int64; -1 for what only fills a clip, which no figure counts."""
    labels, filled = clips.labels.argmax(dim=-1), getattr(clips, "filled", None)  # of `datasets.folder.Folder` alone
    return labels if filled is None else labels.masked_fill(filled, -1)


@torch.inference_mode()
def predict(network: Forward, clips: Clips, task: Task = "full", reading: Reading = "gate") -> Tensor:
    """Class index of each segment, `[N, 10]` int64 on the CPU; the number of categories stands for background.

    Args:
        network: in evaluation mode; it takes care of devices.
        clips: what to look at.
        task: `weak` decodes as `metrics.clips.decode_weak` describes.
        reading: of the weak protocol.
    """
    predicted = []
    for rows in torch.arange(len(clips)).split(TOGETHER):
        sample = clips.batch(rows)
        output = network(sample.audio, sample.visual)
        if task == "full":
            labels = decode_segments(output.event_logits, output.category_logits)
        else:
            labels = decode_weak(output.event_logits.sigmoid(), output.clip_logits, reading)
        predicted.append(labels.cpu())
    return torch.cat(predicted)


def accuracy(network: Forward, clips: Clips, task: Task = "full") -> float:
    """Segment accuracy in percent."""
    return segment_accuracy(predict(network, clips, task), truth(clips))


def figures(network: Forward, clips: Clips, task: Task = "full", reading: Reading = "gate") -> AVEFigures:
    """All figures of the protocol."""
    return evaluate(predict(network, clips, task, reading), truth(clips), clips.names)


def check_widths(config: Any, clips: Clips, what: str) -> None:
    """Whether the features are those that a network of this configuration was made for.

    Raises:
        UsageError: if they have other widths, or the labels are others in number.
    """
    sample = clips.batch(torch.tensor([0]))
    here = (sample.audio.shape[-1], sample.visual.shape[-1], len(clips.names))
    wanted = (config.audio_dim, config.visual_dim, config.num_classes)
    if here != wanted:
        raise UsageError(
            f"{what} is for sound features {wanted[0]} wide, pictures {wanted[1]} wide and {wanted[2]} labels; "
            f"the data has {here[0]}, {here[1]} and {here[2]}"
        )


def check_labels(labels: Sequence[str], clips: Clips, what: str) -> None:
    """Whether the labels of a network are those of the data, in the same order.

    Raises:
        UsageError: if they are not; the text names the first difference.
    """
    for number, (wanted, here) in enumerate(zip_longest(labels, clips.names), 1):
        if wanted != here:
            raise UsageError(
                f"{what} knows other labels than the data: label {number} is {wanted!r} there, {here!r} here"
            )
