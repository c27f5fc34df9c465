"""`avel train` and `avel eval` on a folder laid out like UnAV-100, from features to tables and pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avel_cli import localizers, recipes
from avel_cli.cli.main import run
from avel_cli.datasets import unav100
from avel_cli.datasets.unav100 import I3D, ONE_PEACE, FeatureSet
from avel_cli.datasets.unav100_reported import REPORTED
from avel_cli.datasets.unav100_videos import FEATURES
from avel_cli.errors import ModelError
from avel_cli.hub import registry, weights_file
from avel_cli.localizers.unav.network import UnAV, UnAVConfig
from avel_cli.localizers.unav.published import official_config, official_views
from avel_cli.media import probe
from avel_cli.metrics.detection import reference_points
from avel_cli.pipeline import Detector, Options
from avel_cli.tasks.base import Data
from avel_cli.timeline.grid import Grid
from avel_cli.timeline.proposals import to_steps
from avel_cli.training.recipe import Recipe
from avel_cli.training.train import save
from tests.conftest import run_ffmpeg

Avel = Callable[..., tuple[int, str, str]]
CLASSES = ("dog", "rain")
SPLITS = {"train": 16, "validation": 4, "test": 6}
RECIPE = """
name = "small"
description = "for tests"
licence = "CC0"
dataset = "unav100"
network = "{network}"

[loss]
normaliser = 20.0

[data]
features = "{features}"

