"""Published checkpoints are taken whole or refused with the names that do not fit."""

import pytest
import torch

from avel_cli.errors import ModelError
from avel_cli.localizers.cace_net.network import CACENet, CACENetConfig
from avel_cli.localizers.cace_net.published import from_official, official_views
from tests.localizers.cace_net_reference import OFFICIAL_GUIDES

PUBLISHED_SIZES = {"co-guide": 9_283_417, "visual-guide": 7_870_295, "none": 7_326_807}
QUERY = "module.spatial_channel_att.video_query.weight"


@pytest.mark.parametrize("guide", OFFICIAL_GUIDES)
def test_loaded_weights_are_the_published_ones_in_float32(official, parameters, guide) -> None:
    config = CACENetConfig(guide=guide)
    checkpoint = official(guide)
    views = official_views(CACENet(config), from_official(checkpoint, config))
    for name, view in views.items():
        assert view.dtype is torch.float32
        assert torch.equal(view.double(), checkpoint[f"module.{name}"])
    if guide == "co-guide":
        assert views.keys() == {entry["name"] for entry in parameters if entry["used"]}


@pytest.mark.parametrize("guide, size", PUBLISHED_SIZES.items())
def test_the_network_owns_exactly_what_the_published_one_uses(guide, size) -> None:
    assert sum(p.numel() for p in CACENet(CACENetConfig(guide=guide)).parameters()) == size


def test_the_prefix_of_parallel_training_is_optional(official) -> None:
    config = CACENetConfig(guide="none")
    bare = {name.removeprefix("module."): tensor for name, tensor in official("none").items()}
    with_prefix, without = from_official(official("none"), config), from_official(bare, config)
    assert all(torch.equal(tensor, without[name]) for name, tensor in with_prefix.items())


def test_a_checkpoint_without_contrastive_training_leaves_its_contrastive_encoder_behind(official) -> None:
    config = CACENetConfig(contrastive=False)
    loaded = from_official(official("co-guide"), config)
    assert not any(name.startswith("contrast") for name in loaded)
    CACENet(config).load_state_dict(loaded)


def test_every_misfit_is_named_in_one_line(official) -> None:
    checkpoint = official("co-guide")
    del checkpoint["module.video_gated.0.bias"]
    checkpoint["module.video_gated.1.bias"] = torch.zeros(1)
    checkpoint["module.spatial_channel_att.affine_video_9.bias"] = torch.zeros(1)
    checkpoint[QUERY] = torch.zeros(64, 512)
    with pytest.raises(ModelError) as refusal:
        from_official(checkpoint, CACENetConfig())
    text = str(refusal.value)
    assert "missing: video_gated.0.bias;" in text
    assert "unexpected: spatial_channel_att.affine_video_9.bias, video_gated.1.bias;" in text
    assert "wrong shape: spatial_channel_att.video_query.weight (64, 512) for (128, 512)" in text
    assert "\n" not in text


def test_rows_missing_in_one_part_of_a_stack_are_not_made_up_by_another(official) -> None:
    checkpoint = official("co-guide")
    checkpoint[QUERY] = torch.zeros(64, 512)
    checkpoint[QUERY.replace("query", "key")] = torch.zeros(192, 512)
    with pytest.raises(ModelError, match=r"video_key\.weight \(192, 512\).*video_query\.weight \(64, 512\)"):
        from_official(checkpoint, CACENetConfig())


@pytest.mark.parametrize("given, asked", [("co-guide", "none"), ("co-guide", "visual-guide"), ("none", "co-guide")])
def test_a_checkpoint_of_another_variant_is_refused(official, given, asked) -> None:
    with pytest.raises(ModelError, match="spatial_channel_att"):
        from_official(official(given), CACENetConfig(guide=asked))


def test_a_long_list_of_misfits_is_cut_and_counted() -> None:
    with pytest.raises(ModelError, match=r"missing: .* \(172 in all\)$") as refusal:
        from_official({}, CACENetConfig(guide="co-guide"))
    assert len(str(refusal.value)) < 600
