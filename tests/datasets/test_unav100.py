"""UnAV-100: its annotations as published, features of any folder, crops and batches for training."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch

from avel_cli import recipes
from avel_cli.datasets import unav100
from avel_cli.datasets.dense import Sample, collate, crop
from avel_cli.datasets.unav100 import FEATURE_SETS, I3D, ONE_PEACE, Annotations, Features, FeatureSet, Split
from avel_cli.errors import SetupError
from avel_cli.tasks.base import Data
from avel_cli.training.batches import CropBatches
from avel_cli.training.recipe import Recipe

DATABASE: dict[str, Any] = {
    "-Rjmgv0O_p0": {
        "duration": 20,
        "subset": "train",
        "annotations": [
            {"segment": [1.44, 6], "label": "dog", "label_id": 0},
            {"segment": [5, 20], "label": "rain", "label_id": 1},
        ],
    },
    "_u1": {
        "duration": 12.5,
        "subset": "train",
        "annotations": [{"segment": [0, 3], "label": "rain", "label_id": 1}],
    },
    "t": {"duration": 10, "subset": "test", "annotations": [{"segment": [2, 4], "label": "dog", "label_id": 0}]},
}


def write(folder: Path, database: Any) -> Path:
    path = folder / unav100.ANNOTATIONS
    path.write_text(json.dumps({"version": "unav100", "database": database}))
    return path


def array(path: Path, rows: int, width: int) -> None:
    """Row `t` holds `t`, and in its last column the number of columns."""
    values = np.repeat(np.arange(rows, dtype=np.float32)[:, None], width, axis=1)
    values[:, -1] = width
    np.save(path, values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Annotations and both feature sets; the sound of a video has one row more than its pictures."""
    write(tmp_path, DATABASE)
    inner = tmp_path / "av_features"
    inner.mkdir()
    for name, entry in DATABASE.items():
        for features in FEATURE_SETS:
            rows = features.grid.count(entry["duration"])
            for ending, width in features.visual:
                array(inner / (name + ending), rows, width)
            for ending, width in features.audio:
                array(inner / (name + ending), rows + 1, width)
    return tmp_path


def annotations(folder: Path) -> Annotations:
    return unav100.read_annotations(unav100.find_annotations(folder))


@pytest.mark.shared
def test_the_published_annotations_are_what_the_paper_counts(shared: Path) -> None:
    found = annotations(shared / "data" / "unav100")
    names = [line.split("\t")[1] for line in (shared / "data/unav100/classes.tsv").read_text().splitlines()[1:]]
    assert list(found.classes) == names
    splits = [found.of(split) for split in get_args(Split)]
    assert [len(videos) for videos in splits] == [6489, 2134, 2167]
    counts = [np.bincount(np.concatenate([video.labels for video in videos])) for videos in splits]
    assert [(count.sum(), count.min(), count.max(), len(count)) for count in counts] == [
        (18123, 74, 1501, 100),
        (6036, 18, 524, 100),
        (5900, 19, 490, 100),
    ]
    assert [max(len(video.labels) for video in videos) for videos in splits] == [23, 21, 23]
    durations = [np.mean([video.duration for video in videos]) for videos in splits]
    assert durations == pytest.approx([42.19, 42.02, 42.13], abs=0.005)
    lengths = [np.concatenate([np.diff(video.segments)[:, 0] for video in videos]).mean() for videos in splits]
    assert lengths == pytest.approx([13.84, 13.86, 14.12], abs=0.005)
    assert [np.mean([len(set(video.labels.tolist())) for video in videos]) for videos in splits] == pytest.approx(
        [1.60, 1.62, 1.59], abs=0.005
    )


@pytest.mark.shared
def test_some_published_names_begin_like_an_option(shared: Path) -> None:
    assert sum(video.name.startswith("-") for video in annotations(shared / "data" / "unav100").videos) > 100


