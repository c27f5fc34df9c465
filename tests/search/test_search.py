"""An index of films, and questions to it: whole after a kill, aware of changes, and in agreement with detection."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from avel_cli import Detector, InputError, UsageError
from avel_cli.cli.main import run
from avel_cli.encoders.classes import audioset, imagenet
from avel_cli.encoders.vocabulary import Match, match, picture_classes
from avel_cli.media import probe
from avel_cli.search import entries
from avel_cli.search.entries import Facts
from avel_cli.search.find import find

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "speakers_and_helicopter.mp4"
SIGHTS = len(imagenet()) + len(picture_classes())


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example in it, indexed."""
    folder = tmp_path_factory.mktemp("films")
    shutil.copy(EXAMPLE, folder / "speakers.mp4")
    assert run(["index", str(folder), "-q"]) == 0
    return folder


@pytest.fixture
def own(films: Path, tmp_path: Path) -> Path:
    """A copy of it that may be damaged."""
    return Path(shutil.copytree(films, tmp_path / "own"))


def made_up(root: Path, film: str, heard: dict[int, list[float]], seen: dict[int, list[float]]) -> None:
    """An entry of a film whose names are heard and seen like this, a number for each second."""
    (root / entries.FOLDER).mkdir(exist_ok=True)
    (root / film).touch()
    steps = len(next(iter((heard | seen).values())))
    tables = np.zeros((steps, len(audioset()))), np.zeros((steps, SIGHTS))
    for table, rows in zip(tables, (heard, seen), strict=True):
        for place, values in rows.items():
            table[:, place] = values
    entries.write(root, Facts(film, *entries.stamp(root / film), float(steps), {}), *tables)


def test_a_phrase_is_found_where_detection_finds_it(films: Path) -> None:
    best = find(films, match(["a helicopter"])).moments[0]
    detector = Detector(device="cpu", words=["a helicopter"])
    (event,) = detector.detect(EXAMPLE)
    assert (best.start, best.end, best.phrase) == (event.start, event.end, "a helicopter")
    scores = [second.both[1] for second in detector.detect(EXAMPLE).seconds]
    assert best.score == pytest.approx(max(scores), abs=0.05)  # overlapping windows differ at their edges


def test_moments_of_several_films_are_ranked_and_do_not_touch(tmp_path: Path) -> None:
    made_up(tmp_path, "a.mp4", {0: [0.9, 0.5, 0.1, 0.2, 0.6]}, {})
    made_up(tmp_path, "b.mp4", {0: [0.0, 0.8, 0.0, 0.0, 0.0]}, {})
    found = find(tmp_path, (Match("x", sounds=(0,)),), top_k=3)
    told = [(Path(m.file).name, m.start, m.end, round(m.score, 2), m.seen) for m in found.moments]
    assert told == [("a.mp4", 0, 2, 0.9, None), ("b.mp4", 1, 2, 0.8, None), ("a.mp4", 4, 5, 0.6, None)]


def test_both_halves_count_unless_one_is_asked_for(tmp_path: Path) -> None:
    made_up(tmp_path, "a.mp4", {0: [0.9, 0.4]}, {5: [0.1, 0.1], 6: [0.3, 0.3], 1000: [0.2, 0.2]})
    phrase = (Match("x", (0,), (5, 6), (0,)),)
    assert find(tmp_path, phrase).moments[0].score == pytest.approx((0.9 * 0.4) ** 0.5, abs=1e-3)
    assert find(tmp_path, phrase, by="heard").moments[0].score == pytest.approx(0.9, abs=1e-3)
    assert find(tmp_path, phrase, by="seen").moments[0].score == pytest.approx(0.4, abs=1e-3)


def test_a_film_that_changed_is_left_out_until_it_is_indexed_again(own: Path) -> None:
    film = own / "speakers.mp4"
    shutil.copystat(EXAMPLE, film)
    assert run(["index", str(own), "-q"]) == 0
    assert find(own, match(["rain"])).films == 1
    os.utime(film, ns=(0, 1))
    answer = find(own, match(["rain"]))
    assert answer.films == 0
    assert "speakers.mp4 has changed since it was indexed" in answer.warnings[0]


