"""Targeted fine-tuning: the loss, what is learnt from, a run from videos to an encoder, one process or two."""

import errno
import math
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from avel_cli import encoders, published, recipes
from avel_cli.encoders.resnet50 import ResNet50, ResNet50Config
from avel_cli.encoders.vgg19 import VGG19, VGG19Config, ave_frame_indices
from avel_cli.errors import ModelError, UsageError
from avel_cli.extraction import Extractor
from avel_cli.hub import weights_file
from avel_cli.media.probe import probe
from avel_cli.training import finetune
from avel_cli.training.finetune import FinetuneRecipe, Matcher, info_nce, matching_accuracy, run, tune
from avel_cli.training.finetune_data import Pairs, ave_videos, choose_frames, middle, own_videos, pressed
from avel_cli.training.seeds import seeded
from tests.conftest import run_ffmpeg
from tests.training.finetune_standins import TinyPicture, TinyPictureConfig, TinySound, TinySoundConfig

COLOURS = ("red", "lime", "blue", "yellow", "magenta", "cyan", "white", "black")
TINY = FinetuneRecipe("resnet50", "cnn14", dim=8, epochs=12, batch=4, lr=0.1, drops=(10,))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Eight clips of two seconds, each of one colour and one tone."""
    folder = tmp_path_factory.mktemp("videos")
    return [
        run_ffmpeg(
            folder / f"{colour}.mkv",
            *("-f", "lavfi", "-i", f"color={colour}:s=64x48:r=8:d=2"),
            *("-f", "lavfi", "-i", f"sine=frequency={300 + 450 * number}:sample_rate=8000:duration=2"),
            *("-c:v", "ffv1", "-c:a", "pcm_s16le"),
        )
        for number, colour in enumerate(COLOURS)
    ]


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Weights of the stand-ins, which take the places of resnet50 and cnn14."""
    monkeypatch.setenv("AVEL_CACHE", str(tmp_path / "cache"))
    files = {}
    torch.manual_seed(0)
    for name, module in (("resnet50", TinyPicture(TinyPictureConfig())), ("cnn14", TinySound(TinySoundConfig()))):
        kind = f"tests.training.finetune_standins:{type(module).__name__}"
        monkeypatch.setitem(encoders.ENCODERS, name, kind)
        files[name] = tmp_path / f"{name}.safetensors"
        header = {"kind": "encoder", "network": name, "config": {}, "licence": "CC0"}
        weights_file.save(files[name], module.state_dict(), header, torch.float32)
    return files