def test_classes_have_the_order_of_their_numbers(folder: Path) -> None:
    found = annotations(folder)
    assert found.classes == ("dog", "rain")
    assert [video.name for video in found.of("train")] == ["-Rjmgv0O_p0", "_u1"]
    assert found.of("validation") == ()


def event(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda entry: entry["annotations"][0].update(changes)


def fields(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda entry: entry.update(changes)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (event(segment=[5, 5]), "t: an event or the video is empty"),
        (event(segment=[-1, 5]), "t: an event or the video is empty"),
        (event(segment=[float("nan"), 5]), "t: an event or the video is empty"),
        (event(segment=[5, 10.5]), "t: an event ends after the video"),
        (event(segment=[5]), "cannot reshape"),
        (event(segment=["five", "six"]), "could not convert"),
        (event(label="cat"), "t: label 'cat' has the number 0"),
        (event(label_id=0.5), "t: label 'dog' has the number 0.5"),
        (event(label_id=7, label="cat"), "not numbered from 0"),
        (fields(duration="10"), "not supported between"),
        (fields(duration=0), "t: an event or the video is empty"),
        (fields(subset="trial"), 'no split is called "trial"'),
        (dict.clear, "'annotations' is missing"),
    ],
)
def test_an_entry_that_is_not_right_is_named_in_one_line(tmp_path: Path, spoil: Any, reason: str) -> None:
    database = json.loads(json.dumps(DATABASE))
    spoil(database["t"])
    with pytest.raises(SetupError) as caught:
        unav100.read_annotations(write(tmp_path, database))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("database", [{}, [], {"../t": DATABASE["t"]}])
def test_what_is_no_data_base_is_refused(tmp_path: Path, database: Any) -> None:
    with pytest.raises(SetupError, match=r"unav100_annotations\.json: .*github\.com/ttgeng233/UnAV"):
        unav100.read_annotations(write(tmp_path, database))


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"a": 1}', b"\xff\xfe"])
def test_a_damaged_annotation_file_is_a_setup_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / unav100.ANNOTATIONS
    path.write_bytes(content)
    with pytest.raises(SetupError, match="not UnAV-100's annotations"):
        unav100.read_annotations(path)


def test_a_folder_without_annotations_says_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"github\.com/ttgeng233/UnAV"):
        unav100.find_annotations(tmp_path)


@pytest.mark.parametrize("features", FEATURE_SETS, ids=lambda features: features.name)
def test_a_video_has_both_modalities_on_one_grid(folder: Path, features: FeatureSet) -> None:
    found = Features(annotations(folder).of("train"), folder, features)
    sample = found[0]
    rows = features.grid.count(20)
    assert (sample.name, sample.duration, len(found)) == ("-Rjmgv0O_p0", 20, 2)
    assert sample.audio.shape == (rows, sum(width for _, width in features.audio))
    assert sample.visual.shape == (rows, sum(width for _, width in features.visual))
    assert sample.audio.dtype == sample.visual.dtype == torch.float32
    assert torch.equal(sample.audio[:, 0], torch.arange(rows).float())
    assert sample.labels.tolist() == [0, 1]


def test_pictures_come_before_motion(folder: Path) -> None:
    np.save(folder / "av_features" / "t_flow.npy", np.full((29, 1024), -1, np.float16))
    visual = Features(annotations(folder).of("test"), folder, I3D)[0].visual
    assert (visual[:, :1023] >= 0).all()
    assert (visual[:, 1024:] == -1).all()


def test_seconds_become_steps_of_each_feature_set(folder: Path) -> None:
    train = annotations(folder).of("train")
    assert Features(train, folder, I3D)[0].segments.tolist() == [
        pytest.approx([(1.44 * 25 - 12) / 8, (6 * 25 - 12) / 8]),
        pytest.approx([(5 * 25 - 12) / 8, (20 * 25 - 12) / 8]),
    ]
    assert Features(train, folder, ONE_PEACE)[1].segments.tolist() == [[-2, 10]]


