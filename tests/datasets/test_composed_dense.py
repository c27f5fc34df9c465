from dataclasses import replace

import pytest
import torch

from avel_cli.datasets import augment, composed_dense
from avel_cli.datasets.composed import Mixture, Pool, split_rows
from avel_cli.datasets.composed_clips import answers, heard, seen, targets
from avel_cli.datasets.composed_dense import AT_ONCE, DURATIONS, Composition, Plan, Span
from avel_cli.encoders.efficientnet_lite0 import EfficientNetLite0, EfficientNetLite0Config, EfficientNetLite0Dense
from avel_cli.encoders.starter_sound import StarterSound, StarterSoundConfig, StarterSoundDense
from tests.datasets.packs import LABELS, make_pack

SOUND, PICTURE = StarterSoundConfig(), EfficientNetLite0Config(size=64)
RATE = 32000


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return make_pack(tmp_path_factory.mktemp("pack"), {"train": 1, "val": 1, "test": 1})


@pytest.fixture(scope="module")
def pool(pack):
    return Pool(split_rows([pack], "test", ["CC0"]), LABELS, RATE, 128)


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("heard", "seen", "events"),
    [
        ([(0, 2, 8)], [(0, 5, 12)], [(0, 5, 8)]),
        ([(0, 2, 8)], [(1, 2, 8)], []),
        ([(0, 0, 4), (0, 3, 9)], [(0, 1, 20)], [(0, 1, 9)]),
        ([(0, 1, 2), (0, 2.1, 3)], [(0, 0, 9)], [(0, 1, 3)]),
        ([(0, 1, 2), (0, 3, 4)], [(0, 0, 9)], [(0, 1, 2), (0, 3, 4)]),
        ([(0, 1, 5), (1, 2, 6)], [(0, 0, 9), (1, 0, 9)], [(0, 1, 5), (1, 2, 6)]),
        ([(0, 1, 1.3)], [(0, 0, 9)], []),
        ([(-1, 1, 5)], [], []),
    ],
)
def test_an_event_is_where_one_label_is_seen_and_heard(heard, seen, events):
    plan = Plan(20.0, tuple(Span(*span) for span in heard), tuple(Span(*span) for span in seen))
    assert plan.events() == [Span(*event) for event in events]


def test_plans_have_all_that_real_videos_have():
    plans = [composed_dense.plan(_rng(seed), range(5), Mixture(0.55, 0.12, 0.12, 0.1)) for seed in range(400)]
    events = [event for plan in plans for event in plan.events()]
    lengths = torch.tensor([event.end - event.start for event in events])
    assert min(plan.duration for plan in plans) >= DURATIONS[0]
    assert max(plan.duration for plan in plans) <= DURATIONS[1]
    assert all(0 <= span.start < span.end <= plan.duration for plan in plans for span in plan.heard + plan.seen)
    assert 2 < len(events) / len(plans) < 6
    assert (lengths < 1).float().mean() > 0.05
    assert (lengths > 10).float().mean() > 0.1
    overlapping = [any(a.overlaps(b) for a in plan.events() for b in plan.events() if a != b) for plan in plans]
    assert 0.1 < sum(overlapping) / len(plans) < 0.6


def test_no_more_is_seen_at_once_than_fits_the_frame():
    for seed in range(200):
        seen = composed_dense.plan(_rng(seed), range(9), Mixture()).seen
        assert all(sum(a.start <= b.start < a.end for a in seen) <= AT_ONCE for b in seen)


def test_a_label_sounds_only_while_it_is_heard(pool):
    track = composed_dense.sound_track(Plan(20.0, (Span(0, 6.5, 12),), ()), pool, _rng(3))
    spectrum = torch.fft.rfft(track.view(20, -1)).abs()
    share = spectrum[:, 1900:2100].sum(1) / spectrum.sum(1)
    assert share[7:12].mean() > 1.5 * share[[*range(6), *range(13, 20)]].mean()


def test_labels_show_only_while_they_are_seen_and_share_the_frame(pool):
    plan = Plan(20.0, (), (Span(0, 4.0, 12.0), Span(1, 9.5, 15.0)))
    frames, shown = composed_dense.picture_track(plan, pool, 96, _rng(6))
    track = frames[shown]
    assert len(track) == 80
    colour = (track[:, 0] - track[:, 2]).flatten(1)
    red, blue = (colour > 0.1).float().mean(1), (colour < -0.1).float().mean(1)
    assert red[16:48].min() > 0.2 > red[:16].max()
    assert blue[38:60].min() > 0.2 > blue[60:].max()
    assert red[48:].max() < 0.2 > blue[:38].max()


