"""PE-AV on small random weights: its numbers are those of a direct call of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("transformers")
pytest.importorskip("timm")

from avel_cli import Detector, ModelError, UsageError
from avel_cli.cli.main import run
from avel_cli.encoders.frames import resize
from avel_cli.encoders.pe_av.folder import check, is_folder
from avel_cli.encoders.pe_av.load import PEAV, load
from avel_cli.encoders.stream import FeatureStream
from avel_cli.localizers.words.embedded import EmbeddedWords, Space
from avel_cli.media.probe import probe
from tests import pe_av

PHRASES = ("a dog barking", "glass breaking", "helicopter")
EXAMPLE = Path(__file__).parents[2] / "examples" / "speakers_and_helicopter.mp4"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder, and the model as transformers has it."""
    folder = tmp_path_factory.mktemp("pe-av") / "pe-av-tiny"
    return folder, pe_av.write(folder)


@pytest.fixture(scope="module")
def ours(made: tuple[Path, Any]) -> PEAV:
    return load(made[0], PHRASES)


@torch.no_grad()
def direct(model: Any, sound: torch.Tensor, pixels: torch.Tensor) -> Any:
    """What transformers says of windows of sound `[N, samples]` and pictures `[N, 16, 3, 32, 32]`, phrase by phrase."""
    ids = [torch.tensor([pe_av.tokenizer().encode(phrase).ids] * len(sound)) for phrase in PHRASES]
    outputs = [model(input_ids=one, input_values=sound[:, None], pixel_values_videos=pixels) for one in ids]
    return (
        torch.cat([output.logits_audio_text[:, :1] for output in outputs], dim=1),
        torch.cat([output.logits_video_text[:, :1] for output in outputs], dim=1),
    )


