"""VGGish against the published port: mel bands, network, and the rules by which AVE and UnAV-100 feed it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from avel_cli.encoders import resample
from avel_cli.encoders.resample import resampled
from avel_cli.encoders.vggish import VGGish, VGGishConfig, VGGishUnAV, VGGishUnAVConfig, mel_matrix
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

LOGMEL_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def vggish() -> VGGish:
    encoder = VGGish(VGGishConfig())
    encoder.load_state_dict(VGGish.from_published(rule_weights(published_shapes("vggish"))), assign=True)
    return encoder.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def windows() -> Tensor:
    """Three windows of the reference sound, 0.96 s apart."""
    return torch.from_numpy(signal(16000, 3, 1234)).float().unfold(0, VGGish.window, 15360)


def ave_seconds() -> Tensor:
    """Two seconds of stereo sound at 44.1 kHz by AVE's rule, `[2, 15600]` at 16 kHz."""
    stereo = np.stack([signal(44100, 2, 55), signal(44100, 2, 56)])
    sound = torch.cat(list(resampled([torch.from_numpy(stereo.mean(0)).float()], 44100, 16000)))
    return sound.unfold(0, VGGish.window, VGGishConfig().stride)


def test_mel_bands_are_linear_in_mel() -> None:
    assert deviation(mel_matrix(), fixture()["vggish_mel_matrix"]) < 1e-7


def test_logmel_is_that_of_the_published_front_end(vggish, windows) -> None:
    assert deviation(vggish.logmel(windows), fixture()["vggish_logmel"]) < LOGMEL_TOLERANCE


def test_logmel_on_the_grid_of_unav_is_that_of_the_published_front_end(vggish) -> None:
    sound = torch.from_numpy(signal(16000, 3, 1234)).float()
    logmel = vggish.logmel(sound.unfold(0, VGGishUnAV.window, VGGishUnAVConfig().stride))
    assert logmel.shape == tuple(fixture()["vggish_logmel_hop032_shape"])
    assert deviation(logmel[[1, -1], ::8], fixture()["vggish_logmel_hop032_sel"]) < LOGMEL_TOLERANCE


def test_every_layer_is_that_of_the_published_network(vggish) -> None:
    logmel = torch.from_numpy(fixture()["vggish_logmel"])
    maps = vggish.features(logmel.unsqueeze(1))
    rectified = vggish.embed(logmel)
    raw = vggish.embeddings[:-1](maps.movedim(1, -1).flatten(1))
    assert relative_deviation(maps[0, ::64], fixture()["vggish_pool4_sel"]) < NETWORK_TOLERANCE
    assert relative_deviation(raw, fixture()["vggish_embedding_prerelu"]) < NETWORK_TOLERANCE
    assert relative_deviation(rectified, fixture()["vggish_embedding"]) < NETWORK_TOLERANCE
    assert raw.min() < 0 <= rectified.min()


def test_features_of_sound_are_those_of_the_published_network(vggish, windows) -> None:
    assert relative_deviation(vggish.encode(windows), fixture()["vggish_embedding"]) < NETWORK_TOLERANCE


def test_the_rule_of_ave_gives_its_logmel(vggish) -> None:
    difference = np.abs(vggish.logmel(ave_seconds()).numpy() - fixture()["ave_logmel_kb02"])
    assert difference.max() < 0.0245  # what resampy's table of the same filter leaves
    assert difference.mean() < 0.0032


def test_another_filter_would_change_the_logmel(vggish, monkeypatch) -> None:
    newer = fixture()["ave_logmel"]
    assert deviation(vggish.logmel(ave_seconds()), newer) > 0.3
    for name, value in {"ZERO_CROSSINGS": 50, "ROLLOFF": 0.917347, "BETA": 12.9846}.items():
        monkeypatch.setattr(resample, name, value)
    assert deviation(vggish.logmel(ave_seconds()), newer) < 0.024


def test_a_window_knows_nothing_of_the_others(vggish, windows) -> None:
    together = vggish.encode(windows)
    alone = torch.cat([vggish.encode(window) for window in windows.split(1)])
    assert relative_deviation(together, alone) < NETWORK_TOLERANCE
    assert relative_deviation(together[0], alone[1]) > 0.01


def test_half_precision_touches_the_network_alone(vggish, windows) -> None:
    exact = vggish.logmel(windows)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(vggish.logmel(windows), exact)
        features = vggish.encode(windows)
    assert relative_deviation(features.float(), vggish.encode(windows)) < 0.02


@pytest.mark.parametrize(
    "kind, config, stride, step",
    [(VGGish, VGGishConfig, 16000, 1.0), (VGGishUnAV, VGGishUnAVConfig, 5120, 0.32)],
)
def test_the_grid_is_that_of_the_data_set(kind, config, stride, step) -> None:
    with torch.device("meta"):
        encoder = kind(config())
    assert (encoder.rate, encoder.window, encoder.stride, encoder.shape) == (16000, 15600, stride, (128,))
    assert (encoder.grid.stride, encoder.grid.window) == (step, 0.975)
    assert (encoder.modality, encoder.resampler) == ("sound", "kaiser")


def test_published_names_fit_and_others_show() -> None:
    with torch.device("meta"):
        encoder = VGGishUnAV(VGGishUnAVConfig())
        state = {name: torch.zeros(shape) for name, shape in published_shapes("vggish").items()}
        assert misfits(encoder, VGGishUnAV.from_published(state)) == []
        del state["features.0.bias"]
        state |= {"embeddings.4.weight": torch.zeros(127, 4096), "pproc.pca_means": torch.zeros(128, 1)}
    wrong = ["embeddings.4.weight", "features.0.bias", "pproc.pca_means"]
    assert misfits(encoder, VGGishUnAV.from_published(state)) == wrong