def test_a_film_that_is_gone_leaves_the_index(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up(own, "gone.mp4", {0: [0.5]}, {})
    (own / "gone.mp4").unlink()
    os.utime(own / "speakers.mp4", ns=entries_time(own))
    assert run(["index", str(own)]) == 0
    said = capsys.readouterr().err
    assert "gone.mp4: no longer there" in said
    assert "0 added, 1 were there already, 0 passed over, 1 taken out" in said


def entries_time(root: Path) -> tuple[int, int]:
    """The time that the one film had when it was indexed."""
    times = [entries.read(root, path).facts for path in entries.paths(root)]
    (modified,) = [facts.modified_ns for facts in times if facts.film == "speakers.mp4"]
    return modified, modified


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_what_a_killed_run_leaves_is_whole(tmp_path: Path, ffmpeg) -> None:
    film = ffmpeg("0.mp4", "-f", "lavfi", "-i", "testsrc=d=2:s=160x120:r=10", "-f", "lavfi", "-i", "sine=440:d=2")
    for number in range(1, 30):
        shutil.copy(film, tmp_path / f"{number}.mp4")
    process = subprocess.Popen([sys.executable, "-m", "avel_cli", "index", str(tmp_path), "-q"], cwd=ROOT)
    while not list(entries.paths(tmp_path)) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (tmp_path / entries.FOLDER / ".avel-0.part").touch()  # what a kill leaves while a file is being written
    there = list(entries.paths(tmp_path))
    assert 0 < len(there) < 30
    assert all(entries.read(tmp_path, path).rows("heard", [0]).shape == (1, 2) for path in there)
    for number in range(4, 30):
        (tmp_path / f"{number}.mp4").unlink()
    assert run(["index", str(tmp_path), "-q"]) == 0
    assert len(list(entries.paths(tmp_path))) == 4
    assert not list((tmp_path / entries.FOLDER).glob(".avel-*"))


@pytest.mark.parametrize(
    "facts",
    [
        {"film": "../secret.mp4"},
        {"film": "/etc/passwd"},
        {"film": ""},
        {"duration": 0.5},
        {"duration": float("nan")},
        {"format": "avel.index/2"},
    ],
)
def test_entries_of_strangers_are_believed_in_nothing(own: Path, facts: dict[str, object]) -> None:
    (path,) = entries.paths(own)
    header = json.dumps({**entries.read(own, path).facts.__dict__, **facts})
    rows = {"heard": np.zeros((527, 20), np.float16), "seen": np.zeros((SIGHTS, 20), np.float16)}
    path.write_bytes(entries.save(rows, metadata={"avel": header}))
    with pytest.raises(InputError, match="no entry of an index"):
        entries.read(own, path)
    answer = find(own, match(["rain"]))
    assert (answer.films, len(answer.warnings)) == (0, 1)


def test_damaged_entries_are_told_and_made_again(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = entries.paths(own)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    os.utime(own / "speakers.mp4", ns=(10**18, 10**18))
    assert run(["find", str(own), "rain"]) == 0
    assert "no entry of an index of this version" in capsys.readouterr().err
    assert run(["index", str(own), "-q"]) == 0
    assert find(own, match(["rain"])).films == 1


def test_a_question_needs_no_torch(films: Path) -> None:
    code = (
        "import sys; from avel_cli.cli.main import run; code = run(sys.argv[1:]); print('torch' in sys.modules, code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "find", str(films), "helicopter"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "False 0"
    assert "speakers.mp4" in done.stdout


def test_answers_as_json_and_wrong_questions(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["find", str(films), "helicopter", "--json", "--top-k", "1", "-q"]) == 0
    (moment,) = json.loads(capsys.readouterr().out)
    assert moment["phrase"] == "helicopter"
    assert run(["find", str(tmp_path), "rain"]) == 2
    assert "no index here; avel index" in capsys.readouterr().err
    assert run(["find", str(films), "elefant"]) == 2
    assert run(["index", str(tmp_path)]) == 2
    with pytest.raises(UsageError, match="answers words, and there are none"):
        Detector("words.starter", device="cpu").detect(EXAMPLE)


def test_moments_are_cut_out_and_nothing_is_replaced(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["find", str(films), "a helicopter", "--top-k", "1", "--clip", str(tmp_path / "clips")]
    assert run(args) == 0
    (clip,) = (tmp_path / "clips").iterdir()
    assert clip.name.startswith("01.a_helicopter.00-00-10.000.")
    assert probe(clip).duration == pytest.approx(5, abs=0.6)
    before = clip.read_bytes()
    assert run(args) == 2
    assert "exists; choose another folder" in capsys.readouterr().err
    assert clip.read_bytes() == before
