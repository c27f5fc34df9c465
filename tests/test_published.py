"""Published weights become files of ours, whatever a stranger put into theirs."""

import errno
import io
import json
import os
import pickle
import re
import subprocess
import tarfile
import zipfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torchvision.models import resnet50
from torchvision.models.optical_flow import raft_large

from avel_cli import encoders, published
from avel_cli.encoders import encoder_class
from avel_cli.errors import ModelError, UsageError
from avel_cli.hub import foreign, registry, weights_file
from avel_cli.hub.catalogue import Source
from avel_cli.localizers.cace_net.network import CACENet, CACENetConfig
from avel_cli.localizers.cace_net.published import official_views
from tests.hub_server import COMMIT, hub_server  # noqa: F401
from tests.localizers.cace_net_reference import OFFICIAL_GUIDES, PARITY, seeded_weight

FOLDER = "expGuide_Seed3917_guide_{}_psai_0.3_Contrastive_False_contras-coeff_1.0__lambda_0.0/model_epoch_9.pth.tar"
BEST = (
    "expLoss_Seed3917_guide_Co-Guide_psai_0.3_Contrastive_True_contras-coeff_1.0__lambda_0.6/"
    "model_epoch_46_top1_80.796_task_Supervised_best_model_psai_0.3_lambda_0.6.pth.tar"
)
VARIANTS = {f"cace-net.ave-{guide}": (guide, FOLDER.format(name)) for guide, name in OFFICIAL_GUIDES.items()}
VARIANTS |= {"cace-net.ave": ("co-guide", BEST)}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def parameters():
    return json.loads((PARITY / "cace-net.state_dict.json").read_text())["params"]


@pytest.fixture(scope="module")
def weights(parameters):
    return {entry["name"]: seeded_weight(entry).double() for entry in parameters}


