"""`avel train` and `avel eval` from files to files: on folders like AVE's and on videos of one's own."""

from __future__ import annotations

import csv
import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
import torch
from safetensors.torch import load_file

from avel_cli import encoders, localizers
from avel_cli.cli.main import run
from avel_cli.datasets import ave, ave_clips
from avel_cli.datasets.ave import Annotations, Clip
from avel_cli.datasets.ave_clips import WIDTHS
from avel_cli.errors import ModelError
from avel_cli.hub import registry, weights_file
from avel_cli.tasks.clips import Clips
from avel_cli.training import curves
from avel_cli.training.record import read
from tests.datasets import ave_folder

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "ave"
SMALL = ("model.d_model=64", "schedule.batch=16", "schedule.lr=1e-3", "schedule.halve_at=[]")
TAKEN = {"train": 6, "val": 2, "test": 2}  # clips of each category
CATEGORIES = 12


def settings(*changes: str) -> list[str]:
    return [part for change in changes for part in ("--set", change)]


def some_clips() -> tuple[list[Clip], dict[str, list[int]]]:
    """Lines and splits out of the published lists where they are at hand, else made up."""
    if not PUBLISHED.is_dir():
        clips = ave_folder.made_up(10, CATEGORIES)
        return clips, ave_folder.split_evenly(len(clips))
    real = Annotations(ave.read_annotations(PUBLISHED / "Annotations.txt"))
    chosen: dict[int, str] = {}
    for split, count in TAKEN.items():
        rows = ave.read_split(PUBLISHED, split, len(real.clips)).tolist()
        for category in range(CATEGORIES):
            chosen |= dict.fromkeys([row for row in rows if real.categories[row] == category][:count], split)
    rows = sorted(chosen)
    return [real.clips[row] for row in rows], {s: [rows.index(r) for r in rows if chosen[r] == s] for s in TAKEN}


@pytest.fixture(scope="module", autouse=True)
def taken_for_published():
    """A few of AVE's clips stand for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ave_clips, "is_published", lambda path: True)
        yield


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory):
    """A folder like AVE's, what one modality alone can reach on its test split, and what training on it wrote."""
    clips, orders = some_clips()
    folder = ave_folder.write_ave_folder(tmp_path_factory.mktemp("ave"), clips, orders, strength=3, noisy=2)
    out = tmp_path_factory.mktemp("run")
    changes = settings(*SMALL, "schedule.epochs=9")
    command = ["train", "--dataset", "ave", "--model", "cace-net", "--data", str(folder), "-o", str(out), "--in-memory"]
    assert run([*command, *changes]) == 0
    yield folder, ave_folder.one_modality_at_most(clips, orders["test"]), out
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory):
    folder = ave_folder.write_ave_folder(tmp_path_factory.mktemp("small"), ave_folder.made_up(5, 3), noisy=2)
    yield folder
    shutil.rmtree(folder)


def test_training_reaches_what_neither_modality_alone_can(large):
    _, most, out = large
    report = json.loads((out / "cace-net.ave.json").read_text())
    assert report["test segment accuracy"] > most + 15
    assert report["runs"][0]["test"] == pytest.approx(report["test segment accuracy"], abs=1e-3)
    assert report["selection"] == "epoch chosen on val"
    assert any(row["segment accuracy"] == 80.8 for row in report["reported"])


def test_a_run_leaves_weights_figures_curves_and_a_table_of_steps(large):
    folder, _, out = large
    header = weights_file.read_header(out / "cace-net.ave.safetensors")
    lines = (folder / "Annotations.txt").read_text().splitlines()
    assert header["labels"] == list(dict.fromkeys(line.split("&")[0] for line in lines))
    assert (header["encoders"], header["grid"]["stride"]) == (["vggish", "vgg19"], 1.0)
    assert header["figures"]["selection"] == "epoch chosen on val"
    assert {tensor.dtype for tensor in load_file(out / "cace-net.ave.safetensors").values()} == {torch.float32}
    rows = read(out / "cace-net.ave-seed3917.csv")
    assert len(rows) % 9 == 0 and float(rows[-1]["category"]) < 0.7 * float(rows[0]["category"])
    assert (out / "cace-net.ave.png").read_bytes().startswith(b"\x89PNG")
    assert list((out / "tensorboard" / "cace-net.ave-seed3917").iterdir())


