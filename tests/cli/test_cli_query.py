"""`avel query` with the weights that ship: answers on stdout, everything else in a line on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from avel_cli.cli.main import run
from tests.conftest import run_ffmpeg

EXAMPLE = Path(__file__).parents[2] / "examples" / "speakers_and_helicopter.mp4"
PICTURE = ("-f", "lavfi", "-i", "testsrc=d=4:s=160x120:r=10")
SOUND = ("-f", "lavfi", "-i", "aevalsrc='if(lt(t,2),0.5*sin(2000*t*t),0)':s=16000:d=4")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 s, of which the last 2 are silent."""
    return run_ffmpeg(tmp_path_factory.mktemp("films") / "film.mkv", *PICTURE, *SOUND, "-c:a", "pcm_s16le")


@pytest.fixture
def query(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command: exit code, stdout, stderr."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = run(["query", "--device", "cpu", *map(str, arguments)])
        return code, *capsys.readouterr()

    return call


def test_windows_come_as_columns_with_the_closest_first(query, film):
    code, out, err = query(film, "--sound", "0-1.5", "--top-k", "2")
    assert (code, err) == (0, "")
    header, *rows = (line.split("\t") for line in out.splitlines())
    assert header == ["rank", "start", "end", "distance"]
    assert [row[0] for row in rows] == ["1", "2"]
    assert all(float(end) - float(start) == 1 for _, start, end, _ in rows)
    assert 0 <= float(rows[0][3]) <= float(rows[1][3]) <= 2


def test_json_holds_the_query_as_it_was_understood_and_the_weights(query, film):
    code, out, _ = query(film, "--picture", "0.6-2.9", "--json")
    answer = json.loads(out)
    assert code == 0
    assert (answer["asked"], answer["start"], answer["end"]) == ("picture", 1, 3)
    assert answer["file"] == str(film)
    assert answer["model"]["name"] == "ccln.starter"
    assert {"start", "end", "distance"} == answer["matches"][0].keys()


def test_a_sound_is_found_in_the_picture(query):
    """In the example speakers are seen and heard until 6 s."""
    code, out, _ = query(EXAMPLE, "--sound", "3-6", "--json")
    best = json.loads(out)["matches"][0]
    assert code == 0 and 0 <= best["start"] < best["end"] <= 6


@pytest.mark.parametrize("span", ["3", "a-b", "5-3", "3-3", "-1-2", "1-2-3", "1e1-20", "nan-3", ""])
def test_what_is_no_span_is_said_before_anything_is_loaded(query, film, span):
    code, out, err = query(film, f"--sound={span}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "must begin before it ends" in err or "is not START-END in seconds, for example 3-5" in err


@pytest.mark.parametrize("spans", [(), ("--sound", "1-2", "--picture", "1-2")])
def test_one_thing_is_asked_at_a_time(query, film, spans):
    code, _, err = query(film, *spans)
    assert code == 2 and "ask for one thing" in err


def test_what_cannot_be_answered_is_a_line(query, film, tmp_path):
    mute = run_ffmpeg(tmp_path / "mute.mkv", *PICTURE)
    blind = run_ffmpeg(tmp_path / "blind.wav", *SOUND)
    broken = tmp_path / "broken.mp4"
    broken.write_text("no film")
    for path, span, text in (
        (film, "3-4", "there is no sound from 3 to 4 s"),
        (film, "3-9", "3-9 s is outside of the file, which ends at 4.0 s"),
        (mute, "0-1", "no audio track"),
        (blind, "0-1", "no video track"),
        (broken, "0-1", "cannot be read"),
        (tmp_path / "none.mp4", "0-1", "does not exist"),
    ):
        code, out, err = query(path, "--sound", span)
        assert (code, out, err.count("\n")) == (3, "", 1) and text in err, err


def test_weights_that_cannot_compare_are_refused(query, film):
    code, _, err = query(film, "--sound", "0-1", "-m", "cace-net.starter")
    assert code == 2 and "cace-net.starter cannot compare sound and picture; use -m ccln.starter" in err
    code, _, err = query(film, "--sound", "0-1", "-m", "ccln.startr")
    assert code == 4 and 'did you mean "ccln.starter"' in err


def test_a_track_that_is_not_there_is_a_line(query, film):
    code, _, err = query(film, "--sound", "0-1", "--audio-track", "3")
    assert code == 3 and err.count("\n") == 1