@pytest.fixture(scope="module")
def official(parameters, weights):
    """A checkpoint as the authors' code writes it: `official(guide)`."""

    def state(guide):
        held = [entry["name"] for entry in parameters if OFFICIAL_GUIDES[guide] in entry["in"]]
        return OrderedDict((f"module.{name}", weights[name]) for name in held)

    return state


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache in which both encoders of CACE-Net pretend to be at hand."""
    monkeypatch.setenv("AVEL_CACHE", str(tmp_path / "avel"))
    folder = tmp_path / "avel" / "weights"
    folder.mkdir(parents=True)
    for name in ("vggish", "vgg19", "vgg19-torchvision"):
        (folder / f"{name}.safetensors").touch()
    return folder


def saved(state, path, **how):
    torch.save(state, path, **how)
    return path


def in_bytes(state):
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


def convert(name, path, say=lambda line: None):
    return published.prepare([name], files={name: path}, offline=True, say=say)[name]


# ----------------------------------------------------------------------------------------------- what should work


@pytest.mark.parametrize("name", VARIANTS)
def test_a_published_checkpoint_becomes_like_one_that_ships(hub_server, cache, official, weights, name):  # noqa: F811
    guide, file = VARIANTS[name]
    hub_server.put("xianghe/cace-net", file, in_bytes(official(guide)))
    said = []
    path = published.prepare([name], say=said.append)[name]
    assert len(said) == 1
    assert f"fetching {name} (about " in said[0] and "none stated, from huggingface.co/xianghe/cace-net" in said[0]
    asked = len(hub_server.requests)
    assert published.prepare([name], say=said.append)[name] == path == registry.model(name).path
    assert len(hub_server.requests) == asked
    assert registry.model(name).missing == ()

    header = weights_file.read_header(path)
    config = weights_file.config(CACENetConfig, path)
    assert (config.guide, config.contrastive) == (guide, name == "cace-net.ave")
    assert config.event_lambda == (0.6 if name == "cace-net.ave" else 0.0)
    assert header["published"][0]["revision"] == COMMIT
    assert header["licence"] == "none stated"
    assert (len(header["labels"]), header["encoders"], header["threshold"]) == (28, ["vggish", "vgg19"], 0.5)
    model = CACENet(config)
    weights_file.load_into(model, path)
    for official_name, view in official_views(model, model.state_dict()).items():
        assert torch.equal(view, weights[official_name].float())


def test_an_encoder_from_the_hub_is_then_loaded_by_name(hub_server, cache):  # noqa: F811
    theirs = resnet50().state_dict()
    hub_server.put("timm/resnet50.tv2_in1k", "model.safetensors", safetensors.torch.save(theirs))
    path = published.prepare(["resnet50"], say=lambda line: None)["resnet50"]
    assert path == registry.encoder_file("resnet50")
    ours = encoders.load("resnet50").state_dict()
    assert torch.equal(ours["features.conv1.weight"], theirs["conv1.weight"])
    assert weights_file.read_header(path)["licence"] == "BSD-3-Clause"
    assert safetensors.torch.load_file(path)["features.conv1.weight"].dtype == torch.float32


def test_an_encoder_of_two_files_takes_each_by_its_name(cache, tmp_path):
    kind, config = encoder_class("i3d-flow")
    network = kind(config()).network.state_dict()
    files = {
        "i3d-flow": saved(network, tmp_path / "flow.pt"),
        "raft-sintel": saved(raft_large().state_dict(), tmp_path / "raft.pth"),
    }
    path = published.prepare(["i3d-flow"], files=files, offline=True)["i3d-flow"]
    assert encoders.load("i3d-flow", path).state_dict().keys() >= {f"network.{name}" for name in network}
    with pytest.raises(ModelError, match=r"raft-sintel cannot be fetched; .* no connection may be opened"):
        published.prepare(["i3d-flow"], files={"i3d-flow": files["i3d-flow"]}, offline=True)


def test_what_a_url_gave_is_not_kept_twice(hub_server, cache, official, monkeypatch):  # noqa: F811
    name, plain = "cace-net.ave-none", "/files/none.pth"
    served = hub_server.put_plain(plain, in_bytes(official("none")))
    source = Source(len(served.content), exact=True, url=hub_server.url + plain, sha256=served.digest)
    catalogue = registry.catalogue()
    changed = {**catalogue.assets, name: replace(catalogue.assets[name], sources=(source,))}
    monkeypatch.setattr(registry, "catalogue", lambda: replace(catalogue, assets=changed))
    path = published.prepare([name], say=lambda line: None)[name]
    assert path.is_file()
    assert not list((registry.cache() / "downloads").glob("*.pth*[!k]"))


def test_a_local_file_is_used_under_its_hash_and_never_as_the_official_one(cache, official, tmp_path):
    first = saved(official("none"), tmp_path / "mine.pth")
    made = convert("cace-net.ave-none", first)
    assert weights_file.sha256(first)[:16] in made.name
    assert registry.model("cace-net.ave-none").missing
    stamp = made.stat().st_mtime_ns
    copy = tmp_path / "copy.pth"
    copy.write_bytes(first.read_bytes())
    assert convert("cace-net.ave-none", copy) == made
    assert made.stat().st_mtime_ns == stamp
    other = {name: tensor + 1 for name, tensor in official("none").items()}
    assert convert("cace-net.ave-none", saved(other, tmp_path / "other.pth")) != made


def test_what_ships_is_ready_as_it_is(cache):
    ready = published.prepare(["cace-net.starter"], offline=True)
    assert set(ready) == {"cace-net.starter", "starter-sound", "efficientnet-lite0"}
    packaged = ready.pop("efficientnet-lite0")
    assert packaged.suffix == ".pth" and packaged.is_file()
    assert all(path.parent == registry.folder() for path in ready.values())


def test_a_packaged_file_that_is_not_the_known_one_is_refused(cache, tmp_path):
    path = tmp_path / "efficientnet-lite0-57934424.pth"
    torch.save({"_fc.bias": torch.zeros(1000)}, path)
    with pytest.raises(ModelError, match="damaged or replaced; pip install --force-reinstall efficientnet-lite0"):
        encoders.load("efficientnet-lite0", path)


def test_a_file_for_what_is_not_needed_is_a_wrong_request(cache, tmp_path):
    for names, key in ((["cace-net.ave"], "cnn14"), (["cace-net.starter"], "cace-net.starter"), (["vggish"], "vgish")):
        with pytest.raises(UsageError, match=f"{key} is not needed here"):
            published.prepare(names, files={key: tmp_path / "x"}, offline=True)
    with pytest.raises(ModelError, match=r"x\.pth: No such file"):
        convert("vgg19", tmp_path / "x.pth")


def test_two_at_once_fetch_and_convert_once(hub_server, cache, official, monkeypatch):  # noqa: F811
    name, converted, plain = "cace-net.ave-none", [], published._convert
    hub_server.put("xianghe/cace-net", VARIANTS[name][1], in_bytes(official("none"))).delay = 0.3

    def convert(name, *rest):
        converted.append(name)
        plain(name, *rest)

    monkeypatch.setattr(published, "_convert", convert)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda name: published.prepare([name], say=str), [name, name])
    assert first == second
    assert converted == [name]
    assert weights_file.read_header(first[name])["name"] == name
    assert len([path for path in hub_server.asked("GET") if path.startswith("/storage/")]) == 1


def test_memory_is_spoken_of_before_it_is_taken(cache, official, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "LARGE", 1000)
    said = []
    convert("cace-net.ave-none", saved(official("none"), tmp_path / "x.pth"), said.append)
    assert said == ["reading x.pth, which takes 0.1 GB of memory"]


# --------------------------------------------------------------------------------------------- what should not


class Touch:
    """Unpickled, it would make a file."""

    def __init__(self, path, function=None):
        self.path, self.function = str(path), function or os.mkdir

    def __reduce__(self):
        return self.function, (self.path,)


def touch(path):
    """A function of no known library, for files to name."""
    os.mkdir(path)


class Settings:
    """A foreign object, as training programs keep their options."""

    def __init__(self, **options):
        self.__dict__.update(options)

    def __setstate__(self, state):
        os.mkdir(state["path"])


@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "function", [os.mkdir, os.system, subprocess.call, eval, pickle.loads], ids=lambda function: function.__qualname__
)
def test_a_file_that_names_what_can_be_executed_is_refused_and_not_executed(tmp_path, objects, zipped, function):
    trap = tmp_path / "trap"
    state = {"model": {"w": torch.ones(3)}, "extra": Touch(trap, function)}
    path = saved(state, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError) as caught:
        foreign.read(path, objects=objects)
    assert re.fullmatch(
        rf"{path}: .*it names (\w+\.)?{function.__name__}, which weights have no need of", str(caught.value)
    )
    assert not trap.exists()


@pytest.mark.parametrize("zipped", [False, True])
def test_foreign_objects_are_replaced_by_empty_ones_where_they_are_known_to_be(tmp_path, zipped):
    trap = tmp_path / "trap"
    state = {
        "cfg": Settings(path=str(trap)),
        "called": Touch(trap, touch),
        "sampler": {"indexes": np.arange(5), "pointer": np.float64(3)},
        "model": OrderedDict(w=torch.arange(3.0)),
    }
    path = saved(state, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    assert torch.equal(foreign.read(path, objects=True)["w"], torch.arange(3.0))
    with pytest.raises(ModelError):
        foreign.read(path)
    assert not trap.exists()


def test_a_plain_pickle_is_refused(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"w": Touch(tmp_path / "trap")}))
    for objects in (False, True):
        with pytest.raises(ModelError):
            foreign.read(path, objects=objects)
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, zipped, kept):
    path = saved({"w": torch.zeros(1000, 10)}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    for objects in (False, True):
        with pytest.raises(ModelError) as caught:
            foreign.read(path, objects=objects)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_never_raise_anything_else(tmp_path, seed):
    generator = np.random.default_rng(seed)
    path = saved({"w": torch.zeros(50)}, tmp_path / "x.pth", _use_new_zipfile_serialization=bool(seed % 2))
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    content[generator.integers(0, len(content), 8)] = generator.integers(0, 256, 8)
    path.write_bytes(content.tobytes())
    for objects in (False, True):
        with suppress(ModelError):
            assert foreign.read(path, objects=objects)["w"].shape == (50,)


@pytest.mark.parametrize("content", [b"", b"no weights", b"\x80\x02.", b"\x08" + b"\0" * 7 + b"{}      "])
def test_what_is_no_weights_file_is_refused(tmp_path, content):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.pth: "):
        foreign.read(path)


def test_an_archive_is_refused(tmp_path):
    path = tmp_path / "x.pth.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(Path(__file__), "weights")
    with pytest.raises(ModelError, match="not a weights file that can be read safely"):
        foreign.read(path)


def test_a_file_larger_inside_than_outside_is_refused(tmp_path):
    whole, packed = saved({"w": torch.zeros(10**6)}, tmp_path / "x.pth"), tmp_path / "packed.pth"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(ModelError, match="more than it has: refused"):
        foreign.read(packed)


def test_a_tensor_larger_than_its_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match="w claims to be larger than the file"):
        foreign.read(saved({"w": torch.zeros(1).expand(10**12)}, tmp_path / "x.pth"))
    with torch.sparse.check_sparse_tensor_invariants(True):
        sparse = torch.sparse_coo_tensor(torch.tensor([[1]]), torch.ones(1), (10**9,))
        with pytest.raises(ModelError):
            foreign.read(saved({"w": sparse}, tmp_path / "y.pth"))


@pytest.mark.parametrize("state", [torch.zeros(3), [torch.zeros(3)], {}, {"w": 3}, {1: torch.zeros(3)}, {"model": {}}])
def test_only_tensors_by_name_are_weights(tmp_path, state):
    with pytest.raises(ModelError, match="tensors by name"):
        foreign.read(saved(state, tmp_path / "x.pth"))


def test_weights_that_do_not_fit_are_told_by_name(cache, official, tmp_path):
    state = official("none")
    with pytest.raises(ModelError, match=r"x\.pth: .*guide co-guide.*missing: spatial_channel_att"):
        convert("cace-net.ave", saved(state, tmp_path / "x.pth"))
    state["module.audio_cas.weight"] = torch.zeros(2, 2, dtype=torch.float64)
    with pytest.raises(ModelError, match=r"wrong shape: audio_cas\.weight \(2, 2\)"):
        convert("cace-net.ave-none", saved(state, tmp_path / "y.pth"))
    theirs = resnet50().state_dict()
    theirs["conv1.weight"] = torch.zeros(64, 3, 3, 3)
    del theirs["layer1.0.conv1.weight"]
    theirs["layer9"] = torch.zeros(1)
    complaint = (
        r"z\.pth: weights do not fit: missing \['features.layer1.0.conv1.weight'\], "
        r"unexpected \['features.layer9'\], other shape \['features.conv1.weight'\]"
    )
    with pytest.raises(ModelError, match=complaint):
        convert("resnet50", saved(theirs, tmp_path / "z.pth"))
    with pytest.raises(ModelError, match=r"features\.layer1.*and 256 more"):
        convert("resnet50", saved({"conv1.weight": torch.zeros(1)}, tmp_path / "w.pth"))
    assert [path.name for path in cache.glob("*-*.safetensors")] == ["vgg19-torchvision.safetensors"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_not_finite_are_refused(cache, official, tmp_path, value):
    state = dict(official("none"))
    state["module.audio_cas.weight"] = torch.full_like(state["module.audio_cas.weight"], value)
    with pytest.raises(ModelError, match=r"not finite, in audio\.class_activation\.weight"):
        convert("cace-net.ave-none", saved(state, tmp_path / "x.pth"))


def test_a_disk_that_fills_up_during_conversion_leaves_nothing(cache, official, tmp_path, monkeypatch):
    def full(state, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    before = sorted(cache.glob("*[!k]"))
    with pytest.raises(ModelError, match=r"cannot be written.*No space left.*AVEL_CACHE"):
        convert("cace-net.ave-none", saved(official("none"), tmp_path / "x.pth"))
    assert sorted(cache.glob("*[!k]")) == before


def test_a_cache_that_cannot_be_made_is_named_with_the_way_out(monkeypatch, official, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AVEL_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="AVEL_CACHE and HF_HOME choose"):
        convert("resnet50", saved({"w": torch.zeros(1)}, tmp_path / "x.pth"))
