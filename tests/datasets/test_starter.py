import pytest
import torch

from avel_cli.datasets import augment, composed, starter
from avel_cli.errors import SetupError
from tests.datasets.packs import LABELS, make_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("pack"), {"train": 1})


@pytest.fixture(scope="module")
def pool(pack):
    return composed.Pool(composed.split_rows([pack], "train", []), LABELS, 16000, 128)


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_folder_that_is_no_pack_is_a_setup_error(tmp_path):
    with pytest.raises(SetupError, match="no manifest"):
        starter.read_manifests([tmp_path])
    (tmp_path / "manifest.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SetupError, match="column 'path' is missing"):
        starter.read_manifests([tmp_path])


def test_what_is_outside_the_vocabulary_is_a_distractor(pool):
    assert [len(found) for found in (*pool.sounds, *pool.images, pool.noises, pool.scenes)] == [1] * 6


def test_labels_are_composed_only_where_there_are_sounds_and_pictures_of_them(pack):
    labels = {**LABELS, "unseen": composed.Label(("Hum",), scenes=("tench",), recordings=("low",))}
    assert composed.Pool(composed.split_rows([pack], "train", []), labels, 16000, 128).labels == [0, 1]
    with pytest.raises(SetupError, match="too few sounds and pictures"):
        composed.Pool(composed.split_rows([pack], "train", ["CC BY"]), labels, 16000, 128)


def test_a_mix_has_the_ratio_asked_for():
    own, other = torch.randn(4, 16000, generator=_rng(1)), torch.randn(4, 16000, generator=_rng(2)) * 7
    added = augment.mix(own, other, torch.full((4,), 6.0)) - own
    ratio = 10 * torch.log10(own.pow(2).mean(1) / added.pow(2).mean(1))
    assert torch.allclose(ratio, torch.full((4,), 6.0), atol=1e-3)


def test_white_backgrounds_show_the_scene():
    catalogue = torch.ones(1, 3, 64, 64)
    catalogue[:, :, 28:36, 28:36] = 0
    scene = torch.rand(1, 3, 64, 64, generator=_rng())
    shown = augment.on_scene(catalogue, scene, _rng())
    assert ((shown - scene).abs() < 1e-5).float().mean() > 0.8
    assert shown.min() < 0.01


def test_augmented_pictures_stay_pictures():
    pictures = torch.randint(0, 256, (6, 3, 128, 128), dtype=torch.uint8, generator=_rng())
    changed = augment.degrade(augment.colour(augment.crop(pictures, 96, _rng()), _rng()), _rng())
    assert changed.shape == (6, 3, 96, 96)
    assert changed.min() >= 0
    assert changed.max() <= 1
