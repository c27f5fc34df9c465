"""VGG-19: AVE's frames and preprocessing against the reference, the network against torchvision's."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models import vgg19

from avel_cli.encoders import frame_maps
from avel_cli.encoders.vgg19 import (
    VGG19,
    VGG19Config,
    VGG19Torchvision,
    VGG19TorchvisionConfig,
    ave_frame_indices,
)
from avel_cli.errors import ModelError
from tests.encoders.published import fixture, misfits, relative_deviation, rule_weights

MEAN = torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)  # blue, green, red
OXFORD_CLASSIFIER = ("classifier.1.weight", "classifier.4.weight")


def filled(encoder: VGG19) -> VGG19:
    """With weights under which frames differ visibly in their maps."""
    encoder.load_state_dict(rule_weights({name: tensor.shape for name, tensor in encoder.state_dict().items()}))
    return encoder.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def encoder() -> VGG19:
    return filled(VGG19(VGG19Config(frames_per_second=2)))


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return torch.from_numpy(np.random.RandomState(5).randint(0, 256, (4, 40, 60, 3)).astype(np.uint8))


@pytest.fixture(scope="module")
def maps(encoder: VGG19, frames: Tensor) -> Tensor:
    return encoder.prepare(frames)


@pytest.fixture(scope="module")
def big_frame() -> Tensor:
    """The frame of the reference, `[1, 360, 640, 3]`."""
    return torch.from_numpy(np.random.RandomState(78).randint(0, 256, (1, 360, 640, 3)).astype(np.uint8))


@pytest.mark.parametrize("count", [299, 150])
def test_frames_are_those_that_ave_takes(count: int) -> None:
    assert ave_frame_indices(count) == fixture()[f"ave_frame_index_{count}"].tolist()


def test_longer_videos_give_sixteen_frames_a_second() -> None:
    indices = ave_frame_indices(751, seconds=25)
    assert len(indices) == 16 * 25
    assert indices[16 * 7] == 7 * 30
    assert max(indices) < 750


def test_the_picture_is_the_reference_within_a_grey_level(encoder, big_frame) -> None:
    picture = encoder.picture(big_frame)[0, :, ::7, ::7]
    difference = np.abs(picture.numpy() - fixture()["ave_vgg19_input_sel"])
    assert difference.max() < 1.001
    assert difference.mean() < 0.15
    levels = (picture + MEAN).flip(0)
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert np.abs(levels.permute(1, 2, 0).numpy() - fixture()["ave_vgg19_resize_sel"]).max() < 1.001


def test_torchvision_sees_the_same_picture_normalised_its_own_way(encoder, big_frame) -> None:
    picture = VGG19Torchvision(VGG19TorchvisionConfig()).picture(big_frame)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    levels = (encoder.picture(big_frame) + MEAN).flip(1)
    assert torch.allclose((picture * std + mean) * 255, levels, atol=1e-3)


def test_maps_are_those_of_torchvisions_network(encoder, frames, maps) -> None:
    with torch.device("meta"):
        reference = vgg19().features
    reference.load_state_dict(encoder.features.state_dict(), assign=True)
    expected = reference.requires_grad_(False)(encoder.picture(frames[:1])).permute(0, 2, 3, 1)
    assert maps.shape == (4, 7, 7, 512)
    assert relative_deviation(maps[:1], expected) < 1e-5


def test_a_feature_is_the_mean_over_its_frames(encoder, maps) -> None:
    features = encoder.encode(maps.unflatten(0, (2, 2)))
    assert features.shape == (2, *encoder.shape)
    assert relative_deviation(features[1], (maps[2] + maps[3]) / 2) < 1e-6


def test_a_frame_knows_nothing_of_the_others(encoder, frames, maps, monkeypatch) -> None:
    monkeypatch.setattr(frame_maps, "AT_ONCE", 2)
    assert relative_deviation(encoder.prepare(frames[:3]), maps[:3]) < 1e-5
    assert relative_deviation(maps[0], maps[1]) > 0.01


def test_half_precision_gives_the_same_features_roughly(encoder, frames, maps) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder.prepare(frames[:1])
    assert rough.dtype == torch.float32
    assert relative_deviation(rough, maps[:1]) < 0.05


@pytest.mark.parametrize("kind, config", [(VGG19, VGG19Config), (VGG19Torchvision, VGG19TorchvisionConfig)])
def test_a_feature_is_one_second_of_sixteen_frames(kind, config) -> None:
    with torch.device("meta"):
        encoder = kind(config())
    assert (encoder.rate, encoder.window, encoder.stride, encoder.shape) == (16, 16, 16, (7, 7, 512))
    assert (encoder.modality, encoder.size) == ("picture", None)


def test_oxfords_convolutions_fit_and_others_show(encoder) -> None:
    state = dict(encoder.state_dict()) | {name: torch.zeros(1) for name in OXFORD_CLASSIFIER}
    assert misfits(encoder, VGG19.from_published(state)) == []
    del state["features.0.bias"]
    state |= {"features.2.weight": torch.zeros(64, 3, 3, 3), "features.37.weight": torch.zeros(1)}
    wrong = ["features.0.bias", "features.2.weight", "features.37.weight"]
    assert misfits(encoder, VGG19.from_published(state)) == wrong


@pytest.mark.parametrize("name", ["classifier.0.weight", "pre_logits.fc1.weight"])
def test_torchvisions_weights_are_refused_for_ave(encoder, name: str) -> None:
    state = dict(encoder.state_dict()) | {name: torch.zeros(1)}
    with pytest.raises(ModelError, match=r"^these are torchvision's weights .* vgg19-torchvision takes them$"):
        VGG19.from_published(state)
    assert misfits(encoder, VGG19Torchvision.from_published(state)) == []


def test_the_file_that_torchvision_writes_is_recognised() -> None:
    with torch.device("meta"):
        state = vgg19().state_dict()
        encoder = VGG19Torchvision(VGG19TorchvisionConfig())
    with pytest.raises(ModelError, match="torchvision"):
        VGG19.from_published(state)
    assert misfits(encoder, VGG19Torchvision.from_published(state)) == []