[model]
max_seq_len = 64
d_model = 32
heads = 2
unimodal_layers = 1
levels = 4
head_dim = 32
drop_path = 0.0
{more}
[schedule]
every = 10
epochs = 20
batch = 8
lr = 6e-3
weight_decay = 1e-4
warmup = 5
ema = 0.9
clip = 1.0
precision = "fp32"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of 10 to 14 s with an event of either class, which shows in a few channels of both modalities."""
    made = tmp_path_factory.mktemp("unav100")
    (made / "annotations").mkdir()
    (made / "av_features").mkdir()
    rng = np.random.default_rng(0)
    database: dict[str, Any] = {}
    for split, count in SPLITS.items():
        for number in range(count):
            name, duration = f"-{split[:2]}_{number:02d}", float(rng.integers(10, 15))
            events = []
            for label, title in enumerate(CLASSES):
                start = float(rng.uniform(0, duration - 5))
                events.append({"segment": [start, start + float(rng.uniform(2, 5))], "label": title, "label_id": label})
            database[name] = {"duration": duration, "subset": split, "annotations": events}
            for features in (I3D, ONE_PEACE):
                write_features(made / "av_features", name, duration, events, features, rng)
    (made / "annotations" / unav100.ANNOTATIONS).write_text(json.dumps({"version": "test", "database": database}))
    return made


def write_features(
    folder: Path,
    name: str,
    duration: float,
    events: list[dict[str, Any]],
    features: FeatureSet,
    rng: np.random.Generator,
) -> None:
    rows = features.grid.count(duration)
    for ending, width in features.files:
        values = rng.normal(0, 0.1, (rows, width)).astype(np.float32)
        for event in events:
            inside = np.arange(rows)[:, None] == np.clip(np.arange(rows), *to_steps(event["segment"], features.grid))
            channels = slice(16 * event["label_id"], 16 * event["label_id"] + 16)
            values[inside.any(axis=1), channels] += 1
        np.save(folder / (name + ending), values)


@pytest.fixture
def avel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Avel:
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> tuple[int, str, str]:
        code = run(args)
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


def recipe(folder: Path, network: str = "loco", features: str = "i3d", more: str = "") -> str:
    path = folder / "small.toml"
    path.write_text(RECIPE.format(network=network, features=features, more=more))
    return str(path)


def table(text: str) -> list[dict[str, str]]:
    header, *rows = (line.split("\t") for line in text.splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


def is_picture(path: Path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_from_features_to_weights_to_the_same_figures_again(
    avel: Avel, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "--dataset", "unav100", "--model", "loco", "--data", str(folder), "--recipe", recipe(tmp_path))
    code, out, err = avel(*words, "--seeds", "2", "-o", "runs")
    assert code == 0, err
    assert "not the published file" in err and "epoch chosen on val" in err
    rows = table(out)
    ours = rows  # published figures are of other videos
    name = "small"
    assert [row["system"] for row in ours] == [
        *(f"{name}, {what}" for what in ("seed 1", "seed 2", "mean of 2", "best")),
    ]
    assert all(row["source"] == "this run; epoch chosen on val" for row in ours)
    assert float(ours[0]["average"]) > 40

    report = json.loads(Path("runs/small.json").read_text())
    header = weights_file.read_header(Path("runs/small.safetensors"))
    assert header["encoders"] == ["vggish-unav", "i3d-rgb", "i3d-flow"]
    assert (header["steps"], header["grid"]["stride"], header["labels"]) == (64, 0.32, list(CLASSES))
    assert header["figures"]["selection"] == report["selection"] == "epoch chosen on val"
    assert [run["seed"] for run in report["runs"]] == [1, 2]
    assert report["mean"] == pytest.approx(np.mean([run["test"] for run in report["runs"]]), abs=1e-3)
    assert is_picture(Path("runs/small.png"))
    steps = list(csv.DictReader(Path("runs/small-seed2.csv").read_text().splitlines()))
    assert len(steps) == 40 and {"cls", "reg", "lcc", "score_val"} <= steps[0].keys()

    weights = ("-m", "runs/small.safetensors")
    code, out, err = avel("eval", "--dataset", "unav100", *weights, "--data", str(folder), "-o", "figures", "--json")
    assert code == 0, err
    again = json.loads(out)
    assert again["map"] == pytest.approx(report["test"]["map"], abs=1e-9)
    assert again["selection"] == "epoch chosen on val"
    assert is_picture(Path("figures/small.map.png")) and is_picture(Path("figures/small.precision-recall.png"))
    assert again["reported"] == []
    monkeypatch.setattr("avel_cli.datasets.unav100_videos.is_published", lambda path: True)
    code, out, _ = avel("eval", "--dataset", "unav100", *weights, "--data", str(folder), "-o", "figures")
    named = {row["what"]: row for row in table(out)}
    assert code == 0 and float(named["small"]["average"]) == pytest.approx(again["average_map"], abs=0.005)
    assert len([name for name in named if name.startswith("reported: ")]) == len(REPORTED)
    assert named["reported: UnAV, I3D and VGGish"]["0.5"] == "50.6"
    assert named["reported: UnAV, I3D and VGGish"]["0.1"] == ""
    assert {"dog", "rain", "2 to 6 s", "right classes, whole video"} <= named.keys()
    assert not any("LoCo" in row["what"] for row in named.values())


def test_selection_on_test_is_said_in_every_output(avel: Avel, folder: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, "unav", "onepeace", "dependency_dim = 4")
    words = ("train", "--dataset", "unav100", "--model", "unav", "--data", str(folder), "--recipe", path)
    options = ("--set", "schedule.epochs=1", "--in-memory", "--select", "test", "-o", ".")
    code, out, err = avel(*words, *options)
    assert code == 0, err
    assert "epoch chosen on TEST" in table(out)[-1]["source"] and "epoch chosen on TEST" in err
    assert "epoch chosen on TEST" in Path("small.json").read_text()
    header = weights_file.read_header(Path("small.safetensors"))
    assert "epoch chosen on TEST" in header["figures"]["selection"]
    assert header["encoders"] == ["one-peace-sound", "one-peace-picture"]
    code, out, _ = avel("eval", "--dataset", "unav100", "-m", "small.safetensors", "--data", str(folder))
    assert code == 0 and "epoch chosen on TEST" in table(out)[0]["source"]
    before = Path("small-seed1.csv").read_text()
    assert avel(*words, *options, "--resume")[0] == 0  # nothing is left to do
    assert Path("small-seed1.csv").read_text() == before


def official_checkpoint(path: Path) -> UnAV:
    """A checkpoint as UnAV's training writes it: in a wrapper of several processes, the moving average beside."""
    torch.manual_seed(1)
    config = UnAVConfig(num_classes=2, d_model=32, levels=4, head_dim=32, dependency_dim=4, official_padding=True)
    network = UnAV(config)
    published = {f"module.{name}": tensor.clone() for name, tensor in official_views(network.state_dict()).items()}
    plain = {name: torch.zeros_like(tensor) for name, tensor in published.items()}
    torch.save({"epoch": 3, "state_dict": plain, "state_dict_ema": published, "optimizer": {"lr": 1e-4}}, path)
    return network


def test_the_authors_checkpoint_is_read_with_its_moving_average_and_its_padding(
    avel: Avel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, seen = official_checkpoint(Path("model_best.pth.tar")), []
    forward = UnAV.forward

    def watched(self: UnAV, audio: torch.Tensor, visual: torch.Tensor, mask: torch.Tensor) -> Any:
        seen.append((self, audio.shape[1]))
        return forward(self, audio, visual, mask)

    monkeypatch.setattr(UnAV, "forward", watched)
    words = ("--weights", "unav=model_best.pth.tar", "--data", str(folder), "-o", "figures")
    code, out, err = avel("eval", "--dataset", "unav100", *words)
    assert code == 0, err
    assert table(out)[0]["source"] == "as its authors publish it"
    assert {length for _, length in seen} == {224}
    used = seen[0][0]
    assert used.config.official_padding and not used.config.official_mask_order
    assert all(torch.equal(tensor, used.state_dict()[name]) for name, tensor in network.state_dict().items())


def test_the_size_of_a_published_network_is_read_off_its_tensors() -> None:
    with torch.device("meta"):
        for config in (UnAVConfig(), UnAVConfig(1536, 1536, dependency_dim=0), UnAVConfig(levels=3, d_model=64)):
            views = official_views(UnAV(config).state_dict())
            found = official_config(views, 224)
            assert (found.audio_dim, found.visual_dim, found.dependency_dim) == (
                config.audio_dim,
                config.visual_dim,
                config.dependency_dim,
            )
            assert (found.levels, found.d_model, found.official_padding) == (config.levels, config.d_model, True)


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (("-m", "cace-net.starter"), "its task is labels; unav100 is for dense"),
        (("--weights", "vgg19=wrong.pth"), "can be given for unav here, not for vgg19"),
        (("--weights", "unav=wrong.pth"), "not of a published UnAV"),
    ],
)
def test_weights_that_cannot_be_measured_here_are_refused_in_one_line(
    avel: Avel, folder: Path, weights: tuple[str, ...], text: str
) -> None:
    torch.save({"a": torch.zeros(2)}, "wrong.pth")
    code, out, err = avel("eval", "--dataset", "unav100", *weights, "--data", str(folder), "-q")
    assert code in (2, 4) and out == ""
    assert text in err and err.count("\n") == 1


