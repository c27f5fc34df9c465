"""Tags and tagged localizers: the evidence of the heads, and a network that starts from it."""

import math
from types import SimpleNamespace

import pytest
import torch

from avel_cli import localizers, recipes
from avel_cli.errors import UsageError
from avel_cli.hub import weights_file
from avel_cli.localizers.tagged.network import BOUND, Tagged, TaggedConfig
from avel_cli.localizers.tagged.tags import Tags, TagsConfig

CONFIG = TagsConfig(2, 1280, sounds=((0, 1), (2,)), scenes=((0, 5), ()), pictures=((), (0,)), reach=0)


def tagger(logits: dict[int, float], classes: int) -> SimpleNamespace:
    """An encoder whose head always says the same."""
    row = torch.full((classes,), -20.0)
    row[list(logits)] = torch.tensor(list(logits.values()))
    return SimpleNamespace(tag=lambda features: row.expand(*features.shape[:-1], -1))


@pytest.fixture
def tags() -> Tags:
    """Label 0: heard as sounds 0 and 1, seen as ImageNet's 0 and 5. Label 1: sound 2, picture 0."""
    made = Tags(CONFIG)
    torch.nn.init.zeros_(made.picture.weight)
    made.picture.bias.data.fill_(math.log(3.0))
    made.adopt(tagger({1: 0.0, 2: 1.0}, 527), tagger({0: 1.0, 5: 1.0, 9: 1.0}, 1000))
    return made


def test_a_label_is_heard_as_its_loudest_sound_and_seen_as_all_its_scenes_or_its_likeliest_picture(tags):
    heard, seen, logits = tags(torch.zeros(1, 4, 2), torch.zeros(1, 4, 1280))
    assert heard[0, 0].tolist() == pytest.approx([0.5, torch.tensor(1.0).sigmoid().item()])
    assert seen[0, 0].tolist() == pytest.approx([2 / 3, 0.75], abs=1e-4)
    assert logits.sigmoid()[0, 0].tolist() == pytest.approx([(0.5 * 2 / 3) ** 0.5, (0.75 * 0.731) ** 0.5], abs=1e-3)


def test_what_is_seen_is_averaged_over_its_neighbours_inside_the_clip():
    tags = Tags(TagsConfig(1, 1280, ((0,),), ((),), ((0,),), reach=1))
    tags.adopt(tagger({}, 527), tagger({}, 1000))
    torch.nn.init.constant_(tags.picture.weight, 1 / 1280)
    torch.nn.init.zeros_(tags.picture.bias)
    visual = torch.tensor([20.0, -20.0, -20.0, 20.0]).view(1, 4, 1).expand(-1, -1, 1280)
    seen = tags(torch.zeros(1, 4, 1), visual).seen[0, :, 0]
    assert seen.tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 3, 1 / 2], abs=1e-4)


@pytest.mark.parametrize(
    ("sounds", "pictures", "message"), [(((),), ((0,),), "label 0 has no sound"), (((0,), (0,)), ((0,),), "the same")]
)
def test_networks_refuse_labels_without_sound_or_picture(sounds, pictures, message):
    with pytest.raises(ValueError, match=message):
        TaggedConfig("cace-net", TagsConfig(1, 1, sounds, ((),) * len(pictures), pictures))


def test_a_label_is_known_by_both_or_one_of_them_but_never_by_nothing():
    config = TagsConfig(1, 1, sounds=((0,), (1,), ()), scenes=((0,), (), ()), pictures=((), (), (0,)))
    assert config.known_by == ("both", "heard", "seen")
    with pytest.raises(ValueError, match="label 0 has no sound and no picture"):
        TagsConfig(1, 1, ((),), ((),), ((),))


@pytest.mark.parametrize("network", ["cace-net", "ccln"])
def test_a_network_can_never_forget_what_the_tags_say(network, tags, tmp_path):
    torch.manual_seed(0)
    model = Tagged(TaggedConfig(network, CONFIG, {"d_model": 16})).eval()
    model.tags.load_state_dict(tags.state_dict())
    model.tags.adopt(tags.heads.sound, tags.heads.picture)
    audio, visual = torch.randn(2, 10, 2), torch.randn(2, 10, 2, 2, 1280)
    output = model(audio, visual)
    torch.testing.assert_close(output.label_logits, output.evidence.logits, atol=0.5, rtol=0)  # with fresh weights
    model.gain.data.fill_(3e4)
    own = output.own.event_logits.unsqueeze(2) + output.own.category_logits.unsqueeze(1)
    veto = output.evidence.logits - model(audio, visual).label_logits
    torch.testing.assert_close(veto, BOUND * (own < 0).float(), atol=1e-3, rtol=0)

    header = {"kind": "localizer", "name": "own", "network": "tagged", "config": recipes.to_dict(model.config)}
    facts = {
        "grid": {"stride": 1.0, "window": 1.0},
        "encoders": ["starter-sound", "efficientnet-lite0"],
        "threshold": 0.5,
    }
    facts |= {"min_score": 0.2, "description": "made up", "licence": "CC0", "figures": {}}
    weights_file.save(tmp_path / "own.safetensors", model.state_dict(), {**facts, **header, "labels": ["a", "b"]})
    again = localizers.load(tmp_path / "own.safetensors")
    again.tags.adopt(tags.heads.sound, tags.heads.picture)
    torch.testing.assert_close(again(audio, visual).label_logits, model(audio, visual).label_logits, atol=0.1, rtol=0.1)


def test_tags_are_not_trained(tags):
    model = Tagged(TaggedConfig("cace-net", CONFIG, {"d_model": 16}))
    assert not any(parameter.requires_grad for parameter in model.tags.parameters())


def test_a_wrong_switch_of_the_network_inside_is_named():
    with pytest.raises(UsageError, match=r'unknown key "model\.d_modl"; did you mean "d_model"'):
        TaggedConfig("cace-net", CONFIG, {"d_modl": 16})
