"""A folder as the Hub has it (config.json, tokenizer.json, *.safetensors) becomes two encoders and the text tower.

The networks are those of transformers, to which nothing is added. Its own shortcuts `get_video_embeds` and
`get_text_…_embeds` fail in 5.24, so the towers and heads are called as its `forward` calls them. Nothing in the folder
is executed and no connection is opened.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from avel_cli.encoders.pe_av.folder import check, read_config
from avel_cli.encoders.pe_av.picture import PEAVPicture, PEAVPictureConfig
from avel_cli.encoders.pe_av.sound import PEAVSound, PEAVSoundConfig
from avel_cli.errors import ModelError, SetupError

LONGEST_TEXT = 64  # tokens of a phrase


class Affine(NamedTuple):
    """From a dot product of two vectors to the log-odds that they belong together: `scale * product + bias`."""

    scale: Tensor
    bias: Tensor


class PEAV(NamedTuple):
    """What a folder holds, in evaluation mode.

    Attributes:
        sound: the encoder of sound.
        picture: the encoder of pictures.
        heard: phrases as sounds are compared with them, `[L, D]`.
        seen: phrases as pictures are compared with them, `[L, D]`.
        heard_logits: from products with `heard` to log-odds.
        seen_logits: the same of `seen`.
    """

    sound: PEAVSound
    picture: PEAVPicture
    heard: Tensor
    seen: Tensor
    heard_logits: Affine
    seen_logits: Affine


def load(folder: Path, phrases: Sequence[str]) -> PEAV:
    """The encoders in a folder, and phrases as they compare with what these make.

    Args:
        folder: with config.json, tokenizer.json and weights in safetensors.
        phrases: at least one.

    Raises:
        SetupError: if transformers is not installed.
        ModelError: if the folder holds no PE-AV, or is damaged.
    """
    check(read_config(folder))
    try:
        with _quietly():
            model = _model(folder)
    except ImportError as error:
        raise SetupError(f"PE-AV needs transformers and timm ({error}): pip install 'avel[words]'") from None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise ModelError(f"{folder}: no PE-AV that can be loaded: {_line(error)}") from None
    model = model.eval().requires_grad_(False)
    audio, video = model.audio_model, model.video_model
    side = video.video_encoder.embedder.vision_model.timm_model.patch_embed.img_size[-1]
    heard, seen = _texts(model, folder, phrases)
    return PEAV(
        PEAVSound(PEAVSoundConfig(), audio.audio_encoder, audio.audio_head).eval(),
        PEAVPicture(PEAVPictureConfig(side), video.video_encoder, video.video_head).eval(),
        heard,
        seen,
        Affine(audio.text_audio_logit_scale, audio.text_audio_logit_bias),
        Affine(video.text_video_logit_scale, video.text_video_logit_bias),
    )


def _model(folder: Path) -> Any:
    """The network of transformers, whole; that the files can hold it is seen before memory is taken.

    Raises:
        ValueError: if weights are missing, of other sizes, or not finite.
    """
    from transformers import PeAudioVideoConfig, PeAudioVideoModel

    config = PeAudioVideoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        wanted: Any = PeAudioVideoModel(config)
    numbers = sum(parameter.numel() for parameter in wanted.parameters())
    there = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if there < 2 * numbers:  # two bytes each at least
        raise ValueError(f"its weights have {there} bytes, too few for {numbers} numbers")
    read: Any = PeAudioVideoModel.from_pretrained
    model, told = read(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    if bad := [*told["missing_keys"], *told["mismatched_keys"]]:
        raise ValueError(f"its weights lack {bad[0]}, and {len(bad) - 1} more")
    if broken := [name for name, value in model.named_parameters() if not value.isfinite().all()]:
        raise ValueError(f"{broken[0]} is not finite")
    return model


@torch.inference_mode()
def _texts(model: Any, folder: Path, phrases: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The phrases in the spaces of sound and of pictures, each `[L, D]`, one by one, so that nothing is padded."""
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(f"{file}: cannot be read: {_line(error)}") from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST_TEXT)
    most = int(model.config.text_config.vocab_size)
    firsts = []
    for phrase in phrases:
        ids = tokenizer.encode(phrase).ids
        if not ids or max(ids) >= most:
            raise ModelError(f"{file}: does not belong to these weights")
        output = model.text_model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        firsts.append(output.hidden_states[-1][:, 0])
    first = torch.cat(firsts)
    return model.audio_model.text_audio_head(first).clone(), model.video_model.text_video_head(first).clone()


@contextmanager
def _quietly() -> Iterator[None]:
    """transformers reports to stdout and draws bars; results are written there."""
    with redirect_stdout(io.StringIO()):
        from transformers.utils import logging as transformers_logging

        logging: Any = transformers_logging
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        yield


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