def test_missing_files_are_counted_before_training_begins(folder: Path) -> None:
    (folder / "av_features" / "-Rjmgv0O_p0_flow.npy").unlink()
    with pytest.raises(SetupError, match=r"1 of 6 files are missing, -Rjmgv0O_p0_flow\.npy first; download"):
        Features(annotations(folder).of("train"), folder, I3D)


def objects(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    "spoil",
    [
        objects,
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b""),
        lambda path: np.save(path, np.zeros((5, 3), np.float32)),
        lambda path: np.save(path, np.zeros((0, 128), np.float32)),
        lambda path: np.save(path, np.zeros((5, 128), np.int64)),
    ],
    ids=["pickle", "cut", "empty", "narrow", "no rows", "integers"],
)
def test_a_feature_file_that_is_not_right_is_named(folder: Path, spoil: Any) -> None:
    spoil(folder / "av_features" / "t_vggish.npy")
    with pytest.raises(SetupError, match=r"t_vggish\.npy: .*; get the file again"):
        Features(annotations(folder).of("test"), folder, I3D)[0]


def test_a_data_set_travels_to_workers_without_its_files(folder: Path) -> None:
    found = Features(annotations(folder).of("train"), folder, I3D)
    found[0]
    assert len(pickle.dumps(found)) < 10_000


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_crops_are_nine_tenths_to_all_of_the_video() -> None:
    crops = [crop(100, torch.tensor([[0.0, 100.0]]), longest=224, rng=generator(seed)) for seed in range(400)]
    assert {found.steps for found in crops} == set(range(90, 101))
    assert all(0 <= found.first <= 100 - found.steps for found in crops)


def test_a_video_longer_than_batches_is_cut_to_their_length() -> None:
    crops = [crop(300, torch.tensor([[0.0, 300.0]]), longest=224, rng=generator(seed)) for seed in range(50)]
    assert {found.steps for found in crops} == {224}
    assert len({found.first for found in crops}) > 20


@pytest.mark.parametrize("reach", [0.0, 2.0])
def test_events_half_inside_stay_and_are_cut_at_the_reach(reach: float) -> None:
    events = torch.tensor([[-1.5, 3.0], [0.0, 12.0], [40.0, 60.0], [85.0, 99.0], [10.0, 101.0]])
    for seed in range(100):
        found = crop(100, events, longest=80, reach=reach, rng=generator(seed))
        low, high = found.first - reach, found.first + found.steps + reach
        inside = torch.stack([events[:, 0].clamp(low, high), events[:, 1].clamp(low, high)], dim=1)
        expected = (inside[:, 1] - inside[:, 0]) >= 0.5 * (events[:, 1] - events[:, 0])
        assert torch.equal(found.kept, expected)
        assert torch.equal(found.segments, inside[expected] - found.first)


def test_windows_are_drawn_until_one_has_an_event() -> None:
    rare = torch.tensor([[0.0, 20.0]])
    assert all(crop(400, rare, longest=224, rng=generator(seed)).kept.all() for seed in range(30))
    missed = [crop(400, rare, longest=224, draws=1, rng=generator(seed)).kept.any() for seed in range(30)]
    assert not all(missed)


def test_the_whole_video_keeps_its_events_uncut() -> None:
    events = torch.tensor([[-2.0, 11.0]])
    assert torch.equal(crop(4, events, longest=224).segments, events)


def test_a_crop_holds_the_rows_it_speaks_of(folder: Path) -> None:
    found = Features(annotations(folder).of("train")[:1], folder, I3D)
    whole, firsts = found[0], set()
    recipe = recipes.load(Recipe, "loco.unav100-i3d", ["schedule.batch=1"])
    network = SimpleNamespace(config=SimpleNamespace(max_seq_len=224))
    batches = CropBatches(Data({"train": found}, (), {}, ()), recipe, network)
    for place in range(20):
        sample = batches.crop(place)
        first = int(sample.audio[0, 0])
        firsts.add(first)
        assert torch.equal(sample.visual, whole.visual[first : first + len(sample.visual)])
        assert sample.segments[0].tolist() == pytest.approx((whole.segments[0] - first).clamp(min=0).tolist())
    assert len(firsts) > 2


