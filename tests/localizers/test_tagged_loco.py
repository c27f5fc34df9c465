from types import SimpleNamespace

import pytest
import torch

from avel_cli.localizers.tagged.loco import ABSENT, TaggedLoCo, TaggedLoCoConfig
from avel_cli.localizers.tagged.tags import TagsConfig

TAGS = TagsConfig(3, 1280, ((0,), (1,), (2,)), ((),) * 3, ((0,), (1,), (2,)), reach=0)
MODEL = {"d_model": 16, "heads": 2, "head_dim": 16, "levels": 3, "unimodal_layers": 1, "window": 4, "lcc": "off"}


@pytest.fixture
def model() -> TaggedLoCo:
    """Label k is heard and seen as number k of the features; the network's heads are drawn at random."""
    torch.manual_seed(0)
    made = TaggedLoCo(TaggedLoCoConfig(TAGS, (0, 1), 32, MODEL)).eval()
    made.tags.picture.weight.data.copy_(torch.eye(3, 1280))
    torch.nn.init.zeros_(made.tags.picture.bias)
    made.tags.adopt(SimpleNamespace(tag=lambda audio: audio), SimpleNamespace(tag=lambda seen: seen[..., :1000]))
    for parameter in made.network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return made


def _features(loud: int, steps: int = 32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    audio, visual = torch.full((1, steps, 3), -9.0), torch.full((1, steps, 1280), -9.0)
    audio[:, 8:20, loud] = visual[:, 8:20, loud] = 3.0
    return audio, visual, torch.ones(1, steps, dtype=torch.bool)


def test_every_label_is_looked_at_by_the_same_network(model):
    one, other = (model(*_features(label)) for label in (0, 2))
    for level in range(3):
        assert one.logits[level].shape == (1, 32 >> level, 3)
        torch.testing.assert_close(one.logits[level][..., 0], other.logits[level][..., 2])
        torch.testing.assert_close(one.offsets[level][:, :, 0], other.offsets[level][:, :, 2])


def test_what_the_tags_do_not_say_is_not_looked_at(model):
    output = model(*_features(1))
    assert (output.logits[0][..., [0, 2]] == ABSENT).all()
    assert (output.logits[0][..., 1] > ABSENT).all()
    silent = model(torch.full((1, 8, 3), -9.0), torch.full((1, 8, 1280), -9.0), torch.ones(1, 8, dtype=torch.bool))
    assert (silent.logits[0][..., 1:] == ABSENT).all()


def test_in_training_only_labels_that_there_is_something_to_learn_of_are_looked_at(model):
    output = model.train()(*_features(2))
    assert (output.logits[0][..., 2] == ABSENT).all()
    assert (output.logits[0][..., :2] > ABSENT).all()
    output.logits[0][..., 0].sum().backward()
    assert model.network.fuse.weight.grad.abs().sum() > 0
    assert model.tags.picture.weight.grad is None
