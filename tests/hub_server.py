"""A Hugging Face Hub on loopback, with what its real client asks of one, plain files besides, and faults to order."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest

COMMIT = "5763502" + "a" * 33
PREFIXES = {"model": "", "space": "spaces/", "dataset": "datasets/"}


@dataclass
class Served:
    """A file and how the server treats it.

    Attributes:
        status: answers with it, `times` times.
        cut: sends this many bytes and then breaks the connection, `times` times.
        flip: sends other content than its hash says.
        delay: waits before it sends, in seconds.
        etag: of the file in the header; its hash if empty.
        moved: where it sends those who ask for the file.
    """

    content: bytes
    status: int = 0
    cut: int = 0
    times: int = 10**6
    flip: bool = False
    delay: float = 0.0
    etag: str = ""
    moved: str = ""

    @cached_property
    def digest(self) -> str:
        """SHA-256 that the server promises."""
        return hashlib.sha256(self.content).hexdigest()

    def fault(self) -> bool:
        """Whether the fault is due once more."""
        self.times -= 1
        return self.times >= 0


@dataclass
class Hub:
    """What the server holds, and what it was asked."""

    files: dict[str, Served] = field(default_factory=dict)  # by address: repository!file, or path of a plain URL
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Range
    tokens: dict[str, str] = field(default_factory=dict)  # path → Authorization
    url: str = ""
    answer: Callable[[Handler], None] | None = None  # in place of all usual answers

    @property
    def storage(self) -> str:
        """Where the Hub sends its clients for large files: another host, which gets no token."""
        return f"{self.url.replace('127.0.0.1', 'localhost')}/storage"

    def put(self, repo: str, file: str, content: bytes, kind: str = "model") -> Served:
        """Adds a file to a repository."""
        return self.files.setdefault(f"{PREFIXES[kind]}{repo}!{file}", Served(content))

    def put_plain(self, path: str, content: bytes) -> Served:
        """Adds a file that has a URL of its own."""
        return self.files.setdefault(path, Served(content))

    def asked(self, method: str) -> list[str]:
        """The paths of the requests of one method, in order."""
        return [path for verb, path, _ in self.requests if verb == method]


class Handler(BaseHTTPRequestHandler):
    """The API and the files; large files are sent from another address, as the Hub does it."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range", "")))
        self.hub.tokens[path] = self.headers.get("Authorization", "")
        if self.hub.answer:
            self.hub.answer(self)
        elif path.startswith("/api/"):
            self._api(path)
        elif "/resolve/" in path:
            self._resolve(path)
        elif served := self.hub.files.get(path.removeprefix("/storage/")):
            self._send(served)
        else:
            self._plain(404)

    def _api(self, path: str) -> None:
        _, _, kinds, owner, name, verb, *_ = [*path.split("/"), "", "", ""]
        prefix = f"{PREFIXES.get(kinds.removesuffix('s'), kinds)}{owner}/{name}!"
        files = {key.removeprefix(prefix): served for key, served in self.hub.files.items() if key.startswith(prefix)}
        if not files:
            self._plain(404, {"X-Error-Code": "RepoNotFound"})
        elif verb == "commits":
            facts = {"title": "", "message": "", "authors": [], "date": "2024-07-01T00:00:00.000Z"}
            self._json([{"id": commit, **facts} for commit in ("f" * 40, COMMIT)])
        else:
            self._json([_listed(path, served) for path, served in files.items()])

    def _resolve(self, path: str) -> None:
        repo, _, rest = path.lstrip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        served = self.hub.files.get(f"{repo}!{file}")
        commit = {"X-Repo-Commit": COMMIT}
        if revision not in ("main", COMMIT):
            self._plain(404, {"X-Error-Code": "RevisionNotFound"})
        elif served is None:
            self._plain(404, {"X-Error-Code": "EntryNotFound", **commit})
        elif served.status and served.fault():
            self._plain(served.status, {"X-Error-Code": "GatedRepo"} if served.status == 403 else {})
        else:
            linked = {"X-Linked-Size": str(len(served.content)), "X-Linked-Etag": f'"{served.digest}"'}
            self._plain(302, {**commit, **linked, "Location": f"{self.hub.storage}/{quote(repo)}!{quote(file)}"})

    def _send(self, served: Served) -> None:
        if served.status and served.fault():
            return self._plain(served.status)
        if served.moved:
            return self._plain(302, {"Location": served.moved})
        content = bytes(byte ^ 1 for byte in served.content) if served.flip else served.content
        etag = served.etag or f'"{served.digest}"'
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if self.headers.get("If-Range", etag) != etag:
            begin = 0
        if begin >= len(content):
            return self._plain(416)
        self.send_response(206 if begin else 200)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            time.sleep(served.delay)
            cut = served.cut if served.cut and served.fault() else len(content)
            self.wfile.write(content[begin : begin + cut])
            self.close_connection = cut < len(content) - begin

    def _json(self, value: Any) -> None:
        self._plain(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _plain(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _listed(path: str, served: Served) -> dict[str, Any]:
    """A file as the API lists it; weights are large files, whose hash it tells."""
    size = len(served.content)
    facts = {"type": "file", "path": path, "size": size, "oid": "0" * 40}
    return facts | ({"lfs": {"oid": served.digest, "size": size, "pointerSize": 134}} if "safetensors" in path else {})


@contextmanager
def serve() -> Iterator[Hub]:
    """A running server, until the context ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def hub_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A server that the Hub's client takes for the Hub, with caches in `tmp_path` and no pauses between tries."""
    import huggingface_hub
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    from avel_cli.hub import downloads

    with serve() as server:
        for name, value in environment(server, tmp_path).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)
        for module in (_http, file_download, downloads):
            monkeypatch.setattr(module, "time", SimpleNamespace(sleep=lambda seconds: None))
        yield server
        huggingface_hub.close_session()


def environment(server: Hub, folder: Path) -> dict[str, str]:
    """What tells another process to take the server for the Hub, and to leave the user's caches alone."""
    folders = {"AVEL_CACHE": str(folder / "avel"), "HF_HOME": str(folder / "hf"), "HF_TOKEN": ""}
    return {**folders, "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "", "NO_PROXY": "127.0.0.1,localhost"}