@torch.no_grad()
def test_logits_are_those_of_a_direct_call(made: tuple[Path, Any], ours: PEAV) -> None:
    rng = torch.Generator().manual_seed(2)
    sound = torch.randn(3, 96_000, generator=rng) * 0.1
    frames = torch.randint(0, 256, (3, 16, 48, 64, 3), generator=rng, dtype=torch.uint8)
    pixels = torch.stack([(resize(clip, 32, 32, antialias=True).float() / 255 - 0.5) / 0.5 for clip in frames])
    heard, seen = direct(made[1], sound, pixels)
    network = EmbeddedWords(Space(ours.heard, *ours.heard_logits), Space(ours.seen, *ours.seen_logits))
    pictures = ours.picture.encode(torch.stack([ours.picture.prepare(clip) for clip in frames]))
    output = network(ours.sound.encode(sound)[None], pictures[None])
    torch.testing.assert_close(output.evidence.heard[0].logit(), heard, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(output.evidence.seen[0].logit(), seen, atol=1e-4, rtol=1e-5)
    assert heard.std() > 0.1 and seen.std() > 0.1  # the comparison could fail
    both = (heard.sigmoid() * seen.sigmoid()).sqrt()
    torch.testing.assert_close(output.label_logits[0].sigmoid(), both, atol=1e-4, rtol=0)


def test_sound_and_pictures_are_prepared_as_the_processors_do(ours: PEAV) -> None:
    from transformers import PeAudioFeatureExtractor
    from transformers.models.pe_video.video_processing_pe_video import PeVideoVideoProcessor

    wave = torch.randn(96_000, generator=torch.Generator().manual_seed(3))
    values = PeAudioFeatureExtractor()(wave.numpy(), sampling_rate=48_000, return_tensors="pt")
    assert torch.equal(values["input_values"].flatten(), wave)
    assert bool(values["padding_mask"].all())  # whole windows need no mask
    processor = PeVideoVideoProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.5] * 3, image_std=[0.5] * 3, do_sample_frames=False
    )
    frames = torch.randint(0, 256, (16, 3, 70, 90), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    theirs = processor(frames, return_tensors="pt", do_resize=True, do_rescale=True, do_normalize=True)
    pixels = resize(frames.permute(0, 2, 3, 1), 32, 32, antialias=True).float() / 127.5 - 1
    assert (theirs["pixel_values_videos"][0] - pixels).abs().max() <= 2.1 / 127.5  # two grey levels


def test_a_file_and_its_parts_give_the_same_numbers(ours: PEAV) -> None:
    media = probe(EXAMPLE)
    for encoder in (ours.sound, ours.picture):
        count = encoder.count(media.duration)
        assert count == 19
        whole, parts = (
            torch.cat([step.values for step in FeatureStream(media, encoder, count, together=together)])
            for together in (19, 3)
        )
        torch.testing.assert_close(whole, parts, atol=1e-6, rtol=1e-5)


def test_phrases_do_not_depend_on_each_other(made: tuple[Path, Any], ours: PEAV) -> None:
    alone = load(made[0], PHRASES[1:2])
    torch.testing.assert_close(alone.heard[0], ours.heard[1])
    torch.testing.assert_close(alone.seen[0], ours.seen[1])


def test_detection_in_words_of_ones_own(made: tuple[Path, Any], capsys: pytest.CaptureFixture[str]) -> None:
    args = ["detect", str(EXAMPLE), "-m", str(made[0]), "-f", "json", "-o", "-", "--min-score", "0", "--show", "all"]
    assert run([*args, "--words", "a dog barking", "--words", "helicopter"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["labels"] == ["a dog barking", "helicopter"]
    assert found["grid"] == {"start": 0.0, "stride": 1.0, "window": 2.0}
    assert [(event["start"], event["end"]) for event in found["events"] if event["modality"] == "both"] == [(0, 20)] * 2
    assert "on a CPU a second of film may take" in err
    assert run(["detect", str(EXAMPLE), "-m", str(made[0]), "-o", str(made[0].parent)]) == 2
    assert "answers words; give some with --words" in capsys.readouterr().err
    with pytest.raises(UsageError, match="answers words, and there are none"):
        Detector(str(made[0]))
    with pytest.raises(UsageError, match="PE-AV sees 8 frames a second"):
        Detector(str(made[0]), words=("dog",), frames_per_second=1)


@pytest.mark.parametrize(
    "asked",
    [
        {"auto_map": {"AutoModel": "evil.Model"}},
        {"vision_config": {"architecture": "hf-hub:someone/else"}},
        {"vision_config": {"architecture": "local-dir:/tmp"}},
        {"vision_config": {"architecture": "resnet50"}},
        {"vision_config": {"model_args": {"checkpoint_path": "/tmp/evil.pth"}}},
        {"vision_config": {"model_args": {"pretrained": True}}},
        {"vision_config": {"model_args": [{"depth": 10**6}]}},
        {"text_config": {"hidden_size": 10**9}},
        {"text_config": {"num_hidden_layers": 10**5}},
        {"vision_config": {"model_args": {"pretrained_cfg": {"url": "http://example.org"}}}},
    ],
)
def test_configurations_that_reach_out_are_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="which is no part of a PE-AV"):
        check({"model_type": "pe_audio_video", **asked})


def test_weights_that_are_not_whole_are_refused(tmp_path: Path, made: tuple[Path, Any]) -> None:
    for path in made[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    name = "audio_model.audio_head.proj.weight"
    for broken, message in (
        ({key: value for key, value in state.items() if key != name}, f"its weights lack {name}"),
        (state | {name: state[name] * float("nan")}, f"{name} is not finite"),
        ({name: state[name]}, "too few for"),
    ):
        save_file(broken, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match=message):
            load(tmp_path, ["dog"])


def test_folders_that_are_no_pe_av(tmp_path: Path, made: tuple[Path, Any]) -> None:
    assert is_folder(made[0]) and not is_folder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert not is_folder(tmp_path)
    (tmp_path / "config.json").write_bytes((made[0] / "config.json").read_bytes())
    with pytest.raises(ModelError, match="no PE-AV that can be loaded"):
        load(tmp_path, ["dog"])
    (tmp_path / "model.safetensors").write_bytes((made[0] / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"tokenizer\.json: cannot be read"):
        load(tmp_path, ["dog"])
