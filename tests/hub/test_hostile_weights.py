"""A stranger's weights file is loaded or refused in one line, whatever its header says."""

import json
import os
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from avel_cli import localizers
from avel_cli.errors import ModelError
from avel_cli.hub import registry, weights_file

STARTER = registry.folder() / "cace-net.starter.safetensors"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def rewritten(path, changes):
    """The starter's weights with another header."""
    raw = STARTER.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    outer = json.loads(raw[8 : 8 + size])
    header = json.loads(outer["__metadata__"]["avel"])
    for key, value in changes.items():
        *parents, leaf = key.split("/")
        inner = header
        for parent in parents:
            inner = inner[parent]
        inner[leaf] = value
    outer["__metadata__"]["avel"] = json.dumps(header)
    text = json.dumps(outer).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": [1, 2]},
        {"labels": ["dog", "dog"]},
        {"labels": ["\x1b]0;title\x07"]},
        {"labels": "dog"},
        {"grid/stride": 0},
        {"grid/stride": float("nan")},
        {"grid/start": -1e9},
        {"grid/window": "1"},
        {"grid": [0, 1, 1]},
        {"threshold": float("nan")},
        {"threshold": True},
        {"min_score": 10**400},
        {"encoders": ["starter-sound"] * 1000},
        {"name": ["x"]},
        {"description": "two\nlines"},
        {"licence": None},
        {"figures": 3},
        {"config": []},
        {"config/audio_dim": 10**9},
        {"config/audio_dim": -1},
        {"config/audio_dim": 0},
        {"config/visual_dim": 40_000},
        {"network": "no-such-network"},
    ],
    ids=str,
)
def test_each_hostile_header_is_refused_in_one_line(tmp_path, changes):
    path = rewritten(tmp_path / "x.safetensors", changes)
    with pytest.raises(ModelError) as caught:
        registry.model(str(path))
        localizers.load(path)
    assert len(str(caught.value).splitlines()) == 1


def _keys():
    with safe_open(STARTER, "pt") as stream:
        header = json.loads(stream.metadata()["avel"])
    inner = [f"{table}/{key}" for table in ("config", "grid") for key in header[table]]
    return [*header, *inner]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(_keys()), JSON)
def test_any_value_in_a_header_is_used_or_refused(tmp_path, key, value):
    path = rewritten(tmp_path / "x.safetensors", {key: value})
    try:
        registry.model(str(path))
        localizers.load(path)
    except ModelError as error:
        assert len(str(error).splitlines()) == 1


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    state = load_file(STARTER)
    with safe_open(STARTER, "pt") as stream:
        header = json.loads(stream.metadata()["avel"])
    first = next(name for name, tensor in state.items() if tensor.is_floating_point())
    state[first].view(-1)[0] = torch.nan
    weights_file.save(tmp_path / "x.safetensors", state, header)
    with pytest.raises(ModelError, match="not a number or infinite"):
        localizers.load(tmp_path / "x.safetensors")


def test_a_pipe_is_no_weights_file(tmp_path):
    os.mkfifo(tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="leads to no file"):
        registry.model(str(tmp_path / "x.safetensors"))


def test_weights_can_be_read_by_those_whom_the_umask_lets(tmp_path):
    before = os.umask(0o077)
    try:
        weights_file.save(tmp_path / "x.safetensors", {"w": torch.zeros(1)}, {"kind": "encoder"})
    finally:
        os.umask(before)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o600
