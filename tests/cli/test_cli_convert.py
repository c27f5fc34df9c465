"""`avel convert`: saved timelines in other formats, at the command line, without torch and without films."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from avel_cli.cli.main import run
from avel_cli.timeline.events import Event, Timeline
from avel_cli.writers import WRITERS, extension

EXAMPLE = Path(__file__).parents[2] / "examples" / "speakers_and_helicopter.mp4"
EVENTS = (Event(0, 2, "dog", 0.3), Event(1, 5, "speech", 0.6), Event(6, 6.5, "dog", 0.9))
SAVED = Timeline("films/clip.mp4", 10.0, EVENTS, ("dog", "speech"), parameters={"min_score": 0.25, "labels": []})


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """One saved timeline in the current folder."""
    monkeypatch.chdir(tmp_path)
    SAVED.write("clip.avel.json")
    return tmp_path


def events_of(path: str) -> list[tuple[str, float]]:
    return [(event.label, event.score) for event in Timeline.read(path)]


def test_all_formats_are_those_of_detect() -> None:
    assert run(["convert", "clip.avel.json", "-f", "all", "-o", "out"]) == 0
    assert {path.name for path in Path("out").iterdir()} == {f"clip.avel.{extension(name)}" for name in WRITERS}
    SAVED.write("again.vtt")
    assert Path("out/clip.avel.vtt").read_text() == Path("again.vtt").read_text()
    assert Path("out/clip.avel.json").read_text() == Path("clip.avel.json").read_text()


@pytest.mark.parametrize(
    ("args", "kept"),
    [
        (["--min-score", "0.5"], [1, 2]),
        (["--label", "DOG"], [0, 2]),
        (["--min-duration", "2"], [0, 1]),
        (["--label", "dog", "--min-score", "0.5"], [2]),
    ],
)
def test_filters_leave_what_was_asked_for_and_say_so(args: list[str], kept: list[int]) -> None:
    assert run(["convert", "clip.avel.json", "-f", "json", "-o", "out", *args]) == 0
    found = Timeline.read("out/clip.avel.json")
    assert found.events == tuple(EVENTS[n] for n in kept)
    asked = dict(zip(args[::2], args[1::2], strict=True))
    assert found.parameters["min_score"] == float(asked.get("--min-score", 0.25))
    assert found.parameters["labels"] == (["dog"] if "--label" in asked else [])


def test_what_was_not_saved_is_told(capsys) -> None:
    assert run(["convert", "clip.avel.json", "-f", "csv", "--min-score", "0.1"]) == 0
    assert "warning: clip.avel.json: events below 0.25 were not saved" in capsys.readouterr().err


def test_kept_scores_are_decoded_again_as_detect_does(capsys) -> None:
    given = ["detect", str(EXAMPLE), "-f", "json", "-q", "--device", "cpu"]
    assert run([*given, "--keep-scores", "-o", "kept"]) == 0
    assert run([*given, "--min-score", "0.05", "-o", "low"]) == 0
    name = f"{EXAMPLE.stem}.avel.json"
    assert run(["convert", f"kept/{name}", "-f", "json", "--min-score", "0.05", "-o", "again"]) == 0
    low, again = Timeline.read(f"low/{name}"), Timeline.read(f"again/{name}")
    assert len(low) > len(Timeline.read(f"kept/{name}")) > 0
    assert [(e.start, e.end, e.label) for e in again] == [(e.start, e.end, e.label) for e in low]
    assert [e.score for e in again] == pytest.approx([e.score for e in low], abs=2e-4)


@pytest.mark.parametrize(
    "change", [{"kind": "x"}, {"both": [[2.0]]}, {"grid": 3}, {"top_k": "x"}, {"labels": [3]}, {"begin": 1e9}]
)
def test_scores_that_are_none_are_refused(change: dict, capsys) -> None:
    scores = {
        "kind": "labels",
        "labels": ["dog"],
        "known_by": [],
        "modalities": ["both"],
        **{way: [[0.5]] for way in ("both", "heard", "seen")},
        "grid": {"start": 0, "stride": 1, "window": 1},
        **{"duration": 10, "begin": 0, "parents": {}, "min_duration": 0, "keep": [], "top_k": None},
    }
    for given, code in ((scores, 0), (scores | change, 3)):
        replace(SAVED, scores=given).write("scores.avel.json")
        assert run(["convert", "scores.avel.json", "--min-score", "0.1", "-o", f"out{code}"]) == code
    assert "scores.avel.json: its scores cannot be decoded again" in capsys.readouterr().err


def test_folders_and_lists_and_names(folder: Path) -> None:
    for name in ("sub/clip.avel.json", "sub/my.film.avel.json", "sub/deep/b.avel.json"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        SAVED.write(name)
    Path("list.txt").write_text("sub\nclip.avel.json\n")
    assert run(["convert", "@list.txt", "-r", "-f", "srt", "-o", "out"]) == 0
    names = ["b", "clip.json", "my.film", "sub_clip.json"]
    assert {path.name for path in Path("out").iterdir()} <= {f"{name}.avel.srt" for name in [*names, "clip.json-2"]} | {
        f"{folder.name}_clip.json.avel.srt"
    }
    assert len(list(Path("out").iterdir())) == 4


def test_one_bad_input_does_not_end_a_batch(capsys) -> None:
    Path("bad.avel.json").write_text("{")
    replace(SAVED, labels=("cat",), events=()).write("other.avel.json")
    assert run(["convert", ".", "-f", "csv", "--label", "dog"]) == 3
    told = capsys.readouterr().err
    assert "bad.avel.json: not a timeline of avel" in told
    assert 'other.avel.json: the model has no label "dog"' in told and "2 of 3 inputs failed" in told
    assert Path("clip.avel.csv").exists() and not Path("other.avel.csv").exists()


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('"duration": 10.0', '"duration": 1e306', 3),
        ('"duration": 10.0', f'"duration": {10**400}', 3),
        ('"duration": 10.0', '"duration": NaN', 3),
        ('"media": {}', '"media": {"video": {"fps": 1e999}}', 3),
        ('"media": {}', '"media": {"video": {"fps": NaN}}', 3),
        ('"media": {}', '"media": {"video": {"fps": "x"}}', 0),
        ('"media": {}', f'"media": {{"video": {{"fps": {10**400}}}}}', 0),
        ('"media": {}', '"media": {"video": [1]}', 0),
        ('"modality": "both"', '"modality": ["both"]', 3),
        ('"modality": "both"', '"modality": "smelt"', 3),
        ('"label": "dog"', '"label": "\\ud800\\u0000\\u001b[31m"', 0),
        ('"file": "films/clip.mp4"', '"file": "../..\\u0000/\\n.mp4"', 0),
        ('"file": "films/clip.mp4"', '"file": ""', 0),
        ('"min_score": 0.25', f'"min_score": {10**400}', 0),
    ],
)
def test_what_strangers_write_is_converted_or_refused(old: str, new: str, code: int, capsys) -> None:
    text = Path("clip.avel.json").read_text()
    assert old in text
    Path("bad.avel.json").write_text(text.replace(old, new))
    for more in ([], ["--min-score", "0.1"]):
        assert run(["convert", "bad.avel.json", "-f", "all", "-o", "out", "--overwrite", *more]) == code
    assert code == 0 or "bad.avel.json: not a timeline of avel" in capsys.readouterr().err


def test_stdout_holds_one_format(capsys) -> None:
    SAVED.write("two.avel.json")
    assert run(["convert", "clip.avel.json", "two.avel.json", "-f", "json", "-o", "-"]) == 0
    assert [json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()] == ["films/clip.mp4"] * 2
    assert run(["convert", "clip.avel.json", "-f", "csv,srt", "-o", "-"]) == 2
    assert run(["convert", "clip.avel.json", "two.avel.json", "-f", "vtt", "-o", "-"]) == 2


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["missing.avel.json"], 3, "missing.avel.json"),
        (["empty"], 2, "empty holds no *.avel.json"),
        (["clip.avel.json", "-f", "json"], 2, "clip.avel.json exists"),
        (["clip.avel.json", "-f", "csv,doc"], 2, "'doc' is no format"),
        (["clip.avel.json", "--label", "dgo"], 3, "Did you mean dog?"),
    ],
)
def test_what_cannot_be_done_is_told(args: list[str], code: int, text: str, capsys) -> None:
    Path("empty").mkdir()
    assert run(["convert", *args]) == code
    assert text in capsys.readouterr().err
    assert Timeline.read("clip.avel.json") == SAVED


def test_existing_results_are_left_or_replaced_when_told(capsys) -> None:
    Path("clip.avel.csv").write_text("mine")
    assert run(["convert", "clip.avel.json", "--skip-existing"]) == 0
    assert Path("clip.avel.csv").read_text() == "mine"
    assert run(["convert", "clip.avel.json", "-f", "csv,json", "--label", "speech", "--overwrite"]) == 0
    assert events_of("clip.avel.json") == [("speech", 0.6)] and "speech" in Path("clip.avel.csv").read_text()


def test_torch_is_not_loaded() -> None:
    code = (
        "from avel_cli.cli.main import run; import sys; "
        "assert run(['convert', 'clip.avel.json', '-f', 'all', '-o', 'out', '--min-score', '0.3']) == 0; "
        "assert not {'torch', 'av', 'pandas', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
