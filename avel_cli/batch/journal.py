"""What happened to each input of a folder of results, in an SQLite file beside them, and who works on what right now.

A process claims an input before it works on it, so that several processes on one folder do each input once. A process
holds a lock on a file of its own while it lives, which the system frees however the process ends: a claim whose
process holds no lock is void. The write-ahead log that the file has needs all its processes on one machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from filelock import FileLock, Timeout

from avel_cli.errors import InputError, SetupError, UsageError

NAME = "avel-journal.sqlite"
VERSION = 1
BUSY_SECONDS = 120.0  # for which others may hold the file
ENDS = 64 << 10  # bytes of head and of tail that tell one input from another

SCHEMA = """
CREATE TABLE IF NOT EXISTS work (    -- a row for each claim; the last of an input says how it stands
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL,              -- of the input, absolute
    state TEXT NOT NULL,
    identity TEXT, settings TEXT, model TEXT, worker TEXT,
    reason TEXT,                     -- why it failed
    seconds REAL, ended REAL,        -- of work; since 1970
    results TEXT NOT NULL DEFAULT '{}'  -- name and hash of each result, null while it is written
);
CREATE UNIQUE INDEX IF NOT EXISTS claims ON work(path) WHERE state = 'claimed';
CREATE INDEX IF NOT EXISTS paths ON work(path, id);
"""
LAST = "SELECT max(id) FROM work GROUP BY path"

State = Literal["waiting", "claimed", "done", "failed", "interrupted"]


class MadeWith(NamedTuple):
    """What an outcome depends on.

    Attributes:
        identity: of the input, see `identify`.
        settings: digest of all settings.
        model: name of the weights.
    """

    identity: str
    settings: str
    model: str


@dataclass(frozen=True)
class Policy:
    """What is done again though nothing has changed.

    Attributes:
        overwrite: what was done before `since`; results that somebody has changed are replaced.
        retry_failed: what failed before `since`.
        since: seconds since 1970.
    """

    overwrite: bool = False
    retry_failed: bool = False
    since: float = 0.0


class Answer(NamedTuple):
    """What `Journal.claim` says: `yours`; or `taken` by a process that lives, `done` or `failed` before."""

    verdict: Literal["yours", "taken", "done", "failed"]
    reason: str = ""


class Row(NamedTuple):
    """How one input stands; `times` is how often it was brought to an end."""

    path: str
    state: State
    model: str | None
    reason: str | None
    seconds: float | None
    times: int


class Journal:
    """The journal of a folder, made if it is missing, for one process that works there.

    Raises:
        SetupError: if it cannot be opened, or is no journal.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.worker = folder, uuid4().hex
        with _errors(folder):
            self._base = _connect(folder, "rwc")
            _keep_log(self._base)
            self._base.execute("PRAGMA synchronous = NORMAL")
            self._base.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT")
        self._lock = FileLock(_lock_path(folder, self.worker), timeout=10)
        try:
            self._lock.acquire()
            while not _lock_path(folder, self.worker).exists():  # taken away as that of a dead one
                self._lock.release()
                self._lock.acquire()
        except (OSError, NotImplementedError, Timeout) as error:
            raise SetupError(f"{folder}: a lock is needed here and cannot be had ({error})") from None

    def close(self) -> None:
        """Give back what is claimed, and close the file."""
        try:
            with self._writing() as base:
                mine = "worker = ? AND state = 'claimed'"
                base.execute(f"UPDATE work SET state = 'interrupted' WHERE {mine}", [self.worker])
        finally:
            self._base.close()
            self._lock.release()
            _lock_path(self.folder, self.worker).unlink(missing_ok=True)
            for path in self.folder.glob(_lock_path(Path(), "*").name):  # what killed processes have left
                _is_alive(self.folder, path.name.removeprefix(".avel-").removesuffix(".lock"))

    def expect(self, paths: Iterable[Path]) -> None:
        """Note inputs that nothing is known of yet as waiting."""
        with self._writing() as base:
            base.executemany(
                "INSERT INTO work (path, state) SELECT ?1, 'waiting' WHERE NOT EXISTS"
                " (SELECT 1 FROM work WHERE path = ?1)",
                ([_text(path)] for path in paths),
            )

    def claim(self, path: Path, files: Sequence[Path], made: MadeWith, policy: Policy) -> Answer:
        """Claim an input, if there is something to do and nobody else does it.

        Args:
            path: of the input.
            files: its results.
            made: what the results will depend on.
            policy: what is done again.

        Raises:
            InputError: if somebody has changed the results since they were written.
        """
        with self._writing() as base:
            last = base.execute(
                "SELECT id, state, identity, settings, worker, reason, ended, results FROM work WHERE path = ?"
                " ORDER BY id DESC LIMIT 1",
                [_text(path)],
            ).fetchone()
            state: Any  # of SQLite everything is
            number, state, *made_with, worker, reason, ended, text = last or (0, "waiting", None, None, "", "", 0, "{}")
            results = _results(text)
            if state == "claimed":
                if _is_alive(self.folder, worker):
                    return Answer("taken")
                base.execute("UPDATE work SET state = 'interrupted' WHERE id = ?", [number])
            elif made_with == [*made[:2]] and _stands(state, ended or 0.0, files, policy):
                return Answer(state, reason or "")
            if not policy.overwrite:
                self._check_unchanged(files, results)
            results |= {_text(file.name): None for file in files}
            base.execute(
                "INSERT INTO work (path, state, identity, settings, model, worker, results)"
                " VALUES (?, 'claimed', ?, ?, ?, ?, ?)",
                [_text(path), *made, self.worker, json.dumps(results)],
            )
        return Answer("yours")

    def finish(self, path: Path, state: Literal["done", "failed"], seconds: float, reason: str = "") -> None:
        """Record how a claimed input ended, after its results are written; what is not claimed stays as it was."""
        with self._writing() as base:
            mine = "path = ? AND worker = ? AND state = 'claimed'"
            row = base.execute(f"SELECT results FROM work WHERE {mine}", [_text(path), self.worker]).fetchone()
            if row is None:
                return
            results = {name: known or _hash(self.folder / name) for name, known in _results(row[0]).items()}
            there = {name: known for name, known in results.items() if known}
            base.execute(
                f"UPDATE work SET state = ?, seconds = ?, reason = ?, ended = ?, results = ? WHERE {mine}",
                [state, seconds, reason or None, time.time(), json.dumps(there), _text(path), self.worker],
            )

    def _check_unchanged(self, files: Sequence[Path], results: dict[str, str | None]) -> None:
        for file in files:
            known = results.get(_text(file.name))
            if known and file.exists() and _hash(file) != known:
                raise InputError(
                    f"{file}: was changed since avel wrote it, and stays as it is; --overwrite replaces it"
                )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else can be in."""
        with _errors(self.folder):
            try:
                self._base.execute("BEGIN IMMEDIATE")
                yield self._base
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise


def rows(folder: Path) -> list[Row]:
    """How each input of a folder stands, by path. A claim whose process is gone is an interrupted one.

    Raises:
        UsageError: if the folder has no journal.
        SetupError: if it cannot be read.
    """
    if not (folder / NAME).is_file():
        raise UsageError(f"{folder}: no journal here; avel detect keeps one with its results if inputs are several")
    query = (
        "SELECT path, state, model, reason, seconds, (SELECT count(*) FROM work AS each WHERE each.path = work.path AND"
        f" each.state IN ('done', 'failed')), worker FROM work WHERE id IN ({LAST}) ORDER BY path"
    )
    with _errors(folder), closing(_connect(folder, "rw")) as base:
        if _is_new(base):
            return []
        found = [(Row(*row), worker) for *row, worker in base.execute(query)]
    workers = {worker: _is_alive(folder, worker) for row, worker in found if row.state == "claimed"}
    return [row if workers.get(worker, True) else row._replace(state="interrupted") for row, worker in found]


def accounted(folder: Path, plan: Mapping[Path, Iterable[Path]]) -> set[Path]:
    """Those of the result files that a folder's journal knows to be of their input."""
    if not (folder / NAME).is_file():
        return set()
    with _errors(folder), closing(_connect(folder, "rw")) as base:
        if _is_new(base):
            return set()
        found = base.execute(f"SELECT path, results FROM work WHERE id IN ({LAST})")
        known = {path: _results(text) for path, text in found}
    return {file for path, files in plan.items() for file in files if _text(file.name) in known.get(_text(path), ())}


