"""Distillation: a run that is stopped goes on bit by bit, and the student learns to answer as its teacher."""

import numpy as np
import pytest
import torch

from avel_cli import encoders, recipes
from avel_cli.encoders.efficientat import EfficientAT, EfficientATConfig
from avel_cli.encoders.efficientnet_lite0 import EfficientNetLite0, EfficientNetLite0Config
from avel_cli.hub import weights_file
from avel_cli.training import distil
from avel_cli.training.distil import DistilRecipe, grey, microphone

TINY = ["schedule.batch=4", "schedule.warmup=1", "schedule.ema=0.5", "sources={}", "classes=[]"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(1)
    (rng.standard_normal(32000 * 8) * 3000).astype("<i2").tofile(folder / "sounds.raw")
    (folder / "sounds.csv").write_text("offset,length,source,path,licence_class\n0,256000,noise,x,free\n")
    return folder


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return EfficientAT(EfficientATConfig()).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def lite0():
    torch.manual_seed(1)
    return EfficientNetLite0(EfficientNetLite0Config()).state_dict()


def test_a_run_goes_on_bit_by_bit_where_it_was_stopped(corpus, teacher, lite0, tmp_path, monkeypatch):
    recipe = recipes.load(DistilRecipe, "starter-sound", [*TINY, "schedule.steps=4"])
    whole = distil.distil(recipe, teacher, lite0, [corpus], tmp_path / "whole")
    steps = []

    def stops(*arguments):
        steps.append(arguments)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return draw(*arguments)

    draw = distil.mixtures
    monkeypatch.setattr(distil, "mixtures", stops)
    monkeypatch.setattr(distil, "EVERY", 2)
    with pytest.raises(KeyboardInterrupt):
        distil.distil(recipe, teacher, lite0, [corpus], tmp_path / "parts")
    monkeypatch.setattr(distil, "mixtures", draw)
    again = distil.distil(recipe, teacher, lite0, [corpus], tmp_path / "parts", resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))


def test_the_student_starts_from_the_pictures_and_comes_closer_to_its_teacher(corpus, teacher, lite0, tmp_path):
    recipe = recipes.load(DistilRecipe, "starter-sound", [*TINY, "schedule.steps=12", "schedule.lr=3e-3"])
    distil.distil(recipe, teacher, lite0, [corpus], tmp_path)
    rows = (tmp_path / "starter-sound.csv").read_text().splitlines()
    losses = [float(row.split(",")[1]) for row in rows[1:]]
    assert losses[-1] < 0.9 * losses[0]


def test_weights_are_written_with_their_recipe(corpus, teacher, tmp_path, monkeypatch):
    path = tmp_path / "teacher.safetensors"
    weights_file.save(path, teacher.state_dict(), {"kind": "encoder", "network": "efficientat-mn04", "config": {}})
    recipe = recipes.load(DistilRecipe, "starter-sound", [*TINY, "schedule.steps=1"])
    written = distil.train(recipe, [corpus], tmp_path / "out", weights={"efficientat-mn04": path})
    header = weights_file.read_header(written)
    assert (header["network"], header["licence"], header["recipe"]["teacher"]) == (
        "starter-sound",
        "CC BY 4.0",
        "efficientat-mn04",
    )
    assert encoders.load("starter-sound", written).shape == (1280,)


def test_a_stem_for_one_colour_sees_grey_as_the_other_sees_it_in_three(lite0):
    trunk = grey(lite0)
    pixels = torch.randn(1, 1, 8, 8)
    three = torch.nn.functional.conv2d(pixels.expand(-1, 3, -1, -1), lite0["trunk.stem.conv.weight"])
    torch.testing.assert_close(torch.nn.functional.conv2d(pixels, trunk["stem.conv.weight"]), three)


def test_microphones_differ_and_stay_within_reason():
    gains = microphone(200, 513, torch.Generator().manual_seed(0)).squeeze(2)
    assert gains.shape == (200, 513)
    decibels = 10 * gains.log10()
    assert decibels[:, 16].abs().max() < 20  # 500 Hz
    assert (decibels[:, 400] < -20).float().mean() == pytest.approx(0.05, abs=0.04)
