import pytest
import torch

from avel_cli import checkpoint, encoders
from avel_cli.encoders.grid import Grid
from avel_cli.encoders.starter_picture import StarterPicture, StarterPictureConfig
from avel_cli.encoders.starter_sound import StarterSound, StarterSoundConfig
from avel_cli.errors import ModelError


@pytest.fixture(scope="module")
def sound() -> StarterSound:
    torch.manual_seed(0)
    return StarterSound(StarterSoundConfig(width=8, classes=("a", "b", "c"))).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def picture() -> StarterPicture:
    torch.manual_seed(0)
    return StarterPicture(StarterPictureConfig(width=8, classes=("a", "b"))).eval().requires_grad_(False)


def test_a_second_of_sound_is_one_embedding_and_one_tag_vector(sound):
    embeddings = sound(torch.randn(3, 16000) * 0.1)
    assert embeddings.shape == (3, sound.dim) == (3, 128)
    assert sound.tag(embeddings).shape == (3, 3)


def test_the_level_moves_only_the_last_number(sound):
    wave = torch.randn(1, 16000) * 0.1
    loud, quiet = sound(wave), sound(wave * 0.1)
    assert torch.allclose(loud[:, :-1], quiet[:, :-1], atol=5e-3)
    assert quiet[0, -1] < loud[0, -1] - 0.1
    assert torch.allclose(sound.tag(loud), sound.tag(quiet), atol=5e-3)


def test_silence_has_level_zero_and_no_nan(sound):
    silent = sound(torch.zeros(1, 16000))
    assert silent[0, -1] == pytest.approx(0, abs=1e-5)
    assert silent.isfinite().all()


def test_pictures_keep_their_positions(picture):
    frames = torch.zeros(2, 96, 96, 3, dtype=torch.uint8)
    frames[1, :48, :48] = 255
    maps = picture(frames)
    assert maps.shape == (2, 6, 6, 128)
    assert (maps >= 0).all()
    changed = (maps[1] - maps[0]).abs().sum(-1)
    assert changed[:2, :2].mean() > changed[4:, 4:].mean()


def test_an_encoder_is_rebuilt_from_its_file_alone(tmp_path, sound):
    path = tmp_path / "s.safetensors"
    config = {"width": 8, "classes": ["a", "b", "c"]}
    checkpoint.save(path, sound.state_dict(), {"kind": "encoder", "network": "starter-sound", "config": config})
    wave = torch.randn(2, 16000) * 0.1
    again = encoders.load("starter-sound", path)
    assert torch.allclose(again(wave), sound(wave), rtol=0.02, atol=0.02)  # stored as float16
    with pytest.raises(ModelError, match="holds starter-sound, not the encoder starter-picture"):
        encoders.load("starter-picture", path)


def test_an_unknown_encoder_is_named():
    with pytest.raises(ModelError, match='unknown encoder "vgg"'):
        encoders.load("vgg")


@pytest.mark.parametrize("name", ["starter-sound", "starter-picture"])
def test_the_weights_that_ship_are_finite_and_small(name):
    encoder = encoders.load(name)
    assert all(tensor.isfinite().all() for tensor in encoder.state_dict().values())


@pytest.mark.parametrize(("duration", "count"), [(0.02, 1), (1.0, 1), (10.0, 10), (10.05, 10), (10.2, 11), (9.95, 10)])
def test_a_scrap_at_the_end_is_no_segment(duration, count):
    assert Grid().count(duration) == count


def test_grid_seconds_are_the_only_arithmetic():
    assert Grid(start=0.5, stride=0.25, window=1.0).seconds(4) == (1.5, 2.5)
