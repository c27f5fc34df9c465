"""UnAV-100's published figures, and answers that need no model, to stand beside measured ones.

Figures of LoCo's own paper are not among them: no source that could be read states them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from avel_cli.datasets.unav100 import Video
from avel_cli.evaluation.detection import DetectionResult, Floats, Rows, annotated, evaluate


class Published(NamedTuple):
    """Mean average precision in percent on the test split, as its source gives it.

    Attributes:
        map: at tIoU 0.5, 0.6, 0.7, 0.8 and 0.9.
        average: over 0.1 to 0.9.
    """

    system: str
    features: str
    map: tuple[float, float, float, float, float]
    average: float
    source: str


_TABLE_4 = ("I3D and VGGish", "DEL, arXiv 2506.23196, Table 4")
PUBLISHED = tuple(
    Published(system, features, (first, second, third, fourth, fifth), average, source)
    for system, (features, source), (first, second, third, fourth, fifth, average) in (
        ("VSGN", _TABLE_4, (24.5, 20.2, 15.9, 11.4, 6.8, 24.1)),
        ("TadTR", _TABLE_4, (30.4, 27.1, 23.3, 19.4, 14.3, 29.4)),
        ("ActionFormer", _TABLE_4, (43.5, 39.4, 33.4, 27.3, 17.9, 42.2)),
        ("UnAV", _TABLE_4, (50.6, 45.8, 39.8, 32.4, 21.1, 47.8)),
        ("DEL", _TABLE_4, (53.4, 48.1, 42.6, 35.6, 26.9, 51.1)),
        ("DEL", ("DINOv2 and MERT", "DEL, arXiv 2506.23196, Table 7"), (55.0, 49.7, 44.1, 37.4, 28.4, 52.7)),
    )
)


def reference_points(videos: Sequence[Video]) -> dict[str, DetectionResult]:
    """What two answers come to that know the classes of each video; on UnAV-100's test split 29.0 and 45.4 on average.

    All scores are equal, and of these the later row counts first; another order gives the first answer 27.7.

    Args:
        videos: annotated ones; the first answer calls the whole of a video each of its classes, the second only what
            lies between the begin of its first and the end of its last event of the class.
    """

    def answer(span: Callable[[Video, Floats], tuple[float, float]]) -> DetectionResult:
        rows = [
            (video.name, span(video, video.segments[video.labels == label]), label)
            for video in videos
            for label in np.unique(video.labels).tolist()
        ]
        names, segments, labels = zip(*rows, strict=True)
        return evaluate(annotated(videos), Rows(names, segments, labels), np.ones(len(rows)))

    return {
        "right classes, whole video": answer(lambda video, _: (0.0, video.duration)),
        "right classes, from first to last": answer(lambda _, events: (events[:, 0].min(), events[:, 1].max())),
    }