def identify(path: Path) -> str:
    """What tells a file from what it was before: size, time of change, hash of head and tail; "" if it is none."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):  # a pipe would be waited for
            return ""
        return f"{facts.st_size} {facts.st_mtime_ns} {content(path)}"
    except OSError:
        return ""


def content(path: Path) -> str:
    """Hash of head and tail of a file.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(ENDS)
        stream.seek(max(len(head), os.fstat(stream.fileno()).st_size - ENDS))
        return hashlib.sha256(head + stream.read(ENDS)).hexdigest()[:32]


def digest(settings: Any) -> str:
    """A short name for settings, which may be anything that JSON holds."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _stands(state: State, ended: float, files: Sequence[Path], policy: Policy) -> bool:
    """Whether the outcome of an input that is as it was is kept."""
    old = ended < policy.since
    if state == "failed":
        return not (old and (policy.retry_failed or policy.overwrite))
    return state == "done" and not (old and policy.overwrite) and all(file.exists() for file in files)


def _connect(folder: Path, mode: str) -> sqlite3.Connection:
    path = folder / NAME
    base = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", BUSY_SECONDS, uri=True, isolation_level=None)
    base.execute("PRAGMA trusted_schema = OFF")
    (version,) = base.execute("PRAGMA user_version").fetchone()
    if version not in (0, VERSION):
        base.close()
        raise SetupError(f"{path}: a journal of another version of avel; choose another folder with -o")
    return base


def _is_new(base: sqlite3.Connection) -> bool:
    """Whether the process that makes the journal is not yet done with that."""
    return base.execute("SELECT 1 FROM sqlite_master WHERE name = 'work'").fetchone() is None


def _keep_log(base: sqlite3.Connection) -> None:
    """Turn the write-ahead log on; of processes that begin together some are refused at first."""
    for trial in range(100):
        try:
            base.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if trial == 99:
                raise
            time.sleep(0.05)


def _lock_path(folder: Path, worker: str) -> Path:
    return folder / f".avel-{worker}.lock"


def _is_alive(folder: Path, worker: str) -> bool:
    """Whether the process of that name holds its lock."""
    path = _lock_path(folder, worker)
    if not str(worker).isalnum() or not path.is_file():
        return False
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except OSError:  # a time-out, which is one, or a file of another user's
        return True
    with suppress(OSError):  # on Windows nothing that is open goes away
        path.unlink()
    lock.release()
    return False


@contextmanager
def _errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, ValueError) as error:
        raise SetupError(f"{folder / NAME}: the journal cannot be used ({error})") from None


def _results(text: str) -> dict[str, str | None]:
    """Names and hashes of results, as the journal has them; the file may be a stranger's.

    Raises:
        ValueError: if it is anything else, or a name leads out of the folder.
    """
    try:
        found: dict[str, str | None] = json.loads(text)
        if all(name == Path(name).name and isinstance(known, str | None) for name, known in found.items()):
            return found
    except (TypeError, AttributeError, RecursionError):
        pass
    raise ValueError("what it says of results is not avel's")


def _hash(file: Path) -> str | None:
    try:
        if not file.is_file():  # a pipe would be waited for
            return None
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def _text(name: str | Path) -> str:
    """What SQLite can hold of an absolute path or a name: one that is not UTF-8 is written with escapes."""
    text = os.path.abspath(name) if isinstance(name, Path) else name
    return text.encode("utf-8", "backslashreplace").decode()
