"""`avel detect`: results, names, stdout, exit codes. The networks are replaced, everything else is real."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from avel_cli.cli.detect import detect
from avel_cli.cli.main import run
from avel_cli.writers import WRITERS, extension

Avel = Callable[..., tuple[int, str, str]]
Clips = Callable[..., None]

HEADER = "file,start,end,label,score,heard,seen,modality"


def test_a_clip_becomes_a_csv_in_the_current_folder(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(day__clip="dog")
    code, out, err = avel("detect", "day/clip.mp4")
    assert code == 0
    assert Path("clip.avel.csv").read_text() == HEADER + "\nday/clip.mp4,0.000,1.000,dog,0.5000,,,both\n"
    assert out == ""
    assert err.splitlines() == ["cace-net.test: knows three labels", "day/clip.mp4: 1 event → clip.avel.csv"]


def test_several_formats_go_to_the_folder_that_was_asked_for(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(clip="dog")
    assert avel("detect", "clip.mp4", "-f", "json", "-f", "srt", "-o", "new/out")[0] == 0
    assert sorted(path.name for path in Path("new/out").iterdir()) == ["clip.avel.json", "clip.avel.srt"]
    assert json.loads(Path("new/out/clip.avel.json").read_text())["events"][0]["label"] == "dog"


@pytest.mark.parametrize("names", [["csv, json,srt"], ["srt", "csv,json,csv"]])
def test_formats_may_stand_in_a_list(avel: Avel, fake_clips: Clips, names: list[str]) -> None:
    fake_clips(clip="dog")
    assert avel("detect", "clip.mp4", "-o", "out", *(part for name in names for part in ("-f", name)))[0] == 0
    assert {path.suffix for path in Path("out").iterdir()} == {".csv", ".json", ".srt"}


def test_all_formats_are_written_and_read_what_was_found(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(clip="dog")
    assert avel("detect", "clip.mp4", "-f", "all", "-o", "out")[0] == 0
    assert {path.name for path in Path("out").iterdir()} == {f"clip.avel.{extension(name)}" for name in WRITERS}
    assert all("dog" in path.read_text() for path in Path("out").iterdir())


def test_no_event_is_a_result_and_says_why(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(quiet="silent", other="nothing")
    code, _, err = avel("detect", "quiet.mp4", "other.mp4", "-f", "srt")
    assert code == 0
    assert "quiet.mp4: no event (the audio track is silent) → quiet.avel.srt" in err
    assert "other.mp4: no event (none was found) → other.avel.srt" in err
    assert Path("quiet.avel.srt").read_text() == ""


def test_a_short_decode_is_a_warning(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(clip="dog short")
    code, _, err = avel("detect", "clip.mp4")
    assert code == 0
    assert err.splitlines()[-1] == "warning: clip.mp4: decoded 8.0 of 14.0 s"


def test_a_folder_and_a_file_in_it_are_detected_once_in_natural_order(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(films__c10="dog", films__c2="dog")
    code, out, _ = avel("detect", "films", "films/c2.mp4", "-o", "-")
    assert code == 0
    assert [line.split(",")[0] for line in out.splitlines()] == ["file", "films/c2.mp4", "films/c10.mp4"]


def test_options_reach_the_detector(avel: Avel, fake_clips: Clips, pipeline: type) -> None:
    fake_clips(clip="dog")
    filters = (
        "--min-score .5 --min-duration 2 --label DOG --label speech --top-k 3 --audio-track 1 --strict --show heard "
        "--video-track 2 --start 1:30 --duration 0.5"
    )
    assert avel("detect", "clip.mp4", "-m", "cace-net.test", "--device", "cuda:1", *filters.split())[0] == 0
    assert pipeline.made == [("cace-net.test", "cuda:1")]
    (asked,) = pipeline.asked
    assert vars(asked) == {
        "min_score": 0.5,
        "min_duration": 2.0,
        "labels": ("dog", "speech"),
        "top_k": 3,
        "audio_track": 1,
        "strict": True,
        "keep_scores": False,
        "show": "heard",
        "video_track": 2,
        "start": 90.0,
        "end": 90.5,
    }


@pytest.mark.parametrize("text", ["1:2:3:4", "-1", "1e3", "", "nan", "1:-2", "12s"])
def test_what_is_no_time_is_refused(text: str, avel: Avel, fake_clips: Clips) -> None:
    fake_clips(clip="dog")
    code, _, told = avel("detect", "clip.mp4", "--start", text)
    assert code == 2 and "is no time; write seconds, 1:30 or 00:01:30.5" in told


def test_the_command_line_has_the_options_and_defaults_of_the_library() -> None:
    from avel_cli.pipeline import Detector, Options

    given = {parameter.name: parameter for parameter in detect.params}
    assert given["model"].default == inspect.signature(Detector).parameters["model"].default
    assert given["device"].default == inspect.signature(Detector).parameters["device"].default
    with detect.make_context("detect", ["clip.mp4"]) as context:
        assert Options(**{name: context.params[name] for name in Options.__dataclass_fields__}) == Options()


# Stdout


def test_one_input_on_stdout_is_exactly_the_format(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(clip="dog")
    code, out, err = avel("detect", "clip.mp4", "-f", "json", "-o", "-")
    assert code == 0
    assert json.loads(out)["file"] == "clip.mp4"
    assert "clip.mp4: 1 event\n" in err
    assert [path.name for path in Path().iterdir()] == ["clip.mp4"]


def test_several_inputs_on_stdout_are_json_lines(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(a="dog", b="nothing")
    _, out, _ = avel("detect", "a.mp4", "b.mp4", "-f", "json", "-o", "-")
    assert [json.loads(line)["file"] for line in out.splitlines()] == ["a.mp4", "b.mp4"]


def test_several_inputs_on_stdout_share_one_csv_header(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(a="dog", b="damaged", c="dog")
    code, out, err = avel("detect", "a.mp4", "b.mp4", "c.mp4", "-o", "-")
    assert code == 3
    assert [line.split(",")[0] for line in out.splitlines()] == ["file", "a.mp4", "c.mp4"]
    assert err.splitlines()[-1] == "error: 1 of 3 inputs failed"


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["a.mp4", "-f", "csv", "-f", "srt"], "writes one format"),
        (["a.mp4", "b.mp4", "-f", "srt"], "2 inputs into one"),
        (["a.mp4", "-f", "all"], "writes one format"),
    ],
)
def test_what_stdout_cannot_hold_is_refused(avel: Avel, fake_clips: Clips, args: list[str], text: str) -> None:
    fake_clips(a="dog", b="dog")
    code, out, err = avel("detect", *args, "-o", "-")
    assert (code, out) == (2, "")
    assert text in err


# Existing results


def test_an_existing_result_stops_the_run_before_work(avel: Avel, fake_clips: Clips, pipeline: type) -> None:
    fake_clips(a="dog", b="dog")
    Path("b.avel.csv").write_text("mine")
    code, _, err = avel("detect", "a.mp4", "b.mp4")
    assert code == 2
    assert err == "error: b.avel.csv exists. Use --overwrite, --skip-existing, or another folder with -o\n"
    assert not pipeline.made and not Path("a.avel.csv").exists()
    assert Path("b.avel.csv").read_text() == "mine"


def test_overwrite_replaces_and_skip_existing_leaves(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(a="dog", b="dog")
    Path("b.avel.csv").write_text("mine")
    code, _, err = avel("detect", "a.mp4", "b.mp4", "--skip-existing")
    assert code == 0
    assert "1 of 2 inputs skipped" in err
    assert Path("b.avel.csv").read_text() == "mine"
    assert avel("detect", "a.mp4", "b.mp4", "--overwrite")[0] == 0
    assert "dog" in Path("b.avel.csv").read_text()


def test_two_inputs_with_one_stem_get_two_results(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(day1__clip="dog", day2__clip="dog dog")
    assert avel("detect", "--recursive", ".", "-o", "out")[0] == 0
    assert sorted(path.name for path in Path("out").glob("*.csv")) == [
        "day1_clip.mp4.avel.csv",
        "day2_clip.mp4.avel.csv",
    ]


# Failures


def test_failed_inputs_do_not_stop_the_others_and_are_counted_last(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(a="damaged", c="dog")
    code, _, err = avel("detect", "a.mp4", "b.mp4", "c.mp4")
    assert code == 3
    assert [line for line in err.splitlines() if line.startswith("error:")] == [
        "error: 'a.mp4' cannot be read as video or sound: no header",
        "error: 'b.mp4' does not exist",
        "error: 2 of 3 inputs failed",
    ]
    assert Path("c.avel.csv").exists() and not Path("a.avel.csv").exists()


def test_a_missing_file_loads_no_weights(avel: Avel, pipeline: type) -> None:
    assert avel("detect", "missing.mp4")[0] == 3
    assert not pipeline.made


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["--label", "dgo"], 2, 'no label "dgo". Did you mean dog?'),
        (["-m", "cace-net.tset"], 4, "cace-net.test"),
        (["--min-score", "2"], 2, "--min-score"),
        (["--min-score", "nan"], 2, "not a finite number"),
        (["--min-duration", "-1"], 2, "--min-duration"),
        (["--top-k", "0"], 2, "--top-k"),
        (["--device", "tpu"], 2, "'tpu' is not auto, cpu, cuda, cuda:N or mps"),
        (["-f", "doc"], 2, "'doc' is no format; there are csv, tsv, json"),
        (["--overwrite", "--skip-existing"], 2, "exclude each other"),
        (["--labels", "dog"], 2, "--label"),
    ],
)
def test_wrong_options_are_one_line_and_load_no_weights(
    avel: Avel, fake_clips: Clips, pipeline: type, args: list[str], code: int, text: str
) -> None:
    fake_clips(clip="dog")
    got, out, err = avel("detect", "clip.mp4", *args)
    assert (got, out) == (code, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and text in err
    assert not pipeline.made


def test_a_bug_of_ours_is_one_line_with_exit_code_1(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(clip="bug")
    code, _, err = avel("detect", "clip.mp4", "--quiet")
    assert code == 1
    assert err == "error: a bug in avel, please report it with the output of --debug: KeyError('oops')\n"


def test_debug_shows_where_an_error_came_from(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(clip="bug", other="damaged")
    assert "Traceback" in avel("detect", "clip.mp4", "--debug")[2]
    assert "MediaError" in avel("detect", "other.mp4", "--debug")[2]
    assert "Traceback" not in avel("detect", "other.mp4", "--verbose")[2]


def test_an_interrupt_ends_with_130_and_keeps_what_is_written(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(a="dog", b="interrupt", c="dog")
    code, _, err = avel("detect", "a.mp4", "b.mp4", "c.mp4")
    assert code == 130
    assert err.splitlines()[-1].startswith("error: interrupted")
    assert Path("a.avel.csv").exists() and not Path("c.avel.csv").exists()


def test_quiet_says_nothing_but_errors(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(a="dog short", b="damaged")
    assert avel("detect", "a.mp4", "--quiet") == (0, "", "")
    assert avel("detect", "b.mp4", "--quiet")[2].startswith("error: 'b.mp4'")


def test_verbose_tells_the_time_that_each_file_took(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(clip="dog")
    assert "info: clip.mp4: 100.0 s of media in 0.0 s\n" in avel("detect", "clip.mp4", "--verbose")[2]


def test_a_single_input_that_fails_is_not_counted(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(clip="damaged")
    assert avel("detect", "clip.mp4")[2].splitlines()[1:] == [
        "error: 'clip.mp4' cannot be read as video or sound: no header"
    ]


# Terminals


def test_a_terminal_gets_a_table(avel: Avel, fake_clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_clips(**{"clip[1]": "dog dog"})
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, out, _ = avel("detect", "clip[1].mp4")
    assert code == 0
    assert "00:00:02.000" in out and out.count("dog") == 2
    assert "dog" not in avel("detect", "clip[1].mp4", "--quiet", "--overwrite")[1]


def test_a_terminal_gets_a_progress_bar_on_stderr(
    avel: Avel, fake_clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_clips(clip="dog")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, out, err = avel("detect", "clip.mp4", "-o", "-")
    assert code == 0
    assert "5 s of 10 s" in err and "1/1 clip.mp4" in err
    assert out.splitlines()[0] == HEADER


def test_run_leaves_no_handler_behind() -> None:
    import logging

    before = list(logging.getLogger("avel").handlers)
    run(["--version"])
    assert logging.getLogger("avel").handlers == before


def test_where_nothing_is_found_the_best_guess_is_named(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(clip="guess")
    _, _, err = avel("detect", "clip.mp4")
    assert "no event (none was found; the best guess is drum, 0.12)" in err


def test_explain_says_what_sound_and_picture_say_by_the_second(avel: Avel, fake_clips: Clips) -> None:
    fake_clips(clip="dog", other="guess")
    code, out, err = avel("detect", "clip.mp4", "other.mp4", "--explain", "-o", "-")
    assert code == 0 and out.startswith(HEADER)
    assert "00:00:03.000  sound: dog 0.90  picture: drum 0.25  both: dog 0.50" in err
    assert "other.mp4: nothing to explain" in err
