"""AVE: labels, splits and counts of the published lists, reading of features, and what is said of broken folders."""

from __future__ import annotations

import pickle
import tracemalloc
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from avel_cli.datasets import ave, ave_files
from avel_cli.datasets.ave import AVE, Annotations, Clip
from avel_cli.errors import SetupError
from avel_cli.metrics.segments import segment_accuracy
from tests.datasets import ave_folder

PER_CLASS = """
152/18/18 142/17/17 137/17/17 148/18/18 152/18/18 141/17/17 144/17/17 151/18/18 138/17/17 131/16/16 146/18/18 112/13/13
82/10/10 81/9/9 150/18/18 142/17/17 128/16/16 147/18/18 80/10/10 67/8/8 57/6/6 128/16/16 48/6/6 52/6/6 144/18/18
89/10/10 124/15/15 126/15/15
"""  # train/val/test of each category, in the published numbering


@pytest.fixture(scope="module")
def published(shared: Path) -> Path:
    return shared / "data" / "ave"


@pytest.fixture(scope="module")
def real(published: Path) -> Annotations:
    return Annotations(ave.read_annotations(published / "Annotations.txt"))


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return ave_folder.made_up(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, clips: list[Clip]) -> Path:
    return ave_folder.write_ave_folder(tmp_path_factory.mktemp("data") / "ave", clips, strength=3)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder that a test may break."""
    return ave_folder.write_ave_folder(tmp_path / "ave", ave_folder.made_up(1, categories=5), noisy=1)


@pytest.mark.shared
def test_labels_made_from_the_annotations_are_the_published_ones(published: Path, real: Annotations) -> None:
    with h5py.File(published / "labels_closs.h5") as events, h5py.File(published / "mil_labels.h5") as bags:
        np.testing.assert_array_equal(real.events.numpy(), events["avadataset"][()])
        np.testing.assert_array_equal(real.bags.numpy(), bags["avadataset"][()])
    assert real.one_hot.shape == (4143, 10, 29)
    assert torch.equal(real.one_hot.argmax(-1), real.segments)
    assert torch.equal(real.one_hot.sum(-1), torch.ones(4143, 10))
    assert torch.equal(real.one_hot[..., 28] == 0, real.events)
    assert (real.labels[0], real.labels[5], real.labels[27]) == (
        "Church bell",
        "Female speech, woman speaking",
        "Mandolin",
    )


@pytest.mark.shared
def test_counts_of_the_published_splits(published: Path, real: Annotations) -> None:
    rows = {split: ave.read_split(published, split, 4143) for split in ave_folder.SPLITS}
    counted = [real.categories[rows[split]].bincount(minlength=28).tolist() for split in rows]
    assert list(zip(*counted, strict=True)) == [tuple(map(int, cell.split("/"))) for cell in PER_CLASS.split()]
    assert {split: int(real.events[r].sum()) for split, r in rows.items()} == {
        "train": 27759,
        "val": 3288,
        "test": 3305,
    }
    assert {split: int(real.events[r].all(1).sum()) for split, r in rows.items()} == {
        "train": 2231,
        "val": 258,
        "test": 261,
    }
    lengths = Counter(real.events.sum(1).tolist())
    assert lengths == {10: 2750, 9: 95, 8: 111, 7: 139, 6: 200, 5: 196, 4: 217, 3: 220, 2: 214, 0: 1}


@pytest.mark.shared
def test_check_of_the_published_lists_says_what_is_missing_and_what_is_shared(published: Path) -> None:
    findings = {finding.name: finding for finding in ave.check(published)}
    missing = {name for name, finding in findings.items() if finding.state == "missing"}
    assert missing == {"audio_feature.h5", "visual_feature.h5", "visual_feature_noisy.h5"}
    assert all("drive.google.com" in findings[name].remedy for name in missing)
    assert {name for name in missing if findings[name].needed} == {"audio_feature.h5", "visual_feature.h5"}
    assert all(finding.state == "ok" for name, finding in findings.items() if name not in missing)
    assert findings["Annotations.txt"].detail == "4143 clips, 28 categories, as published"
    assert "equal to Annotations.txt" in findings["mil_labels.h5"].detail
    assert findings["repeated videos"].detail == "4097 videos, 45 of them in more than one clip"
    assert findings["shared videos"].detail == "8 in train and test, 10 in train and val, 0 in val and test"
    assert findings["audio_feature_noisy.h5"].detail == "(178, 10, 128) float64, as published"


def test_a_whole_folder_passes_and_its_samples_are_the_rows_of_the_split(folder: Path, clips: list[Clip]) -> None:
    assert {finding.state for finding in ave.check(folder)} == {"ok"}
    data = AVE(folder, "test")
    rows = ave_folder.split_evenly(len(clips))["test"]
    assert len(data) == len(rows)
    with h5py.File(folder / "visual_feature.h5") as visual, h5py.File(folder / "audio_feature.h5") as audio:
        for place in (4, 0, 2):
            sample = data[place]
            np.testing.assert_array_equal(sample.visual.numpy(), visual["avadataset"][rows[place]].astype(np.float32))
            np.testing.assert_array_equal(sample.audio.numpy(), audio["avadataset"][rows[place]].astype(np.float32))
    assert all(part.dtype == torch.float32 for part in data[0])
    assert [tuple(part.shape) for part in data[0]] == [(10, 128), (10, 7, 7, 512), (10, 29), (29,)]
    assert data[1].labels.argmax(-1).tolist() == Annotations(tuple(clips)).segments[rows[1]].tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_a_loader_are_those_of_the_dataset_whatever_the_order(folder: Path, workers: int) -> None:
    data = AVE(folder, "train", weak=True)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(1)).tolist()
    batches = list(DataLoader(data, batch_size=8, sampler=order, num_workers=workers))
    for start, batch in zip(range(0, len(data), 8), batches, strict=True):
        assert isinstance(batch, ave.AVESample)
        assert all(map(torch.equal, batch, data.batch(order[start : start + 8])))


def test_in_memory_gives_the_same_and_travels(folder: Path) -> None:
    lazy, loaded = AVE(folder, "val", weak=True), AVE(folder, "val", weak=True, in_memory=True)
    order = [5, 0, 8]
    assert all(map(torch.equal, lazy.batch(order), loaded.batch(order)))
    sent = pickle.dumps(lazy)
    assert len(sent) < 100_000
    assert all(map(torch.equal, lazy.batch(order), pickle.loads(sent).batch(order)))


def test_weak_training_has_the_clips_without_an_event_at_the_end(folder: Path) -> None:
    strong, weak = AVE(folder, "train"), AVE(folder, "train", weak=True)
    assert len(weak) == len(strong) + 4
    sample = weak[len(strong) + 1]
    assert (sample.bag.argmax().item(), sample.labels.argmax(-1).tolist()) == (28, [28] * 10)
    with h5py.File(folder / "visual_feature_noisy.h5") as noisy:
        np.testing.assert_array_equal(sample.visual.numpy(), noisy["avadataset"][1].astype(np.float32))
    assert (weak.bags[: len(strong), 28] == 0).all()


def test_compressed_files_and_other_encoders_are_read_as_well(small: Path) -> None:
    with h5py.File(small / "visual_feature.h5", "w") as stream:
        values = np.random.default_rng(0).random((5, 10, 7, 7, 32), np.float32)
        stream.create_dataset("avadataset", data=values, chunks=(2, 10, 7, 7, 32), compression="gzip")
    data = AVE(small, "train")
    assert (data.audio_dim, data.visual_dim) == (128, 32)
    np.testing.assert_array_equal(data.batch([2, 0]).visual.numpy(), values[[2, 0]])
    with pytest.raises(SetupError, match=r"visual_feature\.h5 and visual_feature_noisy\.h5 .* same encoder"):
        AVE(small, "train", weak=True)


@pytest.mark.parametrize(
    ("name", "key", "values", "state", "text"),
    [
        ("audio_feature.h5", "dataset", np.zeros((5, 10, 128)), "wrong", r"no array \"avadataset\", but \['dataset'\]"),
        ("audio_feature.h5", "avadataset", np.zeros((5, 10)), "wrong", r"\(5, 10\) float64, not \(rows, 10, any\)"),
        ("audio_feature.h5", "avadataset", np.zeros((5, 10, 8), int), "wrong", "int64, not .* of kind f"),
        ("visual_feature.h5", "avadataset", np.zeros((4, 10, 7, 7, 2)), "short", "not 5 rows"),
        ("train_order.h5", "order", np.array([0, 1, 1]), "wrong", "not 3 different rows of 5 clips"),
        ("test_order.h5", "order", np.array([5]), "wrong", "not 1 different rows of 5 clips"),
    ],
)
def test_a_file_that_holds_something_else_is_named(
    small: Path, name: str, key: str, values: np.ndarray, state: str, text: str
) -> None:
    with h5py.File(small / name, "w") as stream:
        stream[key] = values
    with pytest.raises(SetupError, match=text) as error:
        AVE(small, name.partition("_")[0] if "order" in name else "train")
    assert name in str(error.value) and "\n" not in str(error.value)
    assert state in {finding.state for finding in ave.check(small)}


def test_a_download_that_broke_off_is_called_short(small: Path) -> None:
    path = small / "visual_feature.h5"
    path.write_bytes(path.read_bytes()[:-1000])
    found = {finding.name: finding for finding in ave.check(small)}[path.name]
    assert (found.state, found.detail) == ("short", "the file ends too early")
    path.write_bytes(b"<html>sign in</html>")
    assert {finding.name: finding for finding in ave.check(small)}[path.name].state == "wrong"
    with pytest.raises(SetupError, match="not readable as HDF5"):
        AVE(small, "train")


def test_labels_that_differ_from_the_annotations_are_counted(small: Path) -> None:
    with h5py.File(small / "labels_closs.h5", "r+") as stream:
        stream["avadataset"][2, 3] = 1 - stream["avadataset"][2, 3]
    found = {finding.name: finding for finding in ave.check(small)}["labels_closs.h5"]
    assert found.state == "wrong" and found.detail.startswith("1 rows differ")


def test_splits_that_overlap_are_wrong(small: Path) -> None:
    with h5py.File(small / "test_order.h5", "w") as stream:
        stream["order"] = np.array([0])
    found = {finding.name: finding for finding in ave.check(small)}["splits"]
    assert (found.state, found.detail) == ("wrong", "4 of 5 clips are in a split, 5 times")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("Bark&id&good&0", "line 2: not category&video&quality&start&end"),
        ("Bark&id&good&0&late", "line 2: not category"),
        ("Bark&id&good&7&3", "line 2: no event within 0 to 10 s: 7 to 3"),
        ("Bark&id&good&3&11", "line 2: no event"),
    ],
)
def test_a_wrong_line_is_named_with_its_number(tmp_path: Path, line: str, text: str) -> None:
    path = tmp_path / "Annotations.txt"
    path.write_text(f"Bark&a&good&0&10\n{line}\n")
    with pytest.raises(SetupError, match=text):
        ave.read_annotations(path)
    assert [f.state for f in ave.check(tmp_path) if f.name == path.name] == ["wrong"]


def test_an_empty_folder_is_all_missing_and_no_split_is_made_up(tmp_path: Path, small: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert {finding.state for finding in ave.check(empty)} == {"missing"}
    with pytest.raises(SetupError, match=r"Annotations\.txt: missing; copy data/Annotations\.txt"):
        AVE(empty, "train")
    with pytest.raises(ValueError, match="one of train, val, test"):
        AVE(small, "dev")  # type: ignore[arg-type]


def test_background_clips_with_an_event_are_refused(small: Path) -> None:
    with h5py.File(small / "labels_noisy.h5", "w") as stream:
        stream["avadataset"] = np.eye(6, dtype=np.float32)[:1]
    with pytest.raises(SetupError, match="labels other than background"):
        AVE(small, "train", weak=True)


def test_the_generated_folder_needs_both_modalities(folder: Path, clips: list[Clip]) -> None:
    """Marks are found in each modality by matched filters; only together do they tell category and event."""
    data = AVE(folder, "train")
    batch = data.batch(range(len(data)))
    heard_marks, seen_marks = ave_folder.templates()
    heard = batch.audio @ (heard_marks / heard_marks.sum(1, keepdim=True)).T  # [N, 10, 4]
    seen = (batch.visual @ (seen_marks / seen_marks.sum(1, keepdim=True)).T).flatten(2, 3).amax(2)  # [N, 10, 7]
    category = seen.mean(1).argmax(1) * ave_folder.HEARD + heard.mean(1).argmax(1)
    both = (heard.amax(-1) > 2) & (seen.amax(-1) > 2)
    accuracy = segment_accuracy(category.unsqueeze(1).where(both, 28), batch.labels.argmax(-1))
    rows = ave_folder.split_evenly(len(clips))["train"]
    assert accuracy > 95
    assert ave_folder.one_modality_at_most(clips, rows) < 60


def test_a_batch_of_a_file_of_8_gb_is_read_front_to_back_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ave_folder.write_empty_features(tmp_path, 4143)
    rows = ave_files.Rows([(tmp_path / "visual_feature.h5", "avadataset")])
    assert (len(rows), rows.row_shape) == (4143, (10, 7, 7, 512))
    (array,), asked = rows._arrays(), []

    class Spy:
        def __getitem__(self, row: int) -> np.ndarray:
            asked.append(row)
            return array[row]

    monkeypatch.setattr(rows, "_arrays", lambda: [Spy()])
    index = torch.randperm(4143, generator=torch.Generator().manual_seed(1))[:16]
    tracemalloc.start()
    assert rows.read(index).shape == (16, 10, 7, 7, 512)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert asked == sorted(index.tolist())
    assert peak < (16 + 5) * 10 * 7 * 7 * 512 * 4  # the batch as float32, and a row or two as float64
