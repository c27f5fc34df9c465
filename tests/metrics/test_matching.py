"""Cross-modal localization: the metric beside the steps of the published script, its lists, and position alone."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from avel_cli.datasets.ave import Annotations, read_annotations, read_split
from avel_cli.datasets.ave_matching import read_match_split
from avel_cli.errors import SetupError
from avel_cli.localizers.ccln.network import CCLN, CCLNConfig
from avel_cli.metrics.matching import (
    CrossModalAccuracy,
    PositionBaselines,
    Window,
    cross_modal_accuracy,
    overlap,
    position_baselines,
    rank_windows,
    segment_by_segment,
    window_costs,
)

EVENTS = torch.tensor([[0, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1], [0] * 6]).bool()


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_events(count: int) -> Tensor:
    rng = np.random.default_rng(0)
    spans = [(start := int(rng.integers(0, 10)), int(rng.integers(start + 1, 11))) for _ in range(count)]
    return torch.tensor([[start <= place < end for place in range(10)] for start, end in spans])


def as_published(audio: np.ndarray, visual: np.ndarray, labels: np.ndarray) -> CrossModalAccuracy:
    """The steps of the published script, on embeddings: query segments by place, smallest sum, first of equals."""

    def distance(x: np.ndarray, y: np.ndarray) -> np.float32:
        return np.sqrt(np.maximum(np.square(x - y).sum(), np.float32(1e-7)))

    count = heard_right = seen_right = 0
    for sound, picture, label in zip(audio, visual, labels, strict=True):
        if label.sum() == len(label):
            continue
        count += 1
        places = np.flatnonzero(label)
        starts = range(len(label) - len(places) + 1)
        by_sound = [sum(distance(picture[n + i], sound[p]) for i, p in enumerate(places)) for n in starts]
        by_picture = [sum(distance(picture[p], sound[n + i]) for i, p in enumerate(places)) for n in starts]
        heard_right += np.argmin(by_sound) == places[0]
        seen_right += np.argmin(by_picture) == places[0]
    return CrossModalAccuracy(heard_right * 100 / count, seen_right * 100 / count, count)


def test_the_metric_is_that_of_the_published_script() -> None:
    events = random_events(200)
    common = draw(1, 200, 10, 8) * events.unsqueeze(2)
    audio, visual = common + 2 * draw(2, 200, 10, 8), common + 2 * draw(3, 200, 10, 8)
    ours = cross_modal_accuracy(audio, visual, events)
    assert ours == as_published(audio.numpy(), visual.numpy(), events.numpy())
    assert 0 < ours.a2v != ours.v2a < 100
    assert ours.mean == (ours.a2v + ours.v2a) / 2


def test_each_direction_asks_with_its_own_modality() -> None:
    """The picture of an event is all over the clip, its sound only where it is: A2V is lost in ties, V2A is not."""
    events = torch.tensor([[False, False, True, True, False]])
    visual = torch.ones(1, 5, 4)
    audio = torch.where(events.unsqueeze(2), 1.0, -1.0).expand(-1, -1, 4)
    assert cross_modal_accuracy(audio, visual, events) == CrossModalAccuracy(0, 100, 1)
    assert cross_modal_accuracy(visual, audio, events) == CrossModalAccuracy(100, 0, 1)


def test_clips_without_a_question_are_left_out() -> None:
    features = draw(1, 5, 6, 4)
    assert cross_modal_accuracy(features, features, EVENTS) == CrossModalAccuracy(100, 100, 3)
    with pytest.raises(ValueError, match="nothing to be found"):
        cross_modal_accuracy(features[1:2], features[1:2], EVENTS[1:2])


def test_position_baselines_are_counted_over_the_same_clips() -> None:
    random, first, last = position_baselines(EVENTS)
    assert random == pytest.approx(100 * (1 / 5 + 1 / 3 + 1 / 6) / 3)
    assert (first, last) == (pytest.approx(100 / 3), pytest.approx(100 / 3))


@pytest.mark.parametrize("value", [0.0, 0.1, 3.7])
def test_features_that_say_nothing_score_what_the_first_window_scores(value) -> None:
    events, nothing = random_events(100), torch.full((100, 10, 8), value)
    accuracy = cross_modal_accuracy(nothing, -nothing, events)
    assert accuracy.a2v == accuracy.v2a == pytest.approx(position_baselines(events).first)


def test_costs_are_sums_of_distances_and_windows_come_ranked() -> None:
    query, target = draw(1, 3, 8), draw(2, 7, 8)
    costs = [sum((query[i] - target[n + i]).norm().item() for i in range(3)) for n in range(5)]
    assert window_costs(query, target).tolist() == pytest.approx(costs, rel=1e-5)
    windows = rank_windows(query, target)
    assert [w.start for w in windows] == sorted(range(5), key=costs.__getitem__)
    assert all(w.end == w.start + 3 for w in windows)
    assert [w.distance for w in windows] == pytest.approx([c / 3 for c in sorted(costs)], rel=1e-5)


def test_the_earliest_of_equal_windows_comes_first_and_a_distance_has_a_floor() -> None:
    target = torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    windows = rank_windows(torch.tensor([[0.0]]), target)
    assert [w.start for w in windows] == [1, 3, 0, 2]
    assert windows[0] == Window(1, 2, pytest.approx(1e-7**0.5, rel=1e-5))
    assert window_costs(torch.tensor([[1e-5]]), target[1:2]) == window_costs(torch.tensor([[0.0]]), target[1:2])


@pytest.mark.parametrize("length", [0, 5])
def test_a_query_without_a_window_is_refused(length) -> None:
    with pytest.raises(ValueError, match=f"a query of {length} segments has no window in 4"):
        rank_windows(torch.zeros(length, 2), torch.zeros(4, 2))


def places(features: Tensor) -> Tensor:
    """An embedding that knows nothing but where a segment is in what it is given."""
    return torch.arange(features.shape[1], dtype=torch.float32).expand(len(features), -1).unsqueeze(2)


def test_an_embedding_never_sees_more_of_a_query_than_the_query() -> None:
    """Else this one would find every event; as it is, each query seems to be the beginning."""
    events, features = random_events(100), torch.zeros(100, 10, 1)
    cheat = places(features)
    assert cross_modal_accuracy(cheat, cheat, events).mean == 100
    first = position_baselines(events).first
    assert cross_modal_accuracy(features, features, events, places, places).mean == pytest.approx(first)


def test_segment_by_segment_takes_the_place_from_an_embedding_and_nothing_else() -> None:
    assert not segment_by_segment(places)(torch.zeros(2, 4, 3, 3, 5)).any()
    torch.manual_seed(0)
    network = CCLN(CCLNConfig(6, 6, 3, 16)).eval()
    audio = draw(1, 2, 4, 6)
    alone = segment_by_segment(network.embed_audio)(audio)
    assert alone.shape == (2, 4, 8)
    torch.testing.assert_close(alone[:, 2:3], network.embed_audio(audio[:, 2:3]))
    assert not torch.allclose(alone, network.embed_audio(audio), atol=1e-5)


def test_a_network_is_scored_on_maps_and_sounds() -> None:
    torch.manual_seed(0)
    network = CCLN(CCLNConfig(6, 6, 3, 16)).eval()
    embed = segment_by_segment(network.embed_audio), segment_by_segment(network.embed_visual)
    accuracy = cross_modal_accuracy(draw(1, 5, 6, 6), draw(2, 5, 6, 2, 2, 6), EVENTS, *embed)
    assert accuracy.clips == 3 and 0 <= accuracy.mean <= 100


@pytest.mark.parametrize("rows", [[], [0, 5], [-1, 2], [1, 1]])
def test_a_list_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, rows) -> None:
    with h5py.File(tmp_path / "test_order_match.h5", "w") as stream:
        stream["order"] = np.asarray(rows, np.int64)
    with pytest.raises(SetupError, match=r"test_order_match.h5: not \d different rows of 5 clips; copy") as refusal:
        read_match_split(tmp_path, "test", 5)
    assert "\n" not in str(refusal.value)


@pytest.fixture(scope="module")
def ave(shared: Path) -> tuple[Path, Annotations]:
    folder = shared / "data" / "ave"
    return folder, Annotations(read_annotations(folder / "Annotations.txt"))


@pytest.mark.shared
def test_on_the_published_list_position_alone_gives_the_known_figures(ave) -> None:
    folder, annotations = ave
    rows = read_match_split(folder, "test", len(annotations.clips))
    events = annotations.events[rows]
    assert len(rows) == 402 and not events.all(dim=1).any()
    assert position_baselines(events) == PositionBaselines(*(pytest.approx(x, abs=0.05) for x in (20.8, 35.3, 46.8)))
    nothing = torch.zeros(402, 10, 1)
    accuracy = cross_modal_accuracy(nothing, nothing, events)
    assert accuracy == CrossModalAccuracy(pytest.approx(35.3, abs=0.05), pytest.approx(35.3, abs=0.05), 402)


@pytest.mark.shared
def test_on_the_ordinary_test_list_position_gives_the_known_figures(ave) -> None:
    folder, annotations = ave
    events = annotations.events[read_split(folder, "test", len(annotations.clips))]
    assert position_baselines(events) == PositionBaselines(*(pytest.approx(x, abs=0.05) for x in (20.1, 36.2, 43.3)))
    nothing = torch.zeros(402, 10, 1)
    assert cross_modal_accuracy(nothing, nothing, events).clips == 141


@pytest.mark.shared
def test_either_kind_of_weights_has_seen_most_of_the_other_kinds_test_clips(ave) -> None:
    folder, annotations = ave
    clips = len(annotations.clips)
    lists = {
        split: (read_split(folder, split, clips), read_match_split(folder, split, clips)) for split in ("train", "test")
    }
    assert overlap(lists["train"][0], lists["test"][1]) == 314
    assert overlap(lists["train"][1], lists["test"][0]) == 323
    assert overlap(lists["train"][1], lists["test"][1]) == 0