def test_a_sequence_lies_on_the_grid_and_its_name_decides_it(pool):
    sound, picture = StarterSoundDense(SOUND).eval(), EfficientNetLite0Dense(PICTURE).eval()
    first, again, other = (
        composed_dense.encode(
            composed_dense.make(pool, 64, Mixture(), name, (duration, duration)), sound, picture, name
        )
        for name, duration in (("train-1", 8.0), ("train-1", 8.0), ("train-2", 6.0))
    )
    assert torch.equal(first.audio, again.audio)
    assert torch.equal(first.visual, again.visual)
    assert other.duration != first.duration
    steps = sound.count(first.duration)
    assert steps == picture.count(first.duration) == int(4 * first.duration) - 3
    assert first.audio.shape == (steps, 1280)
    assert first.visual.shape == (steps, 2560)


def test_sequences_are_composed_once_and_again_for_another_mixture(pack, tmp_path, monkeypatch):
    counts = {"train": 2, "val": 1, "test": 1}
    first = composed_dense.composed(Composition(counts, LABELS, (12.0, 16.0)), [pack], "train", tmp_path)
    other = composed_dense.composed(
        Composition(counts, LABELS, (12.0, 16.0), mixture=Mixture(both=0.2)), [pack], "train", tmp_path
    )
    monkeypatch.setattr(composed_dense, "make", None)
    again = composed_dense.composed(Composition(counts, LABELS, (12.0, 16.0)), [pack], "train", tmp_path)
    assert all(
        torch.equal(a.audio, b.audio) and torch.equal(a.labels, b.labels) for a, b in zip(first, again, strict=True)
    )
    assert len(list(tmp_path.iterdir())) == 2
    assert not all(torch.equal(a.segments, b.segments) for a, b in zip(first, other, strict=True))


def test_a_part_without_sequences_is_refused():
    with pytest.raises(ValueError, match="each of train, val, test"):
        Composition({"train": 5, "val": 5}, LABELS)


def test_rows_are_kept_by_the_patterns_of_their_licences(pack):
    assert len(split_rows([pack], "val", ["CC*"])) == len(split_rows([pack], "val", [])) == 6
    assert split_rows([pack], "val", ["CC"]) == []


def test_a_second_of_a_clip_is_an_event_where_half_of_it_is():
    plan = Plan(10.0, (Span(0, 1.4, 3.6), Span(1, 3.0, 10.0)), (Span(0, 0.0, 10.0), Span(1, 2.0, 9.4)))
    found = targets(plan, 3)
    assert found.shape == (10, 3)
    assert found[:, 0].nonzero().flatten().tolist() == [1, 2, 3]
    assert found[:, 1].nonzero().flatten().tolist() == [3, 4, 5, 6, 7, 8]


def test_clips_are_decided_by_their_names_sound_and_picture_apart(pool):
    torch.manual_seed(0)
    sound, picture = StarterSound(SOUND).eval(), EfficientNetLite0(PICTURE).eval()
    names = ["clip-1", "clip-2"]
    audio, visual = heard(pool, sound, names, Mixture()), seen(pool, picture, names, Mixture())
    assert (audio.shape, visual.shape) == ((2, 10, 1280), (2, 10, 2, 2, 1280))
    assert answers(pool, names, Mixture()).shape == (2, 10, 2)
    assert torch.equal(heard(pool, sound, names[1:], Mixture())[0], audio[1])
    assert torch.equal(seen(pool, picture, names[1:], Mixture())[0], visual[1])


def test_a_sustained_sound_has_no_silence_and_any_length():
    wave = torch.zeros(80000)
    wave[32000:48000] = torch.randn(16000, generator=_rng()) * 0.1
    long = augment.sustained(wave, 400000, 16000, _rng())
    assert long.shape == (400000,)
    assert (long.view(-1, 16000).pow(2).mean(1) > 1e-4).all()
    assert augment.sustained(wave, 7000, 16000, _rng(1))[:800].pow(2).mean() > 1e-4


def test_the_dense_encoders_give_on_whole_seconds_what_the_others_give():
    torch.manual_seed(0)
    wave, frames = torch.randn(4 * RATE) * 0.1, torch.randint(0, 256, (12, 64, 64, 3), dtype=torch.uint8)
    sound, dense_sound = StarterSound(SOUND).eval(), StarterSoundDense(SOUND).eval()
    dense_sound.load_state_dict(sound.state_dict())
    picture, dense_picture = (
        EfficientNetLite0(replace(PICTURE, frames_per_second=4)).eval(),
        EfficientNetLite0Dense(PICTURE).eval(),
    )
    dense_picture.load_state_dict(picture.state_dict())
    with torch.inference_mode():
        listened = dense_sound.encode(wave.unfold(0, dense_sound.window, dense_sound.stride))
        torch.testing.assert_close(listened[::4], sound.encode(wave.unfold(0, sound.window, sound.stride)))
        prepared = dense_picture.prepare(frames).unfold(0, dense_picture.window, dense_picture.stride).movedim(-1, 1)
        maps = picture.encode(picture.prepare(frames).unflatten(0, (3, 4)))
        looked = dense_picture.encode(prepared)
    assert looked.shape == (9, *dense_picture.shape)
    torch.testing.assert_close(looked[::4, :1280], maps.mean(dim=(1, 2)))
    assert (looked[:, 1280:] >= looked[:, :1280]).all()
