"""EfficientAT mn04 against reference numbers of the published network; its siblings by their sizes."""

import json

import numpy as np
import pytest
import torch
from torchaudio.compliance.kaldi import get_mel_banks

from avel_cli.encoders.efficientat import EfficientAT, EfficientATConfig
from avel_cli.encoders.mel import mel_banks
from tests.encoders.published import PARITY, deviation, misfits, relative_deviation, rule_weights


@pytest.fixture(scope="module")
def reference():
    return np.load(PARITY / "efficientat_mn04.npz")


@pytest.fixture(scope="module")
def teacher(shared) -> EfficientAT:
    path = shared / "data" / "teacher" / "mn04_as_mAP_432.pt"
    if not path.is_file():
        pytest.skip("the weights of mn04 are not here")
    network = EfficientAT(EfficientATConfig())
    network.load_state_dict(EfficientAT.from_published(torch.load(path, weights_only=True, map_location="cpu")))
    return network.eval().requires_grad_(False)


def ten_seconds() -> torch.Tensor:
    """The longer wave of the reference: a chirp in noise, drawn after the two seconds."""
    rng = np.random.default_rng(20261126)
    rng.standard_normal(2 * 32000)
    t = np.arange(10 * 32000) / 32000
    return torch.from_numpy(0.2 * np.sin(2 * np.pi * (300 + 200 * t) * t) + 0.05 * rng.standard_normal(len(t))).float()


def test_mel_bands_are_kaldis() -> None:
    banks, _ = get_mel_banks(128, 1024, 32000.0, 0.0, 15000.0, 100.0, -500.0, 1.0)
    assert deviation(mel_banks(128, 1024, 32000, 0.0, 15000.0)[:, :-1], banks) < 2e-5


@pytest.mark.shared
@pytest.mark.parametrize("length", ["two", "ten"])
def test_mel_features_and_logits_equal_the_reference(teacher, reference, length) -> None:
    wave = torch.from_numpy(reference["two/wave"]) if length == "two" else ten_seconds()
    known = reference[f"{length}/wave"]
    if deviation(wave[: len(known)], known) > 1e-6:
        pytest.skip("the wave of the reference cannot be made again")
    mel = teacher.mel(wave.unsqueeze(0))
    assert list(mel.shape[1:]) == reference[f"{length}/mel_shape"].tolist()
    assert deviation(mel[0, :, :40], reference[f"{length}/mel"]) < 1e-4
    features = teacher.embed(mel)
    assert relative_deviation(features[0], reference[f"{length}/features"]) < 1e-4
    assert relative_deviation(teacher.tag(features)[0], reference[f"{length}/logits"]) < 1e-4


def test_every_published_tensor_has_a_place() -> None:
    shapes = json.loads((PARITY / "efficientat_mn04.state_dict.json").read_text())
    state = rule_weights({name: shape for name, shape in shapes.items() if shape})
    assert misfits(EfficientAT(EfficientATConfig()), EfficientAT.from_published(state)) == []
    assert len(EfficientAT.from_published(state)) == len(state)


@pytest.mark.parametrize(
    ("width", "features", "millions"), [(0.4, 384, 0.984), (1.0, 960, 4.88), (2.0, 1920, 17.91), (4.0, 3840, 68.43)]
)
def test_the_sizes_of_the_family(width, features, millions) -> None:
    with torch.device("meta"):
        network = EfficientAT(EfficientATConfig(width=width))
    assert network.shape == (features,)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_a_feature_belongs_to_one_second_and_hears_half_a_second_more_on_either_side() -> None:
    with torch.device("meta"):
        network = EfficientAT(EfficientATConfig())
    assert (network.window, network.context) == (64000, 16000)
    assert (network.grid.stride, network.grid.window, network.count(10.0)) == (1.0, 1.0, 10)
