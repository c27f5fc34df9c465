import pytest
import torch
from safetensors.torch import load_file

from avel_cli import encoders
from avel_cli.encoders.classes import audioset, imagenet, outputs
from avel_cli.encoders.starter_sound import StarterSound, StarterSoundConfig, StarterSoundDense
from avel_cli.errors import ModelError, UsageError
from avel_cli.hub import registry, weights_file
from avel_cli.timeline.grid import Grid


@pytest.fixture(scope="module")
def sound() -> StarterSound:
    torch.manual_seed(0)
    return StarterSound(StarterSoundConfig()).eval().requires_grad_(False)


def test_a_window_of_sound_is_one_embedding_and_a_logit_for_each_class_of_audioset(sound):
    embeddings = sound(torch.randn(3, sound.window) * 0.1)
    assert embeddings.shape == (3, *sound.shape) == (3, 1280)
    assert ((embeddings >= 0) & (embeddings <= 6)).all()
    assert sound.tag(embeddings).shape == (3, len(audioset())) == (3, 527)


def test_a_second_hears_half_a_second_more_on_either_side(sound):
    assert (sound.window, sound.context, sound.stride) == (64000, 16000, 32000)
    assert sound.grid == Grid(stride=1.0, window=1.0)
    assert StarterSoundDense(StarterSoundConfig()).grid == Grid(stride=0.25, window=1.0)


def test_silence_gives_numbers(sound):
    assert sound(torch.zeros(1, sound.window)).isfinite().all()


def test_an_encoder_is_rebuilt_from_its_file_alone(tmp_path, sound):
    path = tmp_path / "s.safetensors"
    weights_file.save(path, sound.state_dict(), {"kind": "encoder", "network": "starter-sound", "config": {}})
    wave = torch.randn(2, sound.window) * 0.1
    again = encoders.load("starter-sound", path)
    assert torch.allclose(again(wave), sound(wave), rtol=0.02, atol=0.02)  # stored as float16
    with pytest.raises(ModelError, match="holds starter-sound, not the encoder vggish"):
        encoders.load("vggish", path)


def test_an_unknown_encoder_is_named():
    with pytest.raises(ModelError, match='unknown encoder "vgg"'):
        encoders.load("vgg")


def test_the_weights_that_ship_are_finite_and_small():
    path = registry.encoder_file("starter-sound")
    assert all(tensor.isfinite().all() for tensor in load_file(path).values())
    assert sum(file.stat().st_size for file in registry.folder().glob("*.safetensors")) <= 20e6


@pytest.mark.parametrize(("duration", "count"), [(0.02, 1), (1.0, 1), (10.0, 10), (10.05, 10), (10.2, 11), (9.95, 10)])
def test_a_scrap_at_the_end_is_no_segment(duration, count):
    assert Grid().count(duration) == count


def test_grid_seconds_are_the_only_arithmetic():
    assert Grid(start=0.5, stride=0.25, window=1.0).seconds(4) == (1.5, 2.5)


def test_classes_are_found_by_name_synonym_and_range():
    assert (len(audioset()), len(imagenet())) == (527, 1000)
    assert outputs(["Speech", "Music"], audioset()) == (0, audioset().index("Music"))
    assert outputs(["Chihuahua..Mexican hairless"], imagenet()) == tuple(range(151, 269))
    assert outputs(["sax", "saxophone"], imagenet()) == (776,)
    with pytest.raises(UsageError, match='no class is called "saxofone"'):
        outputs(["saxofone"], imagenet())
