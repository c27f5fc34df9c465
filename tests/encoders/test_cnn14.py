"""Cnn14 against the published network and its front end."""

import pytest
import torch
from torch import Tensor

from avel_cli.encoders.cnn14 import Cnn14, Cnn14Config
from tests.encoders.published import (
    NETWORK_TOLERANCE,
    deviation,
    fixture,
    misfits,
    published_shapes,
    relative_deviation,
    rule_weights,
    signal,
)

LOGMEL_TOLERANCE = 1e-3  # dB


@pytest.fixture(scope="module")
def cnn14() -> Cnn14:
    encoder = Cnn14(Cnn14Config())
    state = Cnn14.from_published(rule_weights(published_shapes("cnn14")))
    assert encoder.load_state_dict(state, assign=True, strict=False).unexpected_keys == []
    return encoder.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def windows() -> Tensor:
    return torch.from_numpy(signal(32000, 2, 4321)).float().view(2, 32000)


def test_mel_bands_are_those_of_the_published_front_end(cnn14) -> None:
    assert deviation(cnn14.mels, fixture()["cnn14_melW"]) < 1e-7


def test_logmel_is_that_of_the_published_front_end(cnn14, windows) -> None:
    assert deviation(cnn14.logmel(windows), fixture()["cnn14_logmel"]) < LOGMEL_TOLERANCE


def test_silence_has_the_level_of_the_floor(cnn14) -> None:
    assert torch.equal(cnn14.logmel(torch.zeros(1, 32000)), torch.full((1, 101, 64), -100.0))


def test_features_and_logits_are_those_of_the_published_network(cnn14) -> None:
    features = cnn14.embed(torch.from_numpy(fixture()["cnn14_logmel"]))
    assert relative_deviation(features, fixture()["cnn14_embedding"]) < NETWORK_TOLERANCE
    assert relative_deviation(cnn14.tag(features), fixture()["cnn14_logits"]) < NETWORK_TOLERANCE


def test_features_of_sound_are_those_of_the_published_network(cnn14, windows) -> None:
    features = cnn14.encode(windows)
    assert relative_deviation(features, fixture()["cnn14_embedding"]) < NETWORK_TOLERANCE
    assert relative_deviation(cnn14.tag(features), fixture()["cnn14_logits"]) < NETWORK_TOLERANCE


def test_a_window_knows_nothing_of_the_others(cnn14, windows) -> None:
    together = cnn14.encode(windows)
    alone = torch.cat([cnn14.encode(window) for window in windows.split(1)])
    assert relative_deviation(together, alone) < NETWORK_TOLERANCE
    assert relative_deviation(together[0], alone[1]) > 1e-3


def test_half_precision_touches_the_network_alone(cnn14, windows) -> None:
    exact = cnn14.logmel(windows)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cnn14.logmel(windows), exact)
        features = cnn14.encode(windows)
    assert relative_deviation(features.float(), cnn14.encode(windows)) < 0.02


def test_a_feature_is_one_second_at_32_khz(cnn14) -> None:
    assert (cnn14.rate, cnn14.window, cnn14.stride, cnn14.shape) == (32000, 32000, 32000, (2048,))
    assert (cnn14.modality, cnn14.resampler) == ("sound", "kaiser")


@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_published_names_fit_and_others_show(cnn14, prefix: str, wrapped: bool) -> None:
    shapes = published_shapes("cnn14")
    state = {prefix + name: torch.zeros(shape, device="meta") for name, shape in shapes.items()}
    file = {"model": state, "iteration": 600000} if wrapped else state
    assert misfits(cnn14, Cnn14.from_published(file)) == []
    del state[f"{prefix}fc1.bias"]
    state |= {f"{prefix}bn0.weight": torch.zeros(128), f"{prefix}conv_block7.conv1.weight": torch.zeros(1)}
    assert misfits(cnn14, Cnn14.from_published(file)) == ["bn0.weight", "conv_block7.conv1.weight", "fc1.bias"]
