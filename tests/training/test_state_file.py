"""What a run goes on with is whole, is what was written, or is refused in one line."""

import os
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avel_cli.errors import SetupError
from avel_cli.training import state_file

STATE = {"step": 3, "model": {"w": torch.arange(1000.0)}, "recipe": "r"}


def test_it_comes_back(tmp_path):
    state_file.write(tmp_path / "new" / "s.pt", STATE)
    state = state_file.read(tmp_path / "new" / "s.pt", step=int, model=dict, recipe=str)
    assert torch.equal(state["model"]["w"], STATE["model"]["w"])
    assert os.listdir(tmp_path / "new") == ["s.pt"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 0.999), st.integers(1, 255))
def test_a_flipped_byte_is_noticed_or_harmless(tmp_path, place, flip):
    path = tmp_path / "s.pt"
    state_file.write(path, STATE)
    raw = bytearray(path.read_bytes())
    raw[int(place * len(raw))] ^= flip
    path.write_bytes(raw)
    try:
        state = state_file.read(path, step=int, model=dict, recipe=str)
    except SetupError:
        return
    assert state["step"] == 3 and torch.equal(state["model"]["w"], STATE["model"]["w"])


@pytest.mark.parametrize("state", [[1, 2], {"step": "3", "model": {}}, {"step": 3}, torch.zeros(1)], ids=str)
def test_other_contents_are_refused(tmp_path, state):
    state_file.write(tmp_path / "s.pt", state)
    with pytest.raises(SetupError, match="damaged; delete it"):
        state_file.read(tmp_path / "s.pt", step=int, model=dict)


def test_a_planted_link_is_not_written_through(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "s.part").symlink_to(precious)
    (tmp_path / "s.pt").symlink_to(precious)
    state_file.write(tmp_path / "s.pt", STATE)
    assert precious.read_text() == "mine"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits files by resource")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        with pytest.raises(SetupError, match="cannot be written"):
            state_file.write(tmp_path / "s.pt", {"w": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == []
