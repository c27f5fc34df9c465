"""Cross-modal localization: where in one modality the event of the other is. Of files, it finds no events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from avel_cli.errors import UsageError
from avel_cli.localizers.dense.windows import Rows
from avel_cli.metrics.matching import (
    CrossModalFigures,
    Embed,
    cross_modal_accuracy,
    position_baselines,
    segment_by_segment,
)
from avel_cli.tasks.base import Data, Decoding, Found


class Matching:
    """The answer of CCLN's branch."""

    def decode(self, network: nn.Module, blocks: Iterable[Rows], how: Decoding) -> Found:
        """Of no use.

        Raises:
            UsageError: always.
        """
        raise UsageError("these weights match sound and pictures and find no events; avel eval --task cross-modal")

    def figures(self, network: Any, data: Data, part: str) -> CrossModalFigures:
        """Windows that are found exactly, each segment being embedded by itself, and what position alone finds."""
        pairs = data.parts[part]
        events = pairs.labels < pairs.num_classes
        embeds = [on_cpu(network, embed) for embed in (network.embed_audio, network.embed_visual)]
        accuracy = cross_modal_accuracy(pairs.audio, pairs.visual, events, *embeds)
        return CrossModalFigures("cross-modal localization", True, accuracy, position_baselines(events))


def on_cpu(network: nn.Module, embed: Embed, alone: bool = True) -> Embed:
    """An embedding of features on the CPU by a network that may be elsewhere; `alone`: each segment by itself."""
    inner = segment_by_segment(embed) if alone else embed
    device = next(network.parameters()).device
    return lambda features: inner(features.to(device)).cpu()
