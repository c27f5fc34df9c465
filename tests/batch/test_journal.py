"""The journal: claims, what is done again, what is no journal."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from avel_cli.batch.journal import NAME, Journal, MadeWith, Policy, accounted, identify, rows
from avel_cli.batch.run import in_shard
from avel_cli.errors import InputError, SetupError, UsageError

MADE = MadeWith("1 2 abc", "settings", "model")
PLAIN = Policy()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path)
    yield journal
    journal.close()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"film")
    return path


@pytest.fixture
def result(tmp_path: Path) -> Path:
    return tmp_path / "film.avel.csv"


def test_what_is_done_and_unchanged_stays_done(journal: Journal, film: Path, result: Path) -> None:
    assert journal.claim(film, [result], MADE, PLAIN).verdict == "yours"
    result.write_text("events")
    journal.finish(film, "done", 1.5)
    assert journal.claim(film, [result], MADE, PLAIN).verdict == "done"
    ((_, state, model, reason, seconds, times),) = rows(journal.folder)
    assert (state, model, reason, seconds, times) == ("done", "model", None, 1.5, 1)


@pytest.mark.parametrize("change", ["identity", "settings", "result", "overwrite"])
def test_what_has_changed_is_done_again(journal: Journal, film: Path, result: Path, change: str) -> None:
    journal.claim(film, [result], MADE, PLAIN)
    result.write_text("events")
    journal.finish(film, "done", 1.0)
    made = MADE._replace(**{change: "other"}) if change in MADE._fields else MADE
    if change == "result":
        result.unlink()
    policy = Policy(overwrite=change == "overwrite", since=4e9)
    assert journal.claim(film, [result], made, policy).verdict == "yours"


def test_a_failure_stands_until_it_is_to_be_retried_and_is_retried_once(
    journal: Journal, film: Path, result: Path
) -> None:
    journal.claim(film, [result], MADE, PLAIN)
    journal.finish(film, "failed", 0.1, "damaged")
    assert journal.claim(film, [result], MADE, PLAIN) == ("failed", "damaged")
    assert journal.claim(film, [result], MADE, Policy(retry_failed=True, since=1.0)).verdict == "failed"  # since then
    assert journal.claim(film, [result], MADE, Policy(retry_failed=True, since=4e9)).verdict == "yours"


def test_a_result_that_somebody_has_changed_is_not_lost(journal: Journal, film: Path, result: Path) -> None:
    journal.claim(film, [result], MADE, PLAIN)
    result.write_text("events")
    journal.finish(film, "done", 1.0)
    result.write_text("corrected by hand")
    other = MADE._replace(settings="other")
    with pytest.raises(InputError, match=r"film\.avel\.csv: was changed since"):
        journal.claim(film, [result], other, PLAIN)
    assert journal.claim(film, [result], other, Policy(overwrite=True, since=4e9)).verdict == "yours"


def test_what_another_process_is_at_is_taken_until_it_gives_it_back(
    journal: Journal, film: Path, result: Path, tmp_path: Path
) -> None:
    other = Journal(tmp_path)
    assert other.claim(film, [result], MADE, PLAIN).verdict == "yours"
    assert journal.claim(film, [result], MADE, PLAIN).verdict == "taken"
    assert rows(tmp_path)[0].state == "claimed"
    other.close()
    assert rows(tmp_path)[0].state == "interrupted"
    assert journal.claim(film, [result], MADE, PLAIN).verdict == "yours"


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_claim_is_free_when_its_process_is_killed(journal: Journal, film: Path, result: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from avel_cli.batch.journal import *\n"
        "folder, film, result = map(Path, sys.argv[1:])\n"
        f"journal, made = Journal(folder), MadeWith{tuple(MADE)!r}\n"
        "print(journal.claim(film, [result], made, Policy()).verdict, flush=True)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(film), str(result)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "yours\n"
        assert journal.claim(film, [result], MADE, PLAIN).verdict == "taken"
        process.send_signal(signal.SIGKILL)
    assert rows(tmp_path)[0].state == "interrupted"
    assert journal.claim(film, [result], MADE, PLAIN).verdict == "yours"
    assert len(list(tmp_path.glob(".avel-*.lock"))) == 1  # its own


def test_results_are_known_to_be_of_their_input_only(journal: Journal, film: Path, result: Path) -> None:
    journal.claim(film, [result], MADE, PLAIN)
    assert accounted(journal.folder, {film: [result]}) == {result}
    assert accounted(journal.folder, {film.with_name("other"): [result]}) == set()


def test_names_that_are_not_utf8_are_kept(journal: Journal, tmp_path: Path) -> None:
    film = tmp_path / os.fsdecode(b"f\xff.mp4")
    assert journal.claim(film, [], MADE, PLAIN).verdict == "yours"
    journal.finish(film, "done", 1.0)
    assert journal.claim(film, [], MADE, PLAIN).verdict == "done"


def test_an_input_is_known_by_size_time_and_ends(film: Path) -> None:
    seen = {identify(film)}
    os.utime(film, ns=(1, 1))
    seen.add(identify(film))
    film.write_bytes(b"mlif")
    os.utime(film, ns=(1, 1))
    seen.add(identify(film))
    assert len(seen) == 3
    assert identify(film.with_name("missing")) == identify(film.parent) == ""


def test_what_is_no_journal_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no journal here"):
        rows(tmp_path)
    (tmp_path / NAME).touch()  # another process is about to make it
    assert rows(tmp_path) == [] and accounted(tmp_path, {tmp_path: [tmp_path]}) == set()
    (tmp_path / NAME).write_text("something else, and long enough to be read as a header of SQLite" * 20)
    with pytest.raises(SetupError, match="the journal cannot be used"):
        Journal(tmp_path)
    with pytest.raises(SetupError, match="the journal cannot be used"):
        rows(tmp_path)


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"../other": null}', '{"/etc/passwd": null}', '{"a": 1}', "[" * 99999, None, 7]
)
def test_a_strangers_journal_names_no_other_files(film: Path, result: Path, tmp_path: Path, text: object) -> None:
    Journal(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / NAME)) as base, base:
        base.execute("CREATE TABLE other AS SELECT * FROM work")
        base.execute("DROP TABLE work")
        base.execute("ALTER TABLE other RENAME TO work")
        base.execute("INSERT INTO work (id, path, state, results) VALUES (1, ?, 'waiting', ?)", [str(film), text])
    with closing(Journal(tmp_path)) as journal, pytest.raises(SetupError, match="the journal cannot be used"):
        journal.claim(film, [result], MADE, PLAIN)
    with pytest.raises(SetupError, match="the journal cannot be used"):
        accounted(tmp_path, {film: [result]})


def test_shards_have_each_input_once() -> None:
    paths = [Path(f"/films/{number}.mp4") for number in range(400)]
    shares = Counter(index for path in paths for index in range(1, 5) if in_shard(path, index, 4))
    assert shares.total() == 400 and all(60 < share < 140 for share in shares.values())