def sample(length: int) -> Sample:
    return Sample("v", 60.0, torch.ones(length, 3), torch.ones(length, 5), torch.zeros(0, 2), torch.zeros(0).long())


@pytest.mark.parametrize(("lengths", "steps"), [((3, 64), 64), ((65, 2), 96), ((96,), 96), ((97,), 128)])
def test_batches_are_padded_to_their_length_or_the_next_multiple_of_32(lengths: tuple[int, ...], steps: int) -> None:
    batch = collate([sample(length) for length in lengths], steps=64)
    assert batch.audio.shape == (len(lengths), steps, 3)
    assert batch.visual.shape == (len(lengths), steps, 5)
    assert batch.mask.sum(1).tolist() == list(lengths)
    assert torch.equal(batch.audio, batch.mask[..., None].expand_as(batch.audio).float())


def states(folder: Path) -> dict[str, tuple[str, bool]]:
    return {finding.name: (finding.state, finding.needed) for finding in unav100.check(folder)}


def test_a_whole_folder_is_found_whole(folder: Path) -> None:
    assert set(states(folder).values()) == {("ok", True)}
    first, *others = unav100.check(folder)
    assert first.detail == "3 videos, 4 events, 2 classes, not the published file"
    assert all("3 of 3 files" in finding.detail and not finding.remedy for finding in others)


def test_missing_short_and_wrong_files_are_told_apart(folder: Path) -> None:
    inner = folder / "av_features"
    (inner / "-Rjmgv0O_p0_rgb.npy").unlink()
    array(inner / "t_flow.npy", 20, 1024)
    array(inner / "_u1_flow.npy", 36, 1024)  # a row less than there should be is no matter
    array(inner / "t_vggish.npy", 30, 64)
    found = {finding.name: finding for finding in unav100.check(folder)}
    assert [found[f"*_{kind}.npy"].state for kind in ("rgb", "flow", "vggish")] == ["missing", "short", "wrong"]
    assert "2 of 3 files, 1 missing (-Rjmgv0O_p0_rgb.npy first)" in found["*_rgb.npy"].detail
    assert "1 short (t_flow.npy first)" in found["*_flow.npy"].detail
    assert found["*_vggish.npy"].remedy == I3D.source


def test_one_feature_set_is_enough_but_not_none(folder: Path) -> None:
    for path in (folder / "av_features").glob("*_one_peace_*"):
        path.unlink()
    assert states(folder)["*_one_peace_audio.npy"] == ("missing", False)
    for path in (folder / "av_features").iterdir():
        path.unlink()
    assert {state for name, state in states(folder).items() if name.startswith("*")} == {("missing", True)}


def test_missing_and_wrong_annotations_are_the_first_thing_said(tmp_path: Path) -> None:
    (missing,) = unav100.check(tmp_path)
    assert (missing.state, missing.needed) == ("missing", True)
    (tmp_path / unav100.ANNOTATIONS).write_text("{}")
    (wrong,) = unav100.check(tmp_path)
    assert wrong.state == "wrong"


@pytest.mark.shared
def test_the_published_annotation_file_is_recognised(shared: Path) -> None:
    first, *_ = unav100.check(shared / "data" / "unav100")
    assert first.detail == "10790 videos, 30059 events, 100 classes, as published"


def test_feature_files_of_both_sets_have_names_of_their_own() -> None:
    endings = sorted(ending for features in FEATURE_SETS for ending, _ in features.files)
    assert all(not later.endswith(earlier) for earlier, later in pairwise(endings))
