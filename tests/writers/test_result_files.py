"""Result files have names of their own, and appear whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avel_cli.errors import InputError, UsageError
from avel_cli.timeline.events import Timeline
from avel_cli.writers import write_file
from avel_cli.writers.files import atomic_write, output_paths, plan_files


def names(*inputs: str) -> list[str]:
    return [files[0].name for files in output_paths([Path("/films", name) for name in inputs], ["csv"], Path("out"))]


def test_results_are_named_after_the_stem_one_for_each_format() -> None:
    assert output_paths([Path("/a/clip.one.mp4")], ["csv", "srt", "csv"], Path("out")) == [
        [Path("out/clip.one.avel.csv"), Path("out/clip.one.avel.srt")]
    ]


def test_inputs_with_one_stem_show_their_extension() -> None:
    assert names("clip.mp4", "clip.mov", "other.mp4") == ["clip.mp4.avel.csv", "clip.mov.avel.csv", "other.avel.csv"]


def test_inputs_with_one_file_name_show_their_folder() -> None:
    assert names("day1/clip.mp4", "day2/clip.mp4") == ["day1_clip.mp4.avel.csv", "day2_clip.mp4.avel.csv"]


def test_what_is_still_alike_is_numbered() -> None:
    assert names("a/day/clip.mp4", "b/day/clip.mp4") == ["day_clip.mp4.avel.csv", "day_clip.mp4-2.avel.csv"]


def test_letter_case_alone_does_not_tell_two_results_apart() -> None:
    assert names("Clip.mp4", "clip.mp4") == ["films_Clip.mp4.avel.csv", "films_clip.mp4-2.avel.csv"]


parts = st.sampled_from(["a", "A", "b", "a_b", "clip", "clip.mp4", "clip.mp4-2", "a_clip.mp4"])


@given(st.lists(st.lists(parts, min_size=1, max_size=3).map(lambda p: Path("/", *p)), unique=True, max_size=12))
def test_no_two_inputs_share_a_result(inputs: list[Path]) -> None:
    outputs = [file for files in output_paths(inputs, ["csv", "json"], Path("out")) for file in files]
    assert len({str(file).casefold() for file in outputs}) == 2 * len(inputs)
    assert all(file.parent == Path("out") and ".avel." in file.name for file in outputs)
    assert output_paths(inputs, ["csv", "json"], Path("out")) == output_paths(inputs, ["csv", "json"], Path("out"))


def test_a_plan_makes_the_folder_and_names_every_file(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    plan = plan_files([Path("a.mp4")], ["csv", "srt"], out, overwrite=False, skip_existing=False)
    assert plan == {Path("a.mp4"): [out / "a.avel.csv", out / "a.avel.srt"]}
    assert out.is_dir()


def test_an_existing_result_stops_the_plan(tmp_path: Path) -> None:
    (tmp_path / "b.avel.csv").touch()
    with pytest.raises(UsageError, match=r"b\.avel\.csv exists\. Use --overwrite"):
        plan_files([Path("a.mp4"), Path("b.mp4")], ["csv"], tmp_path, overwrite=False, skip_existing=False)


def test_overwrite_plans_existing_results_again(tmp_path: Path) -> None:
    (tmp_path / "a.avel.csv").touch()
    plan = plan_files([Path("a.mp4")], ["csv"], tmp_path, overwrite=True, skip_existing=False)
    assert plan == {Path("a.mp4"): [tmp_path / "a.avel.csv"]}


def test_skip_existing_leaves_out_what_is_there_and_inputs_that_are_done(tmp_path: Path) -> None:
    for name in ("a.avel.csv", "a.avel.srt", "b.avel.csv"):
        (tmp_path / name).touch()
    inputs = [Path("a.mp4"), Path("b.mp4"), Path("c.mp4")]
    assert plan_files(inputs, ["csv", "srt"], tmp_path, overwrite=False, skip_existing=True) == {
        Path("b.mp4"): [tmp_path / "b.avel.srt"],
        Path("c.mp4"): [tmp_path / "c.avel.csv", tmp_path / "c.avel.srt"],
    }


def test_a_file_in_place_of_the_folder_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="out: this folder cannot be made"):
        plan_files([Path("a.mp4")], ["csv"], tmp_path / "out", overwrite=False, skip_existing=False)


def test_overwrite_and_skip_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude"):
        plan_files([Path("a.mp4")], ["csv"], tmp_path, overwrite=True, skip_existing=True)


def test_a_failure_leaves_neither_a_new_file_nor_a_temporary_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "a.csv") as stream:
        stream.write("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a.csv") as stream:
        stream.write("half")
        raise KeyboardInterrupt
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_the_file_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.csv") as stream:
        stream.write("all")
        stream.flush()
        assert not (tmp_path / "a.csv").exists()
    assert (tmp_path / "a.csv").read_text() == "all"


@pytest.mark.skipif(os.name == "nt", reason="permission bits of POSIX")
def test_results_get_the_permissions_that_the_user_gives_to_new_files(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    write_file(Timeline("a.mp4", 1), tmp_path / "a.csv")
    assert stat.S_IMODE((tmp_path / "a.csv").stat().st_mode) == stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)


def test_a_folder_in_place_of_the_file_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(InputError, match=r"a\.csv: cannot be written"):
        write_file(Timeline("a.mp4", 1), tmp_path / "a.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_names_that_are_not_utf8_still_make_a_valid_file(tmp_path: Path) -> None:
    write_file(Timeline("clip\udcff.mp4", 1), tmp_path / "a.json")
    assert '"file": "clip\\udcff.mp4"' in (tmp_path / "a.json").read_text(encoding="utf-8")
