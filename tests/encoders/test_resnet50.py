"""ResNet-50: its preprocessing against Pillow, its maps against torchvision's network."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.models import resnet50

from avel_cli.encoders.resnet50 import ResNet50, ResNet50Config
from tests.encoders.published import misfits, relative_deviation

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def noise(count: int, height: int, width: int) -> Tensor:
    pixels = np.random.RandomState(height).randint(0, 256, (count, height, width, 3))
    return torch.from_numpy(pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def reference() -> torch.nn.Module:
    """torchvision's network, whose normalisations have seen something."""
    network = resnet50().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            buffer.add_(0.1 * torch.rand(buffer.shape, generator=generator) * (1 if name.endswith("var") else -1))
    return network


@pytest.fixture(scope="module")
def encoder(reference: torch.nn.Module) -> ResNet50:
    encoder = ResNet50(ResNet50Config(frames_per_second=2))
    encoder.load_state_dict(ResNet50.from_published(reference.state_dict()))
    return encoder.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return noise(4, 60, 80)


@pytest.fixture(scope="module")
def maps(encoder: ResNet50, frames: Tensor) -> Tensor:
    return encoder.prepare(frames)


@pytest.mark.parametrize(
    "size, small, corner",
    [((360, 640), (412, 232), (94, 4)), ((640, 360), (232, 412), (4, 94)), ((90, 160), (412, 232), (94, 4))],
)
def test_the_picture_is_pillows_within_a_grey_level(encoder, size, small, corner) -> None:
    frame = noise(1, *size)
    left, top = corner
    image = Image.fromarray(frame[0].numpy()).resize(small, Image.Resampling.BILINEAR)
    expected = np.asarray(image.crop((left, top, left + 224, top + 224)), dtype=np.float64)
    ours = (encoder.picture(frame)[0].permute(1, 2, 0).double().numpy() * STD + MEAN) * 255
    difference = np.abs(ours - expected)
    assert (difference > 1.001).sum() <= 1  # of 150528 values; two roundings in a row can differ by two
    assert difference.mean() < 0.01


def test_maps_are_those_of_torchvisions_network(encoder, reference, frames, maps) -> None:
    seen: list[Tensor] = []
    hook = reference.avgpool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    reference(torch.cat([encoder.picture(frame) for frame in frames.split(1)]))
    hook.remove()
    assert maps.shape == (4, 7, 7, 2048)
    assert relative_deviation(maps, seen[0].permute(0, 2, 3, 1)) < 1e-5


def test_a_feature_is_the_mean_over_its_frames(encoder, maps) -> None:
    features = encoder.encode(maps.unflatten(0, (2, 2)))
    assert features.shape == (2, *encoder.shape)
    assert relative_deviation(features[1], (maps[2] + maps[3]) / 2) < 1e-6


def test_a_frame_knows_nothing_of_the_others(encoder, frames, maps) -> None:
    assert relative_deviation(encoder.prepare(frames[1:2]), maps[1:2]) < 1e-5
    assert relative_deviation(maps[0], maps[1]) > 0.01


def test_half_precision_gives_the_same_features_roughly(encoder, frames, maps) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder.prepare(frames[:1])
    assert rough.dtype == torch.float32
    assert relative_deviation(rough, maps[:1]) < 0.05


def test_a_feature_is_one_second_of_sixteen_frames() -> None:
    with torch.device("meta"):
        encoder = ResNet50(ResNet50Config())
    assert (encoder.rate, encoder.window, encoder.stride, encoder.shape) == (16, 16, 16, (7, 7, 2048))
    assert (encoder.modality, encoder.size) == ("picture", None)


def test_published_names_fit_and_others_show(encoder, reference) -> None:
    state = reference.state_dict()
    assert misfits(encoder, ResNet50.from_published(state)) == []
    del state["bn1.bias"]
    state |= {"conv1.weight": torch.zeros(64, 3, 3, 3), "head.weight": torch.zeros(1)}
    wrong = ["features.bn1.bias", "features.conv1.weight", "features.head.weight"]
    assert misfits(encoder, ResNet50.from_published(state)) == wrong
