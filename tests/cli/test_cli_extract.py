"""`avel extract` with the encoders that ship, on files made for the purpose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

from avel_cli.cli.main import run
from avel_cli.extraction import feature_file, read_facts
from tests.conftest import run_ffmpeg

BOTH = ("-e", "starter-sound", "-e", "efficientnet-lite0")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of 10 s and one of 9.6 s, the second without sound."""
    folder = tmp_path_factory.mktemp("films")
    for name, seconds, sound in (("one", "10", True), ("mute", "10", False), ("-short", "9.6", True)):
        inputs = ["-f", "lavfi", "-i", f"testsrc2=d={seconds}:s=64x48:r=30"]
        inputs += ["-f", "lavfi", "-i", f"aevalsrc='0.5*sin(2000*t*t)':d={seconds}"] if sound else []
        run_ffmpeg(folder / f"{name}.mkv", *inputs, "-c:v", "ffv1", "-c:a", "pcm_s16le")
    return folder


@pytest.fixture
def extract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the command with results in `tmp_path`: exit code and stderr."""

    def call(*arguments: str | Path) -> tuple[int, str]:
        code = run(["extract", "-o", str(tmp_path), "--device", "cpu", *map(str, arguments)])
        output = capsys.readouterr()
        assert output.out == ""
        return code, output.err

    return call


def test_features_come_with_their_grid_and_where_they_are_from(films, extract, tmp_path):
    assert extract(films / "one.mkv", *BOTH)[0] == 0
    stored = load_file(tmp_path / "one.efficientnet-lite0.safetensors")
    assert stored["features"].shape == (10, 7, 7, 1280)
    assert stored["features"].dtype == np.float32
    assert np.isfinite(stored["features"]).all() and stored["features"].std() > 0
    assert stored["present"].tolist() == [1] * 10
    facts = read_facts(tmp_path / "one.starter-sound.safetensors")
    assert facts["grid"] == {"start": 0, "stride": 1, "window": 1}
    assert (facts["encoder"], facts["file"], facts["shape"]) == ("starter-sound", "one.mkv", [10, 1280])
    assert len(facts["weights"]) == 64


def test_what_is_there_stays_and_what_was_made_otherwise_is_not_replaced_unasked(films, extract, tmp_path):
    target = tmp_path / "one.efficientnet-lite0.safetensors"
    one = (films / "one.mkv", "-e", "efficientnet-lite0")
    assert extract(*one)[0] == 0
    made = target.stat().st_mtime_ns
    code, err = extract(*one)
    assert code == 0 and "1 of 1 features were there already" in err
    assert target.stat().st_mtime_ns == made
    code, err = extract(*one, "--frames-per-second", "1")
    assert code == 3 and "was made otherwise" in err
    assert target.stat().st_mtime_ns == made
    assert extract(*one, "--frames-per-second", "1", "--overwrite")[0] == 0
    assert read_facts(target)["config"]["frames_per_second"] == 1
    target.write_bytes(target.read_bytes()[:100])
    code, err = extract(*one)
    assert code == 3 and "--overwrite" in err


def test_a_failure_does_not_stop_the_others_and_leaves_no_file(films, extract, tmp_path):
    code, err = extract(films / "mute.mkv", films / "one.mkv", "no such film.mp4", *BOTH)
    assert code == 3
    assert "'no such film.mp4' does not exist" in err
    assert "has no audio track" in err
    assert err.splitlines()[-1].startswith("error: 3 features could not be made")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mute.efficientnet-lite0.safetensors",
        "one.efficientnet-lite0.safetensors",
        "one.starter-sound.safetensors",
    ]


def test_npy_files_hold_the_same_features_and_are_named_for_the_loader(films, extract, tmp_path):
    assert extract(films / "one.mkv", *BOTH)[0] == 0
    assert extract(films / "one.mkv", *BOTH, "-f", "npy")[0] == 0
    plain = np.load(tmp_path / "one_starter-sound.npy", allow_pickle=False)
    assert (plain == load_file(tmp_path / "one.starter-sound.safetensors")["features"]).all()
    assert json.loads((tmp_path / "one_starter-sound.json").read_text())["encoder"] == "starter-sound"
    assert "2 of 2 features were there already" in extract(films / "one.mkv", *BOTH, "-f", "npy")[1]
    names = ("vggish", "i3d-rgb", "i3d-flow", "vggish-unav", "one-peace-picture", "one-peace-sound")
    assert [feature_file(Path(), "-id", name, ".npy").name for name in names] == [
        "-id_vggish_1s.npy",
        "-id_rgb.npy",
        "-id_flow.npy",
        "-id_vggish.npy",
        "-id_one_peace_video_finetune.npy",
        "-id_one_peace_audio.npy",
    ]


def test_ave_files_have_a_row_for_each_line_of_the_annotations(films, extract, tmp_path):
    annotations = tmp_path / "Annotations.txt"
    annotations.write_text("Bark&one&good&0&10\nCat&-short&good&2&5\nClock&one&good&1&2\n")
    out = tmp_path / "out"
    code, err = extract(films, *BOTH, "-f", "h5", "--annotations", annotations, "-o", out)
    assert code == 0, err
    with h5py.File(out / "visual_feature.h5") as visual, h5py.File(out / "audio_feature.h5") as audio:
        pictures, sounds = visual["avadataset"][()], audio["avadataset"][()]
    assert pictures.shape == (3, 10, 7, 7, 1280) and sounds.shape == (3, 10, 1280)
    assert pictures.dtype == sounds.dtype == np.float32
    assert (pictures[0] == pictures[2]).all() and (sounds[0] == sounds[2]).all()
    assert not (pictures[0] == pictures[1]).all()
    short = load_file(out / "-short.efficientnet-lite0.safetensors")["features"]
    assert (pictures[1] == short).all()


def test_ave_files_that_are_there_are_not_replaced_unasked(films, extract, tmp_path):
    annotations, there = tmp_path / "Annotations.txt", tmp_path / "audio_feature.h5"
    annotations.write_text("Bark&one&good&0&10\n")
    there.write_bytes(b"of someone else")
    command = (films / "one.mkv", "-e", "starter-sound", "-f", "h5", "--annotations", annotations)
    code, err = extract(*command)
    assert code == 2 and "audio_feature.h5 is there already" in err and "--overwrite" in err
    assert there.read_bytes() == b"of someone else"
    assert not list(tmp_path.glob("*.safetensors"))  # nothing was extracted either
    assert extract(*command, "--overwrite")[0] == 0
    with h5py.File(there) as audio:
        assert audio["avadataset"].shape == (1, 10, 1280)


def test_ave_needs_all_its_videos_and_one_encoder_of_each_kind(films, extract, tmp_path):
    annotations = tmp_path / "Annotations.txt"
    annotations.write_text("Bark&one&good&0&10\nCat&gone&good&2&5\n")
    code, err = extract(films, *BOTH, "-f", "h5", "--annotations", annotations)
    assert code == 2 and "1 of the 2 videos" in err and "gone" in err
    annotations.write_text("Bark&one&good&0&10\n")
    for names in (("starter-sound-dense",), ("starter-sound", "starter-sound-dense")):
        given = [argument for name in names for argument in ("-e", name)]
        code, err = extract(films, *given, "-f", "h5", "--annotations", annotations)
        assert code == 2 and "starter-sound-dense does not make a feature a second" in err
    code, err = extract(films, *BOTH, "-f", "h5")
    assert code == 2 and "--annotations" in err


def test_fewer_frames_are_for_encoders_that_average(films, extract):
    code, err = extract(films / "one.mkv", "-e", "efficientnet-lite0-dense", "--frames-per-second", "2")
    assert code == 2 and "--frames-per-second" in err
    code, err = extract(films / "one.mkv", "-e", "efficientnet-lite0-dense", "--by-index")
    assert code == 2 and "a feature a second" in err


def test_frames_by_number_are_spread_over_all_of_the_file(films, extract, tmp_path):
    short, by_index = films / "-short.mkv", tmp_path / "by"
    assert extract(short, "-e", "efficientnet-lite0")[0] == 0
    assert extract(short, "-e", "efficientnet-lite0", "--by-index", "-o", by_index)[0] == 0
    clock = load_file(tmp_path / "-short.efficientnet-lite0.safetensors")["features"]
    index = load_file(by_index / "-short.efficientnet-lite0.safetensors")["features"]
    assert clock.shape == index.shape
    assert np.abs(clock[0] - index[0]).max() < np.abs(clock[9] - index[9]).max()
