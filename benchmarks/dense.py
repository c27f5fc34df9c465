"""Speed of what dense localizers share, beside plain loops that say the same one segment at a time, in the same run.

    python benchmarks/dense.py ANNOTATIONS           unav100_annotations.json

Soft-NMS: 2,000 candidates a video; the loop does a few videos, from which its time for the whole test split is
extrapolated. Mean average precision: 100 predictions for each of the 2,167 test videos, all of them in the loop too.
Both ways must give equal results. In CPU seconds of one process, which other work on the machine hardly changes. The
networks are measured by `dense_networks.py`.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avel_cli.datasets import unav100
from avel_cli.metrics.detection import TIOUS, Rows, annotated, evaluate
from avel_cli.timeline.proposals import soft_nms

CANDIDATES = 2000
PER_VIDEO = 100


def seconds(function: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Least CPU time of a few calls, and the last result."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        result = function()
        times.append(time.process_time() - begin)
    return min(times), result


def candidates(rng: np.random.Generator, crowded: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segments, scores and labels of one video; a share of `crowded` falls in five classes, the rest in a hundred."""
    begin = rng.uniform(0, 200, CANDIDATES)
    segments = np.stack([begin, begin + rng.gamma(2, 10, CANDIDATES)], axis=1).astype(np.float32)
    labels = np.where(
        rng.random(CANDIDATES) < crowded, rng.integers(0, 5, CANDIDATES), rng.integers(0, 100, CANDIDATES)
    )
    return segments, rng.random(CANDIDATES, np.float32), labels


def plain_soft_nms(segments: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> list[float]:
    """Scores that Soft-NMS leaves, highest first, by loops over Python numbers."""
    kept = []
    for label in set(labels.tolist()):
        waiting = [[*segments[i].tolist(), float(scores[i])] for i in np.flatnonzero(labels == label)]
        for _ in range(PER_VIDEO):
            if not waiting:
                break
            best = max(range(len(waiting)), key=lambda i: waiting[i][2])
            begin, end, score = waiting.pop(best)
            kept.append(score)
            for row in waiting:
                shared = max(0.0, min(end, row[1]) - max(begin, row[0]))
                overlap = shared / (end - begin + row[1] - row[0] + 2e-6 - shared)
                row[2] *= np.exp(-overlap * overlap / 0.4)
            waiting = [row for row in waiting if row[2] >= 0.001]
    return sorted(kept, reverse=True)


def predictions(videos: Sequence[unav100.Video], rng: np.random.Generator) -> tuple[Rows, np.ndarray]:
    """For each video 100 noisy copies of its events, half of them with a class drawn at random; and their scores."""
    chosen = [rng.integers(0, len(video.labels), PER_VIDEO) for video in videos]
    segments = np.concatenate([video.segments[rows] for video, rows in zip(videos, chosen, strict=True)])
    labels = np.concatenate([video.labels[rows] for video, rows in zip(videos, chosen, strict=True)])
    segments += 0.3 * np.diff(segments) * rng.standard_normal(segments.shape)
    labels = np.where(rng.random(len(labels)) < 0.5, labels, rng.integers(0, 100, len(labels)))
    return Rows(np.repeat([video.name for video in videos], PER_VIDEO).tolist(), segments, labels), rng.random(
        len(labels)
    )


def plain_average(truth: Rows, found: Rows, scores: np.ndarray) -> float:
    """Mean average precision in percent, by loops over Python numbers."""
    annotations: dict[int, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for video, segment, label in zip(truth.videos, np.asarray(truth.segments).tolist(), truth.labels, strict=True):
        annotations[int(label)][video].append((*segment, len(annotations[int(label)][video])))
    by_class: dict[int, list[Any]] = defaultdict(list)
    for video, segment, label, score in zip(
        found.videos, np.asarray(found.segments).tolist(), found.labels, scores.tolist(), strict=True
    ):
        by_class[int(label)].append((score, video, *segment))
    precisions = []
    for label, events in annotations.items():
        rows = sorted(by_class[label], reverse=True)
        precisions += [_plain_ap(events, rows, tiou) for tiou in TIOUS.tolist()]
    return 100 * sum(precisions) / len(precisions)


def _plain_ap(events: dict[str, list[Any]], rows: list[Any], threshold: float) -> float:
    taken: set[tuple[str, int]] = set()
    hits, precisions = [], []
    for _, video, begin, end in rows:
        best, match = threshold, None
        for b, e, i in events.get(video, ()):
            if (video, i) in taken:
                continue
            shared = max(0.0, min(end, e) - max(begin, b))
            overlap = shared / (end - begin + e - b - shared) if shared else 0.0
            if overlap >= best:
                best, match = overlap, (video, i)
        hits.append(match is not None)
        if match is not None:
            taken.add(match)
        precisions.append(len(taken) / len(hits))
    area, highest = 0.0, 0.0
    for hit, precision in zip(reversed(hits), reversed(precisions), strict=True):
        highest = max(highest, precision)
        area += highest * hit
    return area / sum(map(len, events.values()))


def compare_soft_nms(name: str, crowded: float, videos: int, looped: int) -> None:
    """One line: seconds for `videos` videos, of which the loop does `looped`."""
    rng = np.random.default_rng(0)
    drawn = [candidates(rng, crowded) for _ in range(looped)]
    ours, kept = seconds(lambda: [soft_nms(*video).scores for video in drawn], repeats=3)
    loop, expected = seconds(lambda: [plain_soft_nms(*video) for video in drawn])
    for a, b in zip(kept, expected, strict=True):
        np.testing.assert_allclose(a[: len(b)][:PER_VIDEO], b[:PER_VIDEO], rtol=1e-4)
    print(f"Soft-NMS, {name}", f"{ours / looped * 1e3:.2f} ms", f"{ours / looped * videos:.1f}", sep="\t", end="\t")
    print(f"{loop / looped * videos:.0f} (from {looped} videos)", f"{loop / ours:.0f}", sep="\t")


def compare_evaluation(videos: Sequence[unav100.Video]) -> None:
    """One line: seconds for the whole split."""
    truth = annotated(videos)
    found, scores = predictions(videos, np.random.default_rng(0))
    ours, result = seconds(lambda: evaluate(truth, found, scores), repeats=3)
    loop, average = seconds(lambda: plain_average(truth, found, scores))
    np.testing.assert_allclose(result.average, average, rtol=1e-9)
    print(f"mean average precision, {len(scores)} predictions", "", f"{ours:.2f}", sep="\t", end="\t")
    print(f"{loop:.1f}", f"{loop / ours:.0f}", sep="\t")


def main() -> None:
    """Measure both, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--looped", type=int, default=3, help="videos that the plain Soft-NMS does")
    arguments = parser.parse_args()
    videos = unav100.read_annotations(arguments.annotations).of("test")
    print("what", "a video", "avel, s", "plain loop, s", "ratio", sep="\t")
    compare_soft_nms("100 classes", 0.0, len(videos), arguments.looped)
    compare_soft_nms("80 % in 5 classes", 0.8, len(videos), arguments.looped)
    compare_evaluation(videos)


if __name__ == "__main__":
    main()
