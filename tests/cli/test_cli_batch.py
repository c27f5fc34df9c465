"""Batches at the command line: what is skipped, done again, failed and told. The networks are replaced."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from avel_cli.cli.console import Console
from avel_cli.cli.status import status

Avel = Callable[..., tuple[int, str, str]]
Clips = Callable[..., None]


def told(err: str) -> str:
    return next(line for line in err.splitlines() if " inputs: " in line)


def test_the_same_command_again_does_nothing_and_loads_nothing(avel: Avel, fake_clips: Clips, pipeline: type) -> None:
    fake_clips(a="dog", b="dog dog")
    assert avel("detect", "a.mp4", "b.mp4", "-o", "out")[0] == 0
    assert len(pipeline.asked) == 2
    code, _, err = avel("detect", "a.mp4", "b.mp4", "-o", "out")
    assert (code, told(err)) == (0, "2 inputs: 2 skipped, done before and unchanged")
    assert (len(pipeline.asked), len(pipeline.made)) == (2, 1)


def test_changed_files_new_settings_and_lost_results_are_done_again(
    avel: Avel, fake_clips: Clips, pipeline: type
) -> None:
    fake_clips(a="dog", b="dog", c="dog")
    command = ("detect", "a.mp4", "b.mp4", "c.mp4")
    avel(*command)
    fake_clips(a="dog dog dog")
    Path("b.avel.csv").unlink()
    assert told(avel(*command)[2]) == "3 inputs: 2 done; 1 skipped, done before and unchanged"
    assert Path("a.avel.csv").read_text().count("dog") == 3 and Path("b.avel.csv").exists()
    assert told(avel(*command, "--min-score", ".4")[2]) == "3 inputs: 3 done"
    assert told(avel(*command, "--min-score", ".4", "--device", "cpu")[2]).startswith("3 inputs: 3 skipped")
    assert told(avel(*command, "--min-score", ".4", "-f", "srt")[2]) == "3 inputs: 3 done"
    assert told(avel(*command, "--min-score", ".4", "--overwrite")[2]) == "3 inputs: 3 done"


def test_what_failed_is_tried_again_when_asked_for_or_changed(avel: Avel, fake_clips: Clips, pipeline: type) -> None:
    fake_clips(a="dog", b="damaged")
    assert avel("detect", "a.mp4", "b.mp4", "c.mp4")[0] == 3
    code, _, err = avel("detect", "a.mp4", "b.mp4", "c.mp4")
    assert code == 3 and len(pipeline.asked) == 2
    assert err.splitlines() == [
        "3 inputs: 1 skipped, done before and unchanged; 2 failed before (--retry-failed tries again)",
        "error: 2 of 3 inputs failed",
    ]
    assert avel("detect", "a.mp4", "b.mp4", "c.mp4", "--retry-failed")[0] == 3
    assert len(pipeline.asked) == 3
    fake_clips(b="dog", c="dog")
    assert avel("detect", "a.mp4", "b.mp4", "c.mp4")[0] == 0


def test_an_unexpected_error_is_that_inputs_failure(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(a="bug", b="dog")
    code, _, err = avel("detect", "a.mp4", "b.mp4")
    assert code == 3 and Path("b.avel.csv").exists()
    assert "error: a.mp4: failed unexpectedly, please report it with the output of --debug: KeyError('oops')" in err
    code, out, _ = avel("detect", "a.mp4", "b.mp4", "-o", "-")
    assert code == 3 and "b.mp4" in out


def test_fail_fast_ends_at_the_first_failure(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(a="damaged", b="dog")
    code, _, err = avel("detect", "a.mp4", "b.mp4", "--fail-fast")
    assert code == 3 and err.count("error:") == 1 and "no header" in err
    assert not Path("b.avel.csv").exists()
    assert avel("detect", "a.mp4", "b.mp4")[0] == 3 and Path("b.avel.csv").exists()


def test_results_of_somebody_else_stop_the_batch_and_those_changed_by_hand_stay(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(a="dog", b="dog")
    Path("b.avel.csv").write_text("mine")
    assert avel("detect", "a.mp4", "b.mp4")[0] == 2 and Path("b.avel.csv").read_text() == "mine"
    avel("detect", "a.mp4", "b.mp4", "--overwrite")
    Path("a.avel.csv").write_text("mine")
    code, _, err = avel("detect", "a.mp4", "b.mp4", "--min-score", ".1")
    assert code == 3 and "a.avel.csv: was changed since avel wrote it" in err
    assert Path("a.avel.csv").read_text() == "mine"


def test_an_interrupted_batch_goes_on_where_it_was(avel: Avel, fake_clips: Clips, pipeline: type) -> None:
    fake_clips(a="dog", b="interrupt", c="dog")
    assert avel("detect", "a.mp4", "b.mp4", "c.mp4")[0] == 130
    fake_clips(b="dog")
    assert (
        told(avel("detect", "a.mp4", "b.mp4", "c.mp4")[2]) == "3 inputs: 2 done; 1 skipped, done before and unchanged"
    )


def test_shards_part_the_work_and_results_are_called_the_same(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(**{f"films__{number}": "dog" for number in range(12)}, films2__1="dog")
    for index in (1, 2, 3):
        assert avel("detect", "films", "films2", "-o", f"out{index}", "--shard", f"{index}/3")[0] == 0
    assert avel("detect", "films", "films2", "-o", "all")[0] == 0
    parts = [{path.name for path in Path(f"out{index}").glob("*.csv")} for index in (1, 2, 3)]
    assert sum(map(len, parts)) == 13 and set.union(*parts) == {path.name for path in Path("all").glob("*.csv")}
    for text in ("0/3", "4/3", "1", "a/b"):
        code, _, err = avel("detect", "films", "--shard", text)
        assert code == 2 and "is no shard; write 1/4 to 4/4" in err


@pytest.mark.parametrize("output", ["out", "-"])
def test_a_summary_tells_how_each_input_ended(avel: Avel, fake_clips: Clips, output: str) -> None:
    fake_clips(a="dog dog", b="damaged")
    for name in ("sum.csv", "sum.json", "sum.csv"):  # an earlier one is replaced
        assert (
            avel("detect", "a.mp4", "b.mp4", "-o", output, "--retry-failed", "--overwrite", "--summary", name)[0] == 3
        )
    with open("sum.csv", encoding="utf-8", newline="") as stream:
        found = {row["file"]: row for row in csv.DictReader(stream)}
    assert (found["a.mp4"]["state"], found["a.mp4"]["events"], found["a.mp4"]["duration"]) == ("done", "2", "100.000")
    assert found["b.mp4"]["state"] == "failed" and "no header" in found["b.mp4"]["reason"]
    assert [row["state"] for row in json.loads(Path("sum.json").read_text())["inputs"]] == ["done", "failed"]


def test_a_summary_takes_no_other_files_place(avel: Avel, fake_clips: Clips, pipeline: type) -> None:
    fake_clips(a="dog")
    Path("mine.csv").write_text("a,b\n")
    assert "no summary of a batch" in avel("detect", "a.mp4", "--summary", "mine.csv")[2]
    assert "a .csv or a .json" in avel("detect", "a.mp4", "--summary", "a.mp4")[2]
    assert "no such folder" in avel("detect", "a.mp4", "--summary", "none/a.csv")[2]
    assert not pipeline.made


def test_status_tells_counts_and_reasons(avel: Avel, fake_clips: Clips, capsys: pytest.CaptureFixture[str]) -> None:
    fake_clips(a="dog", b="damaged", c="interrupt", d="dog")
    avel("detect", "a.mp4", "b.mp4", "c.mp4", "d.mp4", "-o", "out")

    def asked(*args: str) -> str:
        status.main(["out", *args], standalone_mode=False, obj=Console())
        return capsys.readouterr().out

    answer = json.loads(asked("--json"))
    assert answer["counts"] == {"done": 1, "failed": 1, "claimed": 0, "interrupted": 1, "waiting": 1}
    assert [(Path(row["path"]).name, row["times"]) for row in answer["inputs"]] == [
        ("a.mp4", 1),
        ("b.mp4", 1),
        ("c.mp4", 0),
        ("d.mp4", 0),
    ]
    assert "done         1\n" in asked() and "no header" in asked()
    with pytest.raises(click.UsageError):
        asked("--nothing")


def test_one_input_leaves_no_journal(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(a="dog")
    assert avel("detect", "a.mp4", "-o", "out")[0] == 0
    assert [path.name for path in Path("out").iterdir()] == ["a.avel.csv"]
