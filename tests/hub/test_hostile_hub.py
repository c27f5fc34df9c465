"""A server that wishes ill costs one line and a bounded time, and puts nothing where it does not belong."""

import time
from contextlib import suppress
from pathlib import Path

import pytest

from avel_cli.errors import ModelError
from avel_cli.hub import downloads, limits, registry
from avel_cli.hub.catalogue import Asset, Source
from tests.hub_server import COMMIT, hub_server  # noqa: F401

# The Hub's client closes a connection that failed when it is collected, which tells Python of a socket left open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ETAG = f'"{"e" * 64}"'


def silent(handler):
    time.sleep(2)


def slow_headers(handler):
    with suppress(OSError):
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.05)


def _begin(handler, **headers):
    handler.send_response(200)
    for name, value in {"X-Repo-Commit": COMMIT, "ETag": ETAG, **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def _stream(handler, chunk, pause=0.0, times=10**6):
    if handler.command == "GET":
        with suppress(OSError):
            for _ in range(times):
                handler.wfile.write(chunk)
                time.sleep(pause)
    handler.close_connection = True


def slow_body(handler):
    _begin(handler, Content_Length="1000")
    _stream(handler, b"x", 0.05, 100)


def endless(handler):
    _begin(handler, **({"Content_Length": "1000"} if handler.command == "HEAD" else {"Connection": "close"}))
    _stream(handler, b"[" + b" " * 2**16)


def huge(handler):
    _begin(handler, Content_Length=str(10**13))
    _stream(handler, b"x" * 2**16, times=1)


def impossible(handler):
    _begin(handler, Content_Length="9" * 5000)
    _stream(handler, b"x", times=1)


def compressed(handler):
    _begin(handler, Content_Encoding="gzip", Content_Length="1000")
    _stream(handler, b"\x1f\x8b" * 500, times=1)


def in_circles(handler):
    handler._plain(302, {"Location": f"{handler.path}x"})


def endless_pages(handler):
    following = f'<{handler.hub.url}{handler.path}>; rel="next"'
    handler._plain(200, {"Content-Type": "application/json", "Link": following}, b"[]")


def deep(handler):
    handler._plain(200, {"Content-Type": "application/json"}, b"[" * 100_000)


def hostile_etag(handler):
    handler._plain(200, {"X-Repo-Commit": COMMIT, "ETag": f'"{handler.hub.outside}"'}, b"x" * 1000)


def hostile_commit(handler):
    handler._plain(200, {"X-Repo-Commit": f"../../../../{handler.hub.outside.name}", "ETag": ETAG}, b"x" * 1000)


def status(code):
    def answer(handler):
        handler._plain(code)

    return answer


FAULTS = [
    silent,
    slow_headers,
    slow_body,
    endless,
    huge,
    impossible,
    compressed,
    in_circles,
    endless_pages,
    deep,
    hostile_etag,
    hostile_commit,
    *(pytest.param(status(code), id=str(code)) for code in (401, 403, 404, 410, 429, 500, 502, 503)),
]


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(limits, "STALL", 0.4)
    monkeypatch.setattr(limits, "PAGE", 2**20)
    monkeypatch.setattr(downloads, "TIMEOUT", 0.3)


def _sources(server):
    yield Source(1000, exact=True, repo="o/r", file="weights.bin")
    yield Source(1000, exact=True, repo="o/r", file="weights.bin", revision=COMMIT[:7])
    yield Source(1000, exact=True, repo="o/r", file="*.bin")
    yield Source(1000, exact=True, url=f"{server.url}/weights.bin", sha256="0" * 8)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_server_is_one_line_soon_and_nothing_lies_elsewhere(fault, hub_server, short, tmp_path):  # noqa: F811
    hub_server.outside = tmp_path / "outside"
    hub_server.answer = fault
    for source in _sources(hub_server):
        begin = time.monotonic()
        with pytest.raises(ModelError) as caught:
            registry.fetch(Asset("thing", "A thing", "MIT", "Nobody", "https://example.org", (source,)))
        assert time.monotonic() - begin < 8
        assert (caught.value.exit_code, len(str(caught.value).splitlines())) == (4, 1)
    assert {path.name for path in tmp_path.iterdir()} <= {"hf", "avel"}
    assert not [path for path in (tmp_path / "hf").rglob("*") if path.is_symlink()]


def test_a_link_in_the_cache_with_the_wrong_hash_goes_and_what_it_leads_to_stays(hub_server, tmp_path):  # noqa: F811
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    snapshot = tmp_path / "hf/hub/models--o--r/snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    link = snapshot / "weights.bin"
    link.symlink_to(precious)
    source = Source(4, repo="o/r", file="weights.bin", revision=COMMIT, sha256="0" * 8)
    with pytest.raises(ModelError, match="damaged or has been replaced"):
        downloads.fetch(source, tmp_path / "avel")
    assert precious.read_text() == "mine"
    assert not link.is_symlink()


def test_a_planted_link_in_place_of_a_part_is_not_written_through(hub_server, tmp_path):  # noqa: F811
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "thing.pth.part").symlink_to(precious)
    hub_server.put_plain("/files/thing.pth", b"content" * 100)
    path = downloads.fetch(Source(700, exact=True, url=f"{hub_server.url}/files/thing.pth"), folder)
    assert (path.read_bytes(), precious.read_text()) == (b"content" * 100, "mine")
    assert isinstance(path, Path) and not path.is_symlink()
