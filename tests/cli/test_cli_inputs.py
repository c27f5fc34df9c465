"""From arguments to files: folders, lists, natural order, each file once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avel_cli.errors import UsageError
from avel_cli.inputs import find_inputs, natural_key


@pytest.fixture(autouse=True)
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with videos, other files, and a sub-folder."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "c10.mp4",
        "c2.MKV",
        "notes.txt",
        "c2.avel.srt",
        "._c2.mp4",
        "sub/c1.mov",
        ".cache/c3.mp4",
        "odd.mp4/x",
    ):
        path = tmp_path / "films" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(*arguments: str, recursive: bool = False) -> list[str]:
    return [path.as_posix() for path in find_inputs(arguments, recursive)]


def test_a_folder_gives_the_videos_directly_in_it() -> None:
    assert found("films") == ["films/c2.MKV", "films/c10.mp4"]


def test_recursive_looks_into_sub_folders_but_not_into_hidden_ones() -> None:
    assert found("films", recursive=True) == ["films/c2.MKV", "films/c10.mp4", "films/sub/c1.mov"]


def test_files_keep_the_order_given_whatever_they_are_called() -> None:
    assert found("films/notes.txt", "missing", "films/c10.mp4") == ["films/notes.txt", "missing", "films/c10.mp4"]


def test_a_file_named_twice_is_taken_once_under_its_first_name() -> None:
    assert found("films/c10.mp4", "./films/../films/c10.mp4", "films") == ["films/c10.mp4", "films/c2.MKV"]


def test_a_list_names_files_and_folders_one_per_line() -> None:
    Path("list.txt").write_text("\ufefffilms/sub/c1.mov\r\n\n  films  \nünïcode name.mp4\n", encoding="utf-8")
    assert found("@list.txt") == ["films/sub/c1.mov", "films/c2.MKV", "films/c10.mp4", "ünïcode name.mp4"]


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("https://example.org/a.mp4", "local files. Fetch it first"),
        ("rtsp://camera", "local files"),
        ("films/odd.mp4", "no video in this folder. --recursive looks deeper"),
        ("@missing.txt", "the list cannot be read"),
        ("@films", "the list cannot be read"),
        ("", "empty"),
    ],
)
def test_what_cannot_be_meant_is_said(argument: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        find_inputs([argument])


def test_numbers_are_ordered_by_value() -> None:
    names = ["a10b2", "A2", "a2", "a10b10", "b1", "10", "9"]
    assert sorted(map(Path, names), key=natural_key) == [
        Path(n) for n in ["9", "10", "A2", "a2", "a10b2", "a10b10", "b1"]
    ]


@given(st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1), unique=True))
def test_any_names_can_be_ordered_and_the_order_is_total(names: list[str]) -> None:
    paths = list(dict.fromkeys(map(Path, names)))
    assert sorted(paths, key=natural_key) == sorted(reversed(paths), key=natural_key)
