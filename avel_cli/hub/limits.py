"""Bounds on what a server may cost in time and bytes, and on where it may send its clients.

Imports httpx2, so it is imported when something is fetched.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx2

from avel_cli.errors import ModelError

T = TypeVar("T")
STALL = 30.0  # seconds in which LEAST bytes must come while an answer is awaited
LEAST = 2**14
PAGE = 16 * 2**20  # bytes of an answer that is no file: lists of names or commits
REQUESTS = 100  # for one file: pages of lists, redirections, second tries
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}")


class Watch:
    """Follows the requests for one file.

    Attributes:
        most: bytes that one answer may have.
        host: may be asked without HTTPS, because the user has named it; loopback always may.
        received: bytes of bodies so far.
        waiting: an answer is under way.
        given_up: no further request is let through.
    """

    def __init__(self, most: int, host: str = "") -> None:
        self.most, self.host = max(most, PAGE), host
        self.received = self.requests = 0
        self.waiting = self.given_up = False

    def follow(self, client: httpx2.Client) -> httpx2.Client:
        """The same client, with hooks for each request and answer, redirections among them."""
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks.get("request", []), self._before],
            "response": [*hooks.get("response", []), self._after],
        }
        client.headers["Accept-Encoding"] = "identity"
        return client

    def _before(self, request: httpx2.Request) -> None:
        self.requests += 1
        self.waiting = True
        if self.given_up or self.requests > REQUESTS:
            raise ModelError("the server asks for one request after the other")
        if request.url.scheme != "https" and request.url.host not in (*LOOPBACK, self.host):
            raise ModelError(f"{request.url} is no HTTPS address")

    def _after(self, response: httpx2.Response) -> None:
        _require_hashes(response.headers)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ModelError("the server compresses what it was asked to send as it is")
        length = response.headers.get("Content-Length", "0")
        if response.request.method != "HEAD" and (not length.isdigit() or len(length) > 18 or int(length) > self.most):
            raise ModelError(f"the server wants to send {length[:20]} bytes, more than {self.most}")
        response.stream = _Counted(response.stream, self)


class _Counted(httpx2.SyncByteStream):
    """A body that ends in an error when it is longer than it may be."""

    def __init__(self, stream: Any, watch: Watch) -> None:
        self._stream, self._watch = stream, watch

    def __iter__(self) -> Iterator[bytes]:
        left = self._watch.most
        for chunk in self._stream:
            self._watch.received += len(chunk)
            left -= len(chunk)
            if left < 0:
                raise ModelError(f"the server sends more than {self._watch.most} bytes")
            yield chunk

    def close(self) -> None:
        self._watch.waiting = False
        self._stream.close()


def _require_hashes(headers: httpx2.Headers) -> None:
    """The Hub's client makes file names of a commit and an ETag: they must be hashes, and nothing else."""
    commit = headers.get("X-Repo-Commit")
    if commit is None:
        return
    etag = (headers.get("X-Linked-Etag") or headers.get("ETag") or "").removeprefix("W/").strip('"')
    if not COMMIT.fullmatch(commit) or (etag and not HASH.fullmatch(etag)):
        raise ModelError("the server's answer is not the Hub's: its commit or ETag is no hash")


def within(watch: Watch, call: Callable[[], T]) -> T:
    """What `call` returns; it runs in a thread of its own, because a server can keep any client waiting.

    Raises:
        ModelError: if hardly anything comes for `STALL` seconds.
    """
    result: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            result.append(call())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, daemon=True)  # daemon: one that never comes back must not hold the exit
    thread.start()
    while thread.is_alive():
        before = watch.received
        thread.join(STALL)
        if thread.is_alive() and watch.waiting and watch.received - before < LEAST:
            watch.given_up = True
            raise ModelError(f"the server sent next to nothing for {STALL:g} s; try again later")
    if failure:
        raise failure[0]
    return result[0]