def test_classes_other_than_the_weights_are_refused(avel: Avel, folder: Path, tmp_path: Path) -> None:
    official_checkpoint(Path("x.pth"))
    other = tmp_path / "other"
    other.mkdir()
    event = {"segment": [0, 3], "label": "rain", "label_id": 0}
    video = {"duration": 10, "subset": "test", "annotations": [event]}
    (other / unav100.ANNOTATIONS).write_text(json.dumps({"database": {"-a": video}}))
    write_features(other, "-a", 10, [event], I3D, np.random.default_rng(0))
    code, _, err = avel("eval", "--dataset", "unav100", "--weights", "x.pth", "--data", str(other))
    assert code == 2 and "2 labels; the data has 128, 2048 and 1" in err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("unav100", "--model", "unav", "--recipe", "loco.unav100-i3d"), "trains loco on unav100, not unav on unav100"),
        (("unav100", "--model", "cace-net"), "--model can be loco, unav"),
        (("starter", "--model", "loco", "--recipe", "loco.unav100-i3d"), "trains loco on unav100, not loco on starter"),
        (("unav100", "--model", "loco", "--recipe", "starter-sound"), "learns from sounds, not from unav100"),
    ],
)
def test_a_recipe_for_something_else_is_a_wrong_command_line(
    avel: Avel, folder: Path, words: tuple[str, ...], text: str
) -> None:
    code, _, err = avel("train", "--data", str(folder), "--dataset", *words)
    assert code == 2 and text in err


def test_recipes_are_for_features_of_their_length() -> None:
    for name in ("loco.unav100-onepeace", "loco.unav100-i3d", "unav.unav100-i3d"):
        found = recipes.load(Recipe, name)
        options = found.data_options()
        features = FEATURES[options.features]
        assert (found.config({}).max_seq_len, options.reach) == (features.steps, features.reach)
        assert found.select == "val"


def test_the_right_classes_of_the_whole_video_are_worth_less_than_their_hull(folder: Path) -> None:
    videos = unav100.read_annotations(unav100.find_annotations(folder)).of("test")
    whole, hull = reference_points(videos).values()
    assert whole.average < hull.average == 100.0


def test_weights_with_unav_features_name_encoders_that_exist() -> None:
    for features in unav100.FEATURE_SETS:
        assert set(features.encoders) <= registry.catalogue().encoders.keys()
    assert localizers.localizer_class("unav") is UnAV


def joined_weights(tmp_path: Path, visual_dim: int) -> Path:
    """A small LoCo on what two picture encoders make, joined, as I3D on frames and on flow are."""
    small = recipes.load(Recipe, recipe(tmp_path))
    torch.manual_seed(0)
    sizes = {"audio_dim": 1280, "visual_dim": visual_dim, "num_classes": 2}
    network = localizers.localizer_class("loco")(small.config(sizes))
    makers = ("starter-sound-dense", "efficientnet-lite0-dense", "efficientnet-lite0-dense")
    path = tmp_path / "joined.safetensors"
    save(network, small, Data({}, CLASSES, {}, makers, Grid(stride=0.25)), path, {})
    return path


def test_what_two_picture_encoders_make_is_joined(tmp_path: Path) -> None:
    inputs = [part for source in ("testsrc2=d=4:s=64x48:r=10", "sine=d=4") for part in ("-f", "lavfi", "-i", source)]
    clip = run_ffmpeg(tmp_path / "clip.mp4", *inputs)
    detector = Detector(str(joined_weights(tmp_path, 5120)), "cpu")
    with closing(detector.features(probe(clip))) as features:
        rows = [row.visual for row in features]
    visual = torch.cat(rows)
    assert visual.shape == (13, 5120)
    assert torch.equal(visual[:, :2560], visual[:, 2560:]) and visual.std() > 0
    assert detector.detect(clip, Options(min_score=0)).warnings == ()


def test_weights_for_other_widths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="takes picture features 2048 wide"):
        Detector(str(joined_weights(tmp_path, 2048)), "cpu")
