import pytest
import torch

from avel_cli.datasets import augment, composed, starter
from avel_cli.datasets.composed import SEGMENTS, Mixture, Plan
from avel_cli.encoders.starter_picture import StarterPicture, StarterPictureConfig
from avel_cli.encoders.starter_sound import StarterSound, StarterSoundConfig
from avel_cli.errors import SetupError
from tests.datasets.packs import LABELS, make_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("pack"), {"train": 1})


@pytest.fixture(scope="module")
def pool(pack):
    return composed.split_pool([pack], "train", LABELS, 16000, 128)


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_folder_that_is_no_pack_is_a_setup_error(tmp_path):
    with pytest.raises(SetupError, match="no manifest"):
        starter.read_manifests([tmp_path])
    (tmp_path / "manifest.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SetupError, match="column 'path' is missing"):
        starter.read_manifests([tmp_path])


def test_what_is_outside_the_vocabulary_is_a_distractor(pool):
    assert [len(found) for found in (*pool.sounds, *pool.images, pool.noises, pool.scenes)] == [1] * 6


@pytest.mark.parametrize(
    ("plan", "events"),
    [
        (Plan(1, (2, 7), 1, (4, 10)), range(4, 7)),
        (Plan(1, (0, 10), 0, (0, 10)), range(0)),
        (Plan(-1, (0, 10), 1, (0, 10)), range(0)),
        (Plan(1, (0, 3), 1, (5, 9)), range(0)),
    ],
)
def test_an_event_is_where_one_label_is_seen_and_heard(plan, events):
    expected = [1 if second in events else 9 for second in range(SEGMENTS)]
    assert plan.target(background=9).tolist() == expected


def test_plans_keep_to_the_mixture():
    plans = [composed.plan(_rng(seed), 5, Mixture(0.4, 0.2, 0.1, 0.1)) for seed in range(2000)]
    kinds = {
        "both": sum(p.sound == p.picture >= 0 for p in plans),
        "seen": sum(p.sound < 0 <= p.picture for p in plans),
        "heard": sum(p.picture < 0 <= p.sound for p in plans),
        "mismatch": sum(0 <= p.sound != p.picture >= 0 for p in plans),
    }
    assert {name: round(count / 2000, 1) for name, count in kinds.items()} == {
        "both": 0.4,
        "seen": 0.2,
        "heard": 0.1,
        "mismatch": 0.1,
    }


def test_the_label_sounds_only_while_it_is_heard(pool):
    track = composed.sound_track(Plan(0, (3, 6), -1, (0, 10)), pool, _rng(3))
    spectrum = torch.fft.rfft(track).abs()
    share = spectrum[:, 1900:2100].sum(1) / spectrum.sum(1)
    assert share[4:6].min() > 2 * share[[0, 1, 2, 7, 8, 9]].max()


def test_the_label_shows_only_while_it_is_seen(pool):
    track = composed.picture_track(Plan(-1, (0, 10), 0, (3, 6)), pool, 96, _rng(5))
    redness = (track[:, 0] - track[:, 2]).mean(dim=(1, 2)).view(SEGMENTS, -1).mean(1)
    assert redness[3:6].min() > redness[[0, 1, 2, 6, 7, 8, 9]].max()


def test_the_same_seed_composes_the_same_clips(pool):
    sound = StarterSound(StarterSoundConfig(width=4, classes=("a",))).eval()
    picture = StarterPicture(StarterPictureConfig(width=4, classes=("a",))).eval()
    first, again = (composed.compose(pool, sound, picture, 3, Mixture(), seed=7) for _ in range(2))
    other = composed.compose(pool, sound, picture, 3, Mixture(), seed=8)
    assert torch.equal(first.audio, again.audio)
    assert torch.equal(first.visual, again.visual)
    assert not torch.equal(first.audio, other.audio)
    assert first.visual.shape == (3, SEGMENTS, 6, 6, 128)


def test_segments_are_cut_where_the_sound_is():
    wave = torch.zeros(80000)
    wave[32000:40000] = torch.randn(8000, generator=_rng()) * 0.1
    cut = augment.segments([wave] * 50, 16000, _rng())
    assert (cut.pow(2).mean(1) > 1e-4).all()


def test_a_mix_has_the_ratio_asked_for():
    own, other = torch.randn(4, 16000, generator=_rng(1)), torch.randn(4, 16000, generator=_rng(2)) * 7
    added = augment.mix(own, other, torch.full((4,), 6.0)) - own
    ratio = 10 * torch.log10(own.pow(2).mean(1) / added.pow(2).mean(1))
    assert torch.allclose(ratio, torch.full((4,), 6.0), atol=1e-3)


def test_white_backgrounds_show_the_scene():
    catalogue = torch.ones(1, 3, 64, 64)
    catalogue[:, :, 28:36, 28:36] = 0
    scene = torch.rand(1, 3, 64, 64, generator=_rng())
    shown = augment.on_scene(catalogue, scene, _rng())
    assert ((shown - scene).abs() < 1e-5).float().mean() > 0.8
    assert shown.min() < 0.01


def test_augmented_pictures_stay_pictures():
    pictures = torch.randint(0, 256, (6, 3, 128, 128), dtype=torch.uint8, generator=_rng())
    changed = augment.degrade(augment.colour(augment.crop(pictures, 96, _rng()), _rng()), _rng())
    assert changed.shape == (6, 3, 96, 96)
    assert changed.min() >= 0
    assert changed.max() <= 1


def test_pretraining_leaves_out_what_is_held_out(pack, tmp_path):
    for folder, name in (("red", "a"), ("red", "b"), ("blue", "c")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.jpg").write_bytes((pack / f"{folder}.jpg").read_bytes())
    found = starter.image_folder(tmp_path, {"b"})
    assert [(path.stem, name) for path, name in found] == [("c", "blue"), ("a", "red")]