def drawn_pairs(folder, count=12):
    """Pairs of random frames and sound that depend on nothing but their number."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number}.pair.safetensors" for number in range(count)]
    for number, file in enumerate(files):
        rng = seeded(5, number)
        frames = torch.randint(256, (1, 1, 1, 3), generator=rng).expand(10, 14, 14, 3).to(torch.uint8).contiguous()
        save_file({"frames": frames, "sound": torch.randn(16, generator=rng)}, file)
    return Pairs(files)


def tiny_encoder(norm=True):
    torch.manual_seed(3)
    return TinyPicture(TinyPictureConfig(norm=norm))


# ------------------------------------------------------------------------------------------------------- the loss


def one_way(seen, heard, tau):
    total = 0.0
    for i, picture in enumerate(seen):
        similarities = [sum(a * b for a, b in zip(picture, sound, strict=True)) / tau for sound in heard]
        total -= math.log(math.exp(similarities[i]) / sum(map(math.exp, similarities)))
    return total / len(seen)


def test_the_loss_is_that_of_a_plain_loop_in_either_direction():
    seen, heard = (F.normalize(torch.randn(5, 7, generator=seeded(1, n), dtype=torch.float64)) for n in range(2))
    there, back = one_way(seen.tolist(), heard.tolist(), 0.2), one_way(heard.tolist(), seen.tolist(), 0.2)
    assert abs(there - back) > 1e-3
    assert info_nce(seen, heard, 0.2, "one").item() == pytest.approx(there, rel=1e-12)
    assert info_nce(seen, heard, 0.2).item() == pytest.approx((there + back) / 2, rel=1e-12)


def test_nothing_learnt_costs_the_logarithm_of_the_batch_and_matching_is_by_row():
    same = torch.ones(6, 4) / 2
    assert info_nce(same, same, 0.2).item() == pytest.approx(math.log(6))
    unit = torch.eye(6)
    assert matching_accuracy(unit, unit) == 1
    assert matching_accuracy(unit, unit.roll(1, 0)) == 0
    assert matching_accuracy(unit, unit[[0, 1, 2, 4, 3, 5]]) == pytest.approx(4 / 6)


def test_the_joint_space_is_the_mean_over_frames_and_places_through_a_layer_without_bias():
    matcher = Matcher(tiny_encoder().eval(), 16, 8)
    frames, sound = torch.randint(256, (3, 10, 14, 14, 3), dtype=torch.uint8), torch.randn(3, 16)
    seen, heard = matcher(frames, sound)
    maps = torch.stack([matcher.encoder.prepare(video).mean(dim=(0, 1, 2)) for video in frames])
    assert torch.allclose(seen, F.normalize(maps @ matcher.seen.weight.mT), atol=1e-6)
    assert torch.allclose(heard, F.normalize(sound @ matcher.heard.weight.mT), atol=1e-6)
    assert {name for name, _ in matcher.named_parameters()} >= {"seen.weight", "heard.weight"}
    assert not {"seen.bias", "heard.bias"} & dict(matcher.named_parameters()).keys()


@pytest.mark.parametrize("picture", ["resnet50", "vgg19"])
def test_the_recipes_have_the_values_of_the_authors_code(picture):
    recipe = recipes.load(FinetuneRecipe, f"{picture}.finetune")
    assert (recipe.picture, recipe.sound) in {("resnet50", "cnn14"), ("vgg19", "vggish")}
    assert (recipe.batch, recipe.epochs, recipe.dim, recipe.tau) == (128, 50, 128, 0.2)
    assert (recipe.momentum, recipe.weight_decay, recipe.direction) == (0.9, 1e-4, "both")
    rates = [recipe.rate(epoch) for epoch in (0, 14, 15, 29, 30, 49)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


# ---------------------------------------------------------------------------------------------- what is learnt from


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """299 pictures at 30 fps; number `n` is a plain grey of `n` modulo 256."""
    grey = "color=black:s=32x32:r=30:d=20,format=gray,geq=lum='mod(N,256)'"
    path = tmp_path_factory.mktemp("numbered") / "numbered.mkv"
    return run_ffmpeg(path, "-f", "lavfi", "-i", grey, "-frames:v", "299", "-c:v", "ffv1")


def test_one_frame_of_the_sixteen_of_each_second_is_drawn_and_always_the_same(numbered):
    media = probe(numbered)
    frames = choose_frames(media, pressed, seeded(1, 7))
    assert (frames.shape, frames.dtype) == ((10, 224, 224, 3), torch.uint8)
    greys = frames[:, 0, 0, 0].tolist()
    drawn = torch.randint(16, (10,), generator=seeded(1, 7)).tolist()
    rule = ave_frame_indices(299)
    assert greys == [rule[16 * second + number] % 256 for second, number in enumerate(drawn)]
    assert torch.equal(frames, choose_frames(media, pressed, seeded(1, 7)))
    assert not torch.equal(frames, choose_frames(media, pressed, seeded(2, 7)))


@pytest.mark.parametrize("size", [(48, 64), (240, 427), (311, 233), (719, 1281), (232, 232)])
@pytest.mark.parametrize(
    ("kind", "config", "small"), [(ResNet50, ResNet50Config, middle), (VGG19, VGG19Config, pressed)]
)
def test_the_kept_frame_loses_nothing_that_the_encoder_sees(size, kind, config, small):
    with torch.device("meta"):
        encoder = kind(config())
    frame = torch.randint(256, (1, *size, 3), generator=seeded(0, sum(size)), dtype=torch.uint8)
    assert torch.equal(encoder.picture(small(frame).permute(0, 2, 3, 1)), encoder.picture(frame))


def test_of_ave_train_and_val_are_learnt_from_and_no_video_of_test(tmp_path):
    lines = ["Bark&a&good&0&10", "Bark&b&good&0&10", "Horn&a&good&2&5", "Horn&c&good&0&3", "Horn&d&good&0&9"]
    (tmp_path / "Annotations.txt").write_text("\n".join(["Bark&x&good&0&1", *lines]))
    for split, rows in {"train": [0, 1, 3], "val": [4, 5], "test": [2]}.items():
        with h5py.File(tmp_path / f"{split}_order.h5", "w") as file:
            file["order"] = rows
    inputs = [tmp_path / f"{name}.mp4" for name in "zdbax"]
    chosen = ave_videos(tmp_path, inputs)  # b is tested on; a is twice in what is left; c is missing
    assert [path.stem for path in chosen] == ["x", "a", "d"]
    with pytest.raises(UsageError, match="none of the 4 videos"):
        ave_videos(tmp_path, [tmp_path / "q.mp4"])


def test_of_ones_own_folder_the_files_of_test_are_left_out(tmp_path):
    rows = ["file,start,end,label,split"]
    for name, split in zip("abc", ("train", "test", "val"), strict=True):
        (tmp_path / f"{name}.mp4").touch()
        rows.append(f"{name}.mp4,0,1,dog,{split}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    assert [path.name for path in own_videos(tmp_path)] == ["a.mp4", "c.mp4"]


# ------------------------------------------------------------------------------------------------------------ a run


def read_log(path):
    rows = [line.split(",") for line in path.read_text().splitlines()]
    assert rows[0] == ["step", "loss", "accuracy", "lr", "seconds"]
    return [dict(zip(rows[0], map(float, row), strict=True)) for row in rows[1:]]


def test_a_run_from_videos_learns_and_its_encoder_makes_features(tiny, videos, tmp_path):
    mute = run_ffmpeg(tmp_path / "mute.mkv", "-f", "lavfi", "-i", "color=red:s=64x48:r=8:d=1", "-c:v", "ffv1")
    said = []
    out = tmp_path / "out"
    path = run(TINY, [*videos, mute, tmp_path / "gone.mp4"], out, weights=tiny, say=said.append)
    log = read_log(out / "resnet50.finetune.csv")
    assert [row["step"] for row in log] == list(range(1, 25))
    assert log[0]["loss"] > 0.8 * math.log(4)
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert log[-1]["accuracy"] >= 0.9 > 0.25
    assert log[-1]["lr"] == pytest.approx(0.01)
    assert any("mute.mkv" in line and "no audio track" in line for line in said)
    assert any("gone.mp4: no such file" in line for line in said)
    header = weights_file.read_header(path)
    assert (header["network"], header["licence"], header["videos"]) == ("resnet50", "CC0", 8)
    before, after = encoders.load("resnet50", tiny["resnet50"]), encoders.load("resnet50", path)
    changed = {name for name, value in after.state_dict().items() if not torch.equal(value, before.state_dict()[name])}
    assert {"features.0.weight", "features.1.running_mean"} <= changed
    extractor = Extractor(["resnet50"], device="cpu", weights={"resnet50": path})
    features = extractor.features(probe(videos[0]), "resnet50").values
    assert features.shape == (2, 7, 7, 16)
    assert extractor.facts(probe(videos[0]), "resnet50")["weights"] == weights_file.sha256(path)


def test_pairs_are_made_once_and_again_when_something_else_is_asked_for(tiny, videos, tmp_path):
    short = replace(TINY, epochs=1)

    def made(recipe):
        run(recipe, videos[:4], tmp_path / "out", weights=tiny)
        files = sorted((tmp_path / "out" / "pairs").iterdir())
        assert [file.name for file in files] == sorted(f"{path.stem}.pair.safetensors" for path in videos[:4])
        return {file: (file.stat().st_mtime_ns, load_file(file)) for file in files}

    first = made(short)
    (first_file, (_, tensors)), *_ = first.items()
    assert {name: (*value.shape, value.dtype) for name, value in tensors.items()} == {
        "frames": (10, 232, 232, 3, torch.uint8),
        "sound": (16, torch.float32),
    }
    first_file.unlink()  # as after a kill
    again = made(short)
    assert all(torch.equal(again[file][1][name], first[file][1][name]) for file in first for name in tensors)
    assert [again[file][0] == first[file][0] for file in first] == [False, True, True, True]
    assert all(again[file][0] != stamp for file, (stamp, _) in made(replace(short, seed=2)).items())


def test_a_disk_that_is_full_ends_the_run_and_blames_no_video(tiny, videos, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match=r"red\.pair\.safetensors: cannot be written \(No space left"):
        run(TINY, videos, tmp_path / "out", weights=tiny)


def test_the_sound_feature_is_the_mean_over_the_seconds_that_there_are(tiny, videos, tmp_path):
    run(replace(TINY, epochs=1), videos[:4], tmp_path / "out", weights=tiny)
    features = Extractor(["cnn14"], device="cpu", weights={"cnn14": tiny["cnn14"]})
    kept = load_file(tmp_path / "out" / "pairs" / "red.pair.safetensors")["sound"]
    assert torch.equal(kept, features.features(probe(videos[0]), "cnn14").values.mean(0))


class Killed(Exception):
    pass


def test_a_killed_run_continues_to_the_same_weights_bit_for_bit(tmp_path):
    pairs, recipe = drawn_pairs(tmp_path / "pairs"), replace(TINY, epochs=6, drops=(3,))

    def die(line):
        if line.startswith("epoch 4"):
            raise Killed

    def after(folder, **how):
        matcher = tune(tiny_encoder(), pairs, recipe, tmp_path / folder, **how)
        return matcher.state_dict(), read_log(tmp_path / folder / "resnet50.finetune.csv")

    whole, log = after("whole")
    with pytest.raises(Killed):
        after("killed", say=die)
    resumed, log_again = after("killed", resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert [row["loss"] for row in log] == [row["loss"] for row in log_again]
    recipe = replace(recipe, tau=0.07)
    with pytest.raises(UsageError, match="another recipe"):
        after("killed", resume=True)


def test_videos_that_do_not_fill_a_batch_and_a_loss_that_explodes_are_said(tmp_path):
    pairs = drawn_pairs(tmp_path / "pairs", 5)
    with pytest.raises(UsageError, match="5 videos do not fill a batch of 6"):
        tune(tiny_encoder(), pairs, replace(TINY, batch=6), tmp_path)
    with pytest.raises(UsageError, match="--set lr to less than"):
        tune(tiny_encoder(norm=False), pairs, replace(TINY, lr=1e38), tmp_path)
    with pytest.raises(UsageError, match="at least 2 videos"):
        recipes.load(FinetuneRecipe, "resnet50.finetune", ["batch=1"])


WORKER = """
import sys, torch
from dataclasses import replace
from pathlib import Path
from avel_cli.training import finetune
from tests.training.test_finetune import TINY, tiny_encoder
torch.set_num_threads(1)
folder, rank = Path(sys.argv[1]), int(sys.argv[2])
pairs = finetune._of_all(sorted((folder / "pairs").iterdir())[rank::2])
assert len(pairs) == 12
matcher = finetune.tune(tiny_encoder(False), finetune.Pairs(pairs), replace(TINY, epochs=3), folder)
torch.save(matcher.state_dict(), folder / f"{rank}.pt")
"""


def test_two_processes_gather_their_negatives_and_learn_what_one_learns(tmp_path):
    drawn_pairs(tmp_path / "two" / "pairs")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    together["ACCELERATE_USE_CPU"] = "true"
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WORKER, str(tmp_path / "two"), str(rank)],
            env={**os.environ, **together, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=Path(__file__).parents[2],
        )
        for rank in range(2)
    ]
    # sorted as text, as the processes sort what they share
    pairs = Pairs(sorted(drawn_pairs(tmp_path / "pairs").files))
    one = tune(tiny_encoder(False), pairs, replace(TINY, epochs=3), tmp_path / "one").state_dict()
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    losses = [[row["loss"] for row in read_log(tmp_path / name / "resnet50.finetune.csv")] for name in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], abs=2e-5)  # the table has five decimals
    for rank in range(2):
        two = torch.load(tmp_path / "two" / f"{rank}.pt", weights_only=True)
        assert all(torch.allclose(two[name], one[name], atol=1e-5) for name in one)


# ------------------------------------------------------------------------------------------- the weights that come out


def test_a_weights_file_of_avel_is_taken_as_it_is_and_one_of_another_network_refused(tmp_path, videos, monkeypatch):
    monkeypatch.setenv("AVEL_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "mine.safetensors"
    header = {"kind": "encoder", "network": "resnet50", "config": {"frames_per_second": 1}}
    torch.manual_seed(0)
    weights_file.save(path, ResNet50(ResNet50Config()).state_dict(), header)
    assert published.prepare(["resnet50"], offline=True, files={"resnet50": path}) == {"resnet50": path}
    features = Extractor(["resnet50"], device="cpu", weights={"resnet50": path}).features(probe(videos[0]), "resnet50")
    assert features.values.shape == (2, 7, 7, 2048)
    with pytest.raises(ModelError, match=r"mine\.safetensors: holds the encoder resnet50, not vgg19"):
        published.prepare(["vgg19"], offline=True, files={"vgg19": path})


def test_resnet50_learns_with_its_batch_normalisation_in_training(tmp_path):
    torch.manual_seed(0)
    matcher = Matcher(ResNet50(ResNet50Config()), 2048, 8).train()
    frames = torch.randint(256, (2, 1, 232, 232, 3), dtype=torch.uint8)
    seen, heard = matcher(frames, torch.randn(2, 2048))
    finetune.info_nce(seen, heard, 0.2).backward()
    state = matcher.encoder.state_dict()
    assert state["features.bn1.running_mean"].abs().max() > 0
    assert all(parameter.grad is not None for parameter in matcher.parameters())