def test_eval_of_the_weights_gives_the_figures_of_the_run_and_pictures(large, tmp_path, capsys):
    folder, _, out = large
    weights = str(out / "cace-net.ave.safetensors")
    command = ["eval", "--dataset", "ave", "-m", weights, "--data", str(folder), "-o", str(tmp_path)]
    assert run([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    trained = json.loads((out / "cace-net.ave.json").read_text())
    assert report["accuracy"] == trained["test"]["accuracy"]
    assert report["confusion"] == trained["test"]["confusion"]
    assert report["selection"] == "epoch chosen on val"
    assert all((tmp_path / f"cace-net.ave.{name}.png").is_file() for name in ("confusion", "classes"))
    assert run(command) == 0
    table = capsys.readouterr().out
    assert "reported: CACE-Net\t80.8\t" in table and "always background" in table
    assert "released checkpoint\t80.796\t" in table
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ave_clips, "is_published", lambda path: False)
        assert run(command) == 0
    told = capsys.readouterr()
    assert "reported: " not in told.out and "reported figures, which are of other clips, are left out" in told.err
    assert run([*command, "--task", "weak"]) == 2
    assert "no weak protocol" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cace-net.ave-none", "cace-net.ave-visual-guide", "ccln.ave"])
def test_selection_on_test_is_said_in_every_output(name, small, tmp_path, capsys):
    model = name.partition(".")[0]
    changes = settings("model.d_model=8", "schedule.epochs=1", "schedule.halve_at=[]", "schedule.batch=8")
    command = ["train", "--dataset", "ave", "--model", model, "--recipe", name, "--data", str(small)]
    assert run([*command, "-o", str(tmp_path), *changes, "--select", "test", "--seeds", "2"]) == 0
    output = capsys.readouterr()
    assert output.out.count("chosen on TEST, as in the literature") >= 2 and "chosen on TEST" in output.err
    assert "mean of 2" in output.out and "best" in output.out
    report = json.loads((tmp_path / f"{name}.json").read_text())
    assert len(report["runs"]) == 2 and report["spread"] is not None and "TEST" in report["selection"]
    header = weights_file.read_header(tmp_path / f"{name}.safetensors")
    assert "TEST" in header["selection"] and header["recipe"]["select"] == "test"
    assert registry.model(str(tmp_path / f"{name}.safetensors")).figures["test segment accuracy"] in (
        round(run["test"], 3) for run in report["runs"]
    )


def test_the_best_seed_is_that_of_the_selecting_split_not_of_test(small, tmp_path, monkeypatch, capsys):
    figures, percent = (
        Clips.figures,
        iter([1.0, 60.0, 90.0, 1.0, 70.0, 50.0]),
    )  # epoch, val, test
    monkeypatch.setattr(Clips, "figures", lambda *given: replace(figures(*given), accuracy=next(percent)))
    changes = settings("model.d_model=8", "schedule.epochs=1", "schedule.halve_at=[]", "schedule.batch=8")
    command = ["train", "--dataset", "ave", "--model", "cace-net", "--data", str(small), "-o", str(tmp_path)]
    assert run([*command, *changes, "--seeds", "2"]) == 0
    output = capsys.readouterr()
    assert "seed 3918: epoch 1 (epoch chosen on val), val 70.00, test 50.00" in output.err
    report = json.loads((tmp_path / "cace-net.ave.json").read_text())
    assert (report["chosen"], report["test segment accuracy"]) == (3918, 50.0)
    assert "CACE-Net" in {row["system"] for row in report["reported"]}
    assert "score_val" in read(tmp_path / "cace-net.ave-seed3917.csv")[0]


def test_curves_are_drawn_of_a_table_with_missing_steps(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(curves.plots, "training_curves", lambda *given: drawn.append(given))
    lines = ["step,loss,lr,seconds,score_val"]
    lines += [f"{step},{step}.0,0.1,1.0,{step if step % 2 == 0 else ''}" for step in (1, 2, 6, 7, 8)]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    curves.draw({1: tmp_path / "m.csv"}, "val", tmp_path / "m.png", "%")
    losses, scores, *_ = drawn[0]
    assert losses == {"loss": [(2, 1.5), (6, 6.0), (8, 7.5)]}
    assert scores == {"val, seed 1": [(2, 2.0), (6, 6.0), (8, 8.0)]}


def test_weak_training_has_both_readings_in_its_evaluation(small, tmp_path, capsys):
    changes = settings("model.d_model=8", "schedule.epochs=1", "schedule.halve_at=[]", "schedule.batch=8")
    command = [
        "train",
        "--dataset",
        "ave",
        "--model",
        "cace-net",
        "--recipe",
        "cace-net.ave-weak",
        "--data",
        str(small),
    ]
    assert run([*command, "-o", str(tmp_path), *changes]) == 0
    weights = str(tmp_path / "cace-net.ave-weak.safetensors")
    capsys.readouterr()
    command = ["eval", "--dataset", "ave", "-m", weights, "--data", str(small), "-o", str(tmp_path), "--json"]
    assert run(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["readings"]) == 2
    assert [row["system"] for row in report["reported"]] == ["CSS", "CMRAN, released checkpoint"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--dataset", "nonsense", "--model", "cace-net"], "'nonsense' is neither ave"),
        (["--dataset", "ave", "--model", "cace-net"], "wants its folder: --data DIR"),
        (
            ["--dataset", "ave", "--model", "starter-sound"],
            "no recipe for starter-sound on ave; --model can be cace-net",
        ),
        (["--dataset", "ave", "--model", "cace-net", "--data", ".", "--encoder", "cnn14"], "for your own videos"),
        (["--dataset", "ave", "--model", "cace-net", "--data", ".", "--set", "sed=1"], 'did you mean "seed"'),
        (["--dataset", ".", "--model", "cace-net", "--encoder", "vggish"], "encoders are two"),
        (["--dataset", "ave", "--model", "ccln", "--data", ".", "--recipe", "cace-net.ave"], "trains cace-net on ave"),
        (["--dataset", "ave", "--model", "vgg19", "--data", ".", "--recipe", "resnet50.finetune"], "trains resnet50"),
    ],
)
def test_a_wrong_command_line_is_answered_in_one_line(arguments, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["train", *arguments]) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1


def test_a_folder_without_the_files_says_how_to_get_them(tmp_path, capsys):
    assert run(["train", "--dataset", "ave", "--model", "cace-net", "--data", str(tmp_path)]) == 4
    assert "Annotations.txt: missing; copy data/Annotations.txt from" in capsys.readouterr().err


def test_splits_that_share_clips_are_refused(tmp_path, capsys):
    orders = {"train": [0, 1, 2], "val": [3, 4], "test": [2, 5]}
    folder = ave_folder.write_ave_folder(tmp_path / "AVE", ave_folder.made_up(3, 2), orders)
    assert run(["train", "--dataset", "ave", "--model", "cace-net", "--data", str(folder), "-o", str(tmp_path)]) == 4
    error = capsys.readouterr().err
    assert "train_order.h5 and test_order.h5 share clips (1, first row 2); copy data/test_order.h5" in error


def test_features_of_other_encoders_than_the_recipes_are_refused(small, tmp_path, capsys):
    command = ["train", "--dataset", "ave", "--model", "cace-net", "--data", str(small), "-o", str(tmp_path / "out")]
    assert run([*command, "--recipe", "cace-net.ave-efficient"]) == 2
    assert "features 128 and 512 wide are not of cnn14 and resnet50" in (error := capsys.readouterr().err)
    assert """--set 'encoders=["vggish", "vgg19"]'""" in error and error.count("\n") == 1
    folder = shutil.copytree(small, tmp_path / "named")
    with h5py.File(folder / "visual_feature.h5", "a") as stream:
        stream["avadataset"].attrs["encoder"] = "vgg19-torchvision"
    command[command.index(str(small))] = str(folder)
    assert run(command) == 2
    assert """'encoders=["vggish", "vgg19-torchvision"]'""" in capsys.readouterr().err


def test_the_widths_that_training_knows_are_those_of_the_encoders():
    for name, width in (WIDTHS[0] | WIDTHS[1]).items():
        kind, config = encoders.encoder_class(name)
        with torch.device("cpu" if name == "starter-sound" else "meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a head without classes
            assert kind(config()).shape[-1] == width


def test_a_file_that_is_no_localizer_is_refused(tmp_path, capsys):
    other = tmp_path / "x.safetensors"
    other.write_bytes(b"nothing")
    assert run(["detect", "-m", str(other), str(other)]) == 4
    assert "not a weights file of avel" in capsys.readouterr().err
    encoder = registry.encoder_file("starter-sound")
    assert run(["detect", "-m", str(encoder), str(other)]) == 4
    assert "holds the encoder starter-sound, not a localizer" in capsys.readouterr().err


def test_weights_whose_labels_do_not_fit_their_network_are_refused(tmp_path):
    source = registry.model("cace-net.starter").path
    header = weights_file.read_header(source)
    path = tmp_path / "x.safetensors"
    weights_file.save(path, load_file(source), {**header, "labels": ["one"]})
    with pytest.raises(ModelError, match="names 1 labels, but its network has 51"):
        localizers.load(path)


OWN = {  # clips and their splits; drums and dogs, in each split one of each
    "vas_drum_02542.mp4": ("drum", "train"),
    "vas_dogs_02754.mp4": ("dog", "train"),
    "vas_drum_02480.mp4": ("drum", "val"),
    "llp_dog_speech_BjCEufrlXm4.mp4": ("dog", "val"),
    "drum_kit_demo.mp4": ("drum", "test"),
    "vas_dog_02677.mp4": ("dog", "test"),
}


@pytest.mark.shared
def test_videos_of_ones_own_become_weights_that_detect_runs(clips, tmp_path, capsys):
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    known = {entry["file"]: entry for entry in json.loads((clips / "manifest.json").read_text())["clips"]}
    lines = ["file,start,end,label,split"]
    for file, (label, split) in OWN.items():
        shutil.copy(clips / file, videos)
        lines += [f"{file},{event['start']},{event['end']},{label},{split}" for event in known[file]["events"]]
    (videos / "labels.csv").write_text("\n".join(lines) + "\n")
    command = ["train", "--dataset", str(videos), "--model", "cace-net", "-o", str(out)]
    changes = settings("schedule.batch=2", "schedule.epochs=30", "model.d_model=32", "schedule.ema=0.9")
    assert run([*command, *changes]) == 0
    features = {path: path.stat().st_mtime_ns for path in (out / "features").iterdir()}
    assert len(features) == 12
    weights = out / "cace-net.folder.safetensors"
    assert weights_file.read_header(weights)["labels"] == ["dog", "drum"]
    assert weights_file.read_header(weights)["encoders"] == ["starter-sound", "efficientnet-lite0"]

    assert json.loads((out / "cace-net.folder.json").read_text())["reported"] == []

    assert run([*command, *changes, "--resume"]) == 0  # nothing is left to do
    assert {path: path.stat().st_mtime_ns for path in (out / "features").iterdir()} == features

    capsys.readouterr()
    assert run(["eval", "--dataset", str(videos), "-m", str(weights), "-o", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["accuracy"] == json.loads((out / "cace-net.folder.json").read_text())["test"]["accuracy"]

    found = tmp_path / "found"
    given = ["-m", str(weights), "-f", "csv", "-f", "json", "-o", str(found), "--device", "cpu"]
    assert run(["detect", str(videos / "drum_kit_demo.mp4"), *given]) == 0
    timeline = json.loads((found / "drum_kit_demo.avel.json").read_text())
    assert timeline["model"]["name"] == "cace-net.folder"
    assert timeline["model"]["sha256"]["cace-net.folder"] == weights_file.sha256(weights)
    rows = list(csv.DictReader((found / "drum_kit_demo.avel.csv").read_text().splitlines()))
    assert {row["label"] for row in rows} == {"drum"}


def test_encoders_that_do_not_belong_together_are_refused(tmp_path, capsys, flash_and_beep):
    clip = flash_and_beep("clip.mp4")
    (tmp_path / "labels.csv").write_text("file,start,end,label\n" + f"{clip},0,2,flash\n")
    command = ["train", "--dataset", str(tmp_path), "--model", "cace-net", "-o", str(tmp_path / "out")]
    assert run([*command, "--encoder", "starter-sound", "--encoder", "starter-sound-dense"]) == 2
    assert "choose one encoder of sound and one of maps of pictures" in capsys.readouterr().err
