"""One's own videos: what a table may say, how clips are cut from it, and which split a file is in."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from avel_cli.datasets import folder
from avel_cli.datasets.folder import Clip, Folder, Span
from avel_cli.errors import SetupError

HEAD = "file,start,end,label"


def table(path: Path, *lines: str, head: str = HEAD) -> Path:
    """A folder with `labels.csv` and an empty file for each name a.mp4 … j.mp4."""
    path.mkdir(exist_ok=True)
    for letter in "abcdefghij":
        (path / f"{letter}.mp4").touch()
    (path / folder.TABLE).write_text("\n".join((head, *lines)) + "\n", encoding="utf-8")
    return path


def spans(*events: tuple[float, float, str]) -> list[Span]:
    return [Span("a.mp4", *event, "", line) for line, event in enumerate(events, start=2)]


def seconds_of(*events: tuple[float, float, str], seconds: int = 10) -> str:
    """Labels of each second as text: `.` for none, `*` for several."""
    found = folder.second_labels(spans(*events), ("dog", "horn"), seconds)
    return "".join("*" if len(here) > 1 else "dh"[min(here)] if here else "." for here in found)


def test_a_table_is_read_whatever_its_columns_order_and_mark(tmp_path: Path) -> None:
    path = table(tmp_path, '"a, dog",3.5, a.mp4 ,1,0.9', head="\ufefflabel,end,file,start,score") / folder.TABLE
    assert folder.read_spans(path) == [Span("a.mp4", 1.0, 3.5, "a, dog", "", 2)]


@pytest.mark.parametrize(
    ("mark", "start", "end", "times"),
    [
        (";", "1,5", "3.25", (1.5, 3.25)),
        ("\t", "1:15,5", "0:01:16", (75.5, 76)),
        (";", "75:00", "1:15:00.25", (4500, 4500.25)),
        (",", "0:09.75", "1e1", (9.75, 10)),
    ],
)
def test_a_table_may_have_other_marks_and_timecodes(
    tmp_path: Path, mark: str, start: str, end: str, times: tuple[float, float]
) -> None:
    path = table(tmp_path, mark.join(("a.mp4", start, end, "dog")), head=mark.join(HEAD.split(","))) / folder.TABLE
    assert folder.read_spans(path) == [Span("a.mp4", *times, "dog", "", 2)]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("a.mp4,1,x,dog", "line 3: start and end must be seconds or timecodes such as 1:15.5, not '1' and 'x'"),
        ("a.mp4,1", "line 3: start and end must be seconds"),
        ("a.mp4,0:00:01:12,3,dog", "line 3: start and end must be seconds"),  # frames, of no known rate
        ("a.mp4,0:61,90,dog", "line 3: start and end must be seconds"),
        ("a.mp4,-1:00,90,dog", "line 3: start and end must be seconds"),
        ("a.mp4,1:00,0:59,dog", "line 3: no event lasts from 1:00 to 0:59 s"),
        ("a.mp4,2,2,dog", "line 3: no event lasts from 2 to 2 s"),
        ("a.mp4,-1,2,dog", "line 3: no event lasts"),
        ("a.mp4,0,inf,dog", "line 3: no event lasts"),
        ("a.mp4,nan,1,dog", "line 3: no event lasts"),
        ("a.mp4,0,1,", "line 3: '' is no label"),
        ("a.mp4,0,1,background", "line 3: 'background' is no label"),
        ("a.mp4,0,1,BackGround", "line 3: 'BackGround' is no label"),
        ("z.mp4,0,1,dog", "line 3: no file '.*z.mp4'"),
        (",0,1,dog", "line 3: no file"),
    ],
)
def test_a_wrong_line_is_named_with_its_number(tmp_path: Path, line: str, text: str) -> None:
    with pytest.raises(SetupError, match=text) as error:
        folder.read_spans(table(tmp_path, "a.mp4,0,1,dog", line) / folder.TABLE)
    assert "\n" not in str(error.value) and folder.TABLE in str(error.value)


def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"labels\.csv: missing; it must list the events: file,start,end,label"):
        folder.read_spans(tmp_path / folder.TABLE)
    with pytest.raises(SetupError, match="line 1: no column start, label"):
        folder.read_spans(table(tmp_path, head="file,begin,end") / folder.TABLE)
    with pytest.raises(SetupError, match="lists no events"):
        folder.read_spans(table(tmp_path) / folder.TABLE)
    (tmp_path / folder.TABLE).write_bytes(b"file,start,end,label\n\xff\xfe\n")
    with pytest.raises(SetupError, match="not a table in UTF-8"):
        folder.read_spans(tmp_path / folder.TABLE)


def test_seconds_belong_to_events_that_fill_half_of_them() -> None:
    assert seconds_of((1.5, 3.4, "dog")) == ".dd......."
    assert seconds_of((1.6, 3.5, "dog")) == "..dd......"
    assert seconds_of((4.8, 5.1, "dog")) == "....d....."  # a short event is not lost
    assert seconds_of((0, 4, "dog"), (3, 6, "horn")) == "ddd*hh...."
    assert seconds_of((8, 30, "dog")) == "........dd"
    assert seconds_of((10.2, 10.4, "dog")) == ".........d"  # in the rest of a second after the last segment
    with pytest.raises(SetupError, match=r"line 2: begins at 11 s, but a\.mp4 has 10 s"):
        seconds_of((11, 12, "dog"))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("d........." * 2, [(0, 10), (10, 20)]),
        ("dd..hh....dd", [(0, 4), (4, 10), (10, 12)]),
        ("ddd*hh", [(0, 3), (4, 6)]),
        ("**.d", [(2, 4)]),
        ("d*", [(0, 1)]),
        ("*", []),
        ("", []),
        ("." * 9 + "dh", [(0, 10), (10, 11)]),
    ],
)
def test_clips_end_where_another_label_begins(text: str, pieces: list[tuple[int, int]]) -> None:
    labels = [{"d": {0}, "h": {1}, "*": {0, 1}, ".": set[int]()}[letter] for letter in text]
    assert list(folder.cut(labels)) == pieces


@given(st.lists(st.sets(st.integers(0, 2), max_size=2), max_size=60))
def test_clips_take_each_second_once_and_have_one_label(labels: list[set[int]]) -> None:
    pieces = list(folder.cut(labels))
    taken = [second for first, last in pieces for second in range(first, last)]
    assert taken == [second for second, here in enumerate(labels) if len(here) < 2]
    for first, last in pieces:
        assert 0 < last - first <= 10
        assert len(set().union(*labels[first:last])) <= 1


def test_splits_depend_on_names_alone() -> None:
    rows = [Span(f"clip {number}.mp4", 0, 1, "dog", "", 2) for number in range(40)]
    splits = folder.assign_splits(rows)
    assert splits == folder.assign_splits(rows[::-1])
    assert set(splits.values()) == {"train", "val", "test"}
    for count in (3, 4, 7):
        assert set(folder.assign_splits(rows[:count]).values()) == {"train", "val", "test"}
    with pytest.raises(SetupError, match="2 files are too few"):
        folder.assign_splits(rows[:2])


def test_a_file_stays_in_its_split_when_others_are_added() -> None:
    rows = [Span(f"clip {number}.mp4", 0, 1, "dog", "", 2) for number in range(1000)]
    splits = folder.assign_splits(rows)
    for count in (60, 100, 500):
        part = folder.assign_splits(rows[:count])
        assert part == {file: splits[file] for file in part}
    shares = [list(splits.values()).count(split) for split in ("train", "val", "test")]
    assert shares == pytest.approx([800, 100, 100], abs=30)


def test_splits_of_the_table_are_taken_if_they_are_whole() -> None:
    rows = [Span("a.mp4", 0, 1, "dog", "val", 2), Span("b.mp4", 0, 1, "dog", "train", 3)]
    assert folder.assign_splits(rows) == {"a.mp4": "val", "b.mp4": "train"}
    with pytest.raises(SetupError, match=r"line 4: a\.mp4 is in split 'test' and 'val'"):
        folder.assign_splits([*rows, Span("a.mp4", 2, 3, "dog", "test", 4)])
    with pytest.raises(SetupError, match="line 4: no split; give one on every line or on none"):
        folder.assign_splits([*rows, Span("c.mp4", 2, 3, "dog", "", 4)])


LINES = ("a.mp4,0,4,dog,train", "a.mp4,3,6,horn,train", "b.mp4,1,2,horn,val", "c.mp4,0,3,cat,test")


def test_a_plan_counts_what_it_leaves_out_and_what_cannot_be_learnt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "avel"):
        plan = folder.plan(
            table(tmp_path, *LINES, head=HEAD + ",split"), lambda path: {"a": 12, "b": 3, "c": 3}[path.stem]
        )
    assert (plan.names, plan.left_out) == (("cat", "dog", "horn"), 1)
    assert plan.clips == {
        "train": (Clip("a.mp4", 0, (1, 1, 1)), Clip("a.mp4", 4, (2, 2, *[3] * 6))),
        "val": (Clip("b.mp4", 0, (3, 2, 3)),),
        "test": (Clip("c.mp4", 0, (0, 0, 0)),),
    }
    assert [record.getMessage() for record in caplog.records] == [
        "labels.csv: 1 seconds hold events of several labels at once and are left out",
        "labels.csv: no event of cat is in train; it cannot be learnt",
    ]


def test_a_split_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match='no file is in split "test"'):
        folder.plan(table(tmp_path, *LINES[:3], head=HEAD + ",split"), lambda path: 10)


def test_a_folder_that_is_all_test_can_be_measured_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = table(tmp_path, "a.mp4,0,4,dog,test", "b.mp4,0,3,cat,test", head=HEAD + ",split")
    plan = folder.plan(path, lambda path: 10, ("test",))
    assert [clip.file for clip in plan.clips["test"]] == ["a.mp4", "b.mp4"]
    assert not caplog.records  # nothing is said of learning
    with pytest.raises(SetupError, match='no file is in split "test"'):
        folder.plan(table(tmp_path, *LINES[:3], head=HEAD + ",split"), lambda path: 10, ("test",))


def test_events_that_end_long_after_their_file_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = ("a.mp4,0,11.5,dog,test", "a.mp4,2,400,dog,test", "b.mp4,0,10.9,dog,test")
    folder.plan(table(tmp_path, *lines, head=HEAD + ",split"), lambda path: 10, ("test",))
    text = "labels.csv: 2 events end over a second after the last whole second of their file"
    assert [record.getMessage() for record in caplog.records] == [text]


def test_samples_are_filled_with_background_to_ten_segments(tmp_path: Path) -> None:
    def features(path: Path, first: int, last: int) -> tuple[Tensor, Tensor]:
        second = torch.arange(first, last, dtype=torch.float16) + 1
        return second.unsqueeze(1).expand(-1, 3), second.view(-1, 1, 1, 1).expand(-1, 2, 2, 5)

    plan = folder.plan(table(tmp_path, *LINES, head=HEAD + ",split"), lambda path: 12)
    data = Folder(plan, "train", features)
    sample = data[1]
    assert sample.audio[:, 0].tolist() == [5, 6, 7, 8, 9, 10, 11, 12, 0, 0]
    assert sample.visual.shape == (10, 2, 2, 5)
    assert sample.labels.argmax(-1).tolist() == [2, 2, *[3] * 8]
    assert data.filled.sum(-1).tolist() == [7, 2] and data.filled[1].tolist() == [False] * 8 + [True] * 2
    assert sample.bag.tolist() == [0, 0, 1, 0]
    assert Folder(plan, "val", features).bags.argmax(-1).tolist() == [2, 3]  # the rest of b.mp4 is background
    (batch,) = DataLoader(data, batch_size=2)
    assert all(map(torch.equal, batch, data.batch([0, 1])))
    assert {part.dtype for part in batch} == {torch.float32}
