import json
import struct

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from avel_cli.errors import ModelError
from avel_cli.hub import weights_file


def test_weights_come_back_with_their_header(tmp_path):
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    path = tmp_path / "m.safetensors"
    header = {"kind": "encoder", "network": "n", "config": {}, "labels": ["dog, barking"]}
    weights_file.save(path, module.state_dict(), header)
    assert weights_file.read_header(path) == {"format": weights_file.FORMAT, **header}
    other = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    weights_file.load_into(other, path)
    assert torch.allclose(other[0].weight, module[0].weight, atol=1e-3)
    assert other[0].weight.dtype == torch.float32


def test_weights_of_another_network_are_refused_with_the_names(tmp_path):
    path = tmp_path / "m.safetensors"
    weights_file.save(path, nn.Linear(3, 2).state_dict(), {"kind": "encoder"})
    with pytest.raises(ModelError, match=r"missing \['1\.bias'.*unexpected \['bias'"):
        weights_file.load_into(nn.Sequential(nn.ReLU(), nn.Linear(3, 2)), path)
    with pytest.raises(ModelError, match=r"other shape \['weight'\]"):
        weights_file.load_into(nn.Linear(4, 2), path)


def _file(path, header: bytes, size: int | None = None):
    path.write_bytes(struct.pack("<Q", len(header) if size is None else size) + header)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"__metadata__": {"avel": "not json"}}',
        b"[" * 100_000,
        json.dumps({"__metadata__": {"avel": json.dumps({"format": "avel.weights/99"})}}).encode(),
        json.dumps({"__metadata__": {"avel": json.dumps({"format": weights_file.FORMAT, "kind": "encoder"})}}).encode(),
    ],
)
def test_foreign_and_hostile_headers_are_one_line_errors(tmp_path, content):
    with pytest.raises(ModelError, match="not a weights file of avel") as caught:
        weights_file.read_header(_file(tmp_path / "x.safetensors", content))
    assert "\n" not in str(caught.value)


def test_a_header_larger_than_memory_is_not_believed(tmp_path):
    with pytest.raises(ModelError, match="impossible size"):
        weights_file.read_header(_file(tmp_path / "x.safetensors", b"{}", size=2**60))


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    module = nn.Linear(100, 100)
    weights_file.save(path, module.state_dict(), {"kind": "encoder"})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ModelError, match="damaged"):
        weights_file.load_into(module, path)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(ModelError, match="no such weights file"):
        weights_file.read_header(tmp_path / "none.safetensors")


def test_weights_are_halved_unless_another_precision_is_asked_for(tmp_path):
    state = {
        "w": torch.tensor([0.1], dtype=torch.float64),
        "steps": torch.tensor([3]),
        "num_batches_tracked": torch.ones(1),
    }
    for dtype, kept in ((None, torch.float16), (torch.float32, torch.float32)):
        path = tmp_path / f"{kept}.safetensors"
        weights_file.save(path, state, {"kind": "encoder"}, dtype)
        there = load_file(path)
        assert {name: tensor.dtype for name, tensor in there.items()} == {"w": kept, "steps": torch.int64}


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="cannot be written"):
        weights_file.save(tmp_path / "file" / "m.safetensors", {"w": torch.zeros(1)}, {})
    (tmp_path / "m.safetensors").mkdir()
    with pytest.raises(ModelError, match="cannot be written"):
        weights_file.save(tmp_path / "m.safetensors", {"w": torch.zeros(1)}, {})
    assert {path.name for path in tmp_path.iterdir()} == {"file", "m.safetensors"}


def test_a_network_without_memory_can_be_compared_and_a_long_list_is_cut():
    with torch.device("meta"):
        module = nn.Sequential(*(nn.Linear(2, 2) for _ in range(6)))
    weights_file.check_fit(module, {name: torch.zeros(t.shape) for name, t in module.state_dict().items()}, "this")
    with pytest.raises(
        ModelError, match=r"^this: weights do not fit: missing \['0.bias', .*\] and 4 more, unexpected \[\]"
    ):
        weights_file.check_fit(module, {}, "this")
