"""Clips with one category: ten segments at once, in windows that overlap by half, averaged; and AVE's protocol."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from avel_cli.localizers.dense.windows import Rows
from avel_cli.metrics.clips import AVEFigures, decode_weak, evaluate
from avel_cli.metrics.segments import decode_segments
from avel_cli.tasks.base import Data, Decoding, Found
from avel_cli.timeline import segments
from avel_cli.timeline.kept import of_clips
from avel_cli.timeline.segments import SegmentScores

WINDOW = 10  # segments that an AVE localizer sees at once
HOP = 5
TOGETHER = 64  # clips that a network sees at once in figures


class Clips:
    """CACE-Net's and CCLN's answer: the category of each window, and the segments of it that hold an event."""

    @torch.inference_mode()
    def decode(self, network: nn.Module, blocks: Iterable[Rows], how: Decoding) -> Found:
        """See `tasks.base.Task`."""
        scores = segment_scores(network, blocks, len(how.labels))
        events = segments.decode(
            scores,
            how.labels,
            how.grid,
            count=how.grid.count(how.duration),
            duration=how.duration,
            threshold=how.threshold,
            min_score=how.min_score,
            min_duration=how.min_duration,
            keep=how.keep,
            top_k=how.top_k,
        )
        real = (values[: how.grid.count(how.duration)] for values in scores.means())
        return Found(events, _best(scores, how.labels), scores=how.kept(of_clips, *real, how.labels, how.threshold))

    def figures(self, network: Any, data: Data, part: str) -> AVEFigures:
        """All figures of AVE's protocol; of a weakly supervised network by both readings of its gate."""
        clips = data.parts[part]
        answers, official = predict(network, clips)
        figures = evaluate(answers, truth(clips), data.labels)
        if official is None:
            return figures
        return replace(figures, official=evaluate(official, truth(clips), data.labels).accuracy)


def truth(clips: Any) -> Tensor:
    """Class index of each segment, `[N, 10]` int64; -1 for what only fills a clip, which no figure counts."""
    labels, filled = clips.labels.argmax(dim=-1), getattr(clips, "filled", None)  # of `datasets.folder.Folder` alone
    labels = labels if filled is None else labels.masked_fill(filled, -1)
    return cast(Tensor, labels)


@torch.inference_mode()
def predict(network: Any, clips: Any) -> tuple[Tensor, Tensor | None]:
    """Class index of each segment, `[N, 10]` int64 on the CPU; the number of categories stands for background.

    Args:
        network: in evaluation mode.
        clips: with `batch(index)` as `datasets.ave.AVE` has it.

    Returns:
        What the network says, and for a weakly supervised one the published reading of the same outputs.
    """
    like = next(network.parameters())
    predicted, official = [], []
    for rows in torch.arange(len(clips)).split(TOGETHER):
        sample = clips.batch(rows)
        output = network(sample.audio.to(like), sample.visual.to(like))
        if network.supervision == "full":
            predicted.append(decode_segments(output.event_logits, output.category_logits).cpu())
            continue
        gate = output.event_logits.sigmoid()
        predicted.append(decode_weak(gate, output.clip_logits).cpu())
        official.append(decode_weak(gate, output.clip_logits, "official").cpu())
    return torch.cat(predicted), torch.cat(official) if official else None


def _best(scores: SegmentScores, labels: tuple[str, ...]) -> tuple[str, float] | None:
    """The label and segment with the highest product of event and class probability."""
    probabilities, classes = scores.means()
    if not len(probabilities):
        return None
    products = probabilities[:, None] * classes
    segment, label = np.unravel_index(products.argmax(), products.shape)
    return labels[label], float(products[segment, label])


def segment_scores(localizer: Any, features: Iterable[Rows], num_classes: int) -> SegmentScores:
    """What a localizer of ten segments says of a file, in windows that overlap by half."""
    windows = Windows(localizer, SegmentScores(num_classes))
    for rows in features:
        windows.add(rows.audio, rows.visual, rows.present)
    windows.finish()
    return windows.scores


class Windows:
    """Keeps the last ten segments and shows them to the localizer every five; the last window ends with the file."""

    def __init__(self, localizer: Any, scores: SegmentScores) -> None:
        self.localizer, self.scores = localizer, scores
        self.segments = 0
        self._next = WINDOW
        self._audio: list[Tensor] = []
        self._visual: list[Tensor] = []
        self._present: list[bool] = []

    def add(self, audio: Tensor, visual: Tensor, present: Tensor) -> None:
        """Take in features of the next segments: audio `[n, D_a]`, visual `[n, H, W, D_v]`, presence `[n]`."""
        for heard, seen, there in zip(audio, visual, present.tolist(), strict=True):
            for kept, new in ((self._audio, heard), (self._visual, seen), (self._present, there)):
                kept.append(new)
                del kept[:-WINDOW]
            self.segments += 1
            if self.segments == self._next:
                self._look()

    def finish(self) -> None:
        """Look at what no window has covered yet; a file shorter than a window is padded with zeros."""
        if self.segments and self.segments != self._next - HOP:
            self._look()

    def _look(self) -> None:
        audio, visual = torch.stack(self._audio), torch.stack(self._visual)
        missing = WINDOW - len(audio)
        audio = torch.cat([audio, audio.new_zeros(missing, *audio.shape[1:])])
        visual = torch.cat([visual, visual.new_zeros(missing, *visual.shape[1:])])
        output = self.localizer(audio.unsqueeze(0), visual.unsqueeze(0))
        event_logits, category_logits = output.decodable
        events = event_logits[0].sigmoid()[: len(self._present)].cpu().numpy()
        classes = category_logits[0].softmax(-1).cpu().numpy()
        self.scores.add(self.segments - len(self._present), events * np.array(self._present), classes)
        self._next = self.segments + HOP
