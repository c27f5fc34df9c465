"""A small PE-AV with random weights, made of the configuration classes of transformers, as a folder of the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WORDS = ("dog", "glass", "breaking", "a", "barking", "helicopter")
TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 16,
}
VISION = {
    "model_type": "timm_wrapper",
    "architecture": "vit_pe_core_tiny_patch16_384",
    "do_pooling": True,
    "num_classes": 24,
    "global_pool": "map",
    "model_args": {"img_size": 32, "depth": 1, "embed_dim": 32, "num_heads": 2},
}
SOUND = {"model_type": "dac", "encoder_hidden_size": 4, "downsampling_ratios": [2, 8, 10, 12], "codebook_dim": 8}
TEXT = {
    "model_type": "modernbert",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 3 + len(WORDS),
    "pad_token_id": 0,
    "cls_token_id": 1,
    "bos_token_id": 1,
    "sep_token_id": 2,
    "eos_token_id": 2,
}


def tokenizer() -> Any:
    """One that knows `WORDS`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate(("[UNK]", "[CLS]", "[SEP]", *WORDS))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return made


def write(folder: Path) -> Any:
    """Write it, and hand the model back."""
    from transformers import PeAudioVideoConfig, PeAudioVideoModel

    towers = {
        "audio_config": {"model_type": "pe_audio_encoder", "dac_config": {**SOUND, "hidden_size": 64}, **TOWER},
        "video_config": {"model_type": "pe_video_encoder", "vision_config": VISION, **TOWER},
    }
    torch.manual_seed(1)
    model = PeAudioVideoModel(PeAudioVideoConfig(text_config=TEXT, audio_video_config={**towers, **TOWER})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("logit_scale"):
                parameter.fill_(2.0)
            elif name.endswith("logit_bias"):
                parameter.fill_(0.5)
            elif parameter.dim() > 1:
                parameter.mul_(4)  # as they are made the windows hardly differ
    model.save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    return model
