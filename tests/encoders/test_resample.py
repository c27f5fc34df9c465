"""The resampler: a stream gives what the whole clip gives, by the filter that published features used."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torchaudio.functional import resample

from avel_cli.encoders import resample as module
from avel_cli.encoders.resample import KaiserResampler, resampled, standard_rate
from tests.encoders.published import deviation, fixture, signal

RATES = [(44100, 16000), (48000, 32000), (8000, 16000), (22050, 32000), (11025, 16000)]


def collected(blocks: Iterable[Tensor], rate_in: int, rate_out: int) -> Tensor:
    return torch.cat(list(resampled(blocks, rate_in, rate_out)))


def sound(rate: int, seconds: float) -> Tensor:
    return torch.from_numpy(signal(rate, seconds, 3)).float()


def ragged(whole: Tensor) -> Iterator[Tensor]:
    """Blocks from nothing to a few seconds."""
    random = np.random.RandomState(0)
    while len(whole):
        size = int(random.choice([0, 1, 700, 50_000, 150_000]))
        yield whole[:size]
        whole = whole[size:]


@pytest.mark.parametrize("rate_in, rate_out", RATES)
def test_a_stream_gives_what_the_whole_clip_gives(rate_in: int, rate_out: int) -> None:
    whole = sound(rate_in, 7.003)
    expected = KaiserResampler(rate_in, rate_out).filter(whole)
    for blocks in (ragged(whole), whole.split(1000), [whole]):
        ours = collected(blocks, rate_in, rate_out)
        assert len(ours) == math.ceil(len(whole) * rate_out / rate_in)
        assert deviation(ours, expected) < 1e-6


@pytest.mark.parametrize("rate_in, rate_out", RATES)
def test_the_filter_is_that_of_the_published_features(rate_in: int, rate_out: int) -> None:
    whole = sound(rate_in, 1.5)
    constants = (64, 0.9475937167399596, "sinc_interp_kaiser", 14.769656459379492)
    expected = resample(whole.double(), rate_in, rate_out, *constants)
    assert deviation(collected([whole], rate_in, rate_out), expected) < 1e-5


def test_with_the_constants_of_the_newer_filter_samples_are_those_of_the_newer_filter(monkeypatch) -> None:
    stereo = np.stack([signal(44100, 2, 55), signal(44100, 2, 56)])
    seconds = torch.from_numpy(stereo.mean(0)).float().view(2, -1)
    old = torch.stack([collected([second], 44100, 16000) for second in seconds])
    for name, value in {"ZERO_CROSSINGS": 50, "ROLLOFF": 0.917347, "BETA": 12.9846}.items():
        monkeypatch.setattr(module, name, value)
    new = torch.stack([collected([second], 44100, 16000) for second in seconds])
    expected = fixture()["ave_resampled_sel"]
    assert deviation(new[:, ::40], expected) < 1e-3  # resampy reads its filter from a table
    assert deviation(old[:, ::40], expected) > 5e-3


def test_equal_rates_pass_through_untouched() -> None:
    blocks = [torch.rand(5), torch.rand(3)]
    assert all(ours is block for ours, block in zip(resampled(blocks, 16000, 16000), blocks, strict=True))


@pytest.mark.parametrize("size", [441, 44100, 30 * 44100])
def test_no_more_than_some_seconds_are_held(size: int) -> None:
    resampler = KaiserResampler(44100, 16000)
    held = []
    for block in sound(44100, 60).split(size):
        resampler.push(block)
        held.append(len(resampler.held))
    assert max(held) < 2 * 44100
    assert resampler.held.untyped_storage().size() < 4 * 2 * 44100  # and no view keeps a block alive


def test_sound_comes_while_the_stream_still_runs() -> None:
    def endless() -> Iterator[Tensor]:
        while True:
            yield torch.ones(4800)

    stream = resampled(endless(), 48000, 16000)
    seen = sum(len(next(stream)) for _ in range(100))
    assert 8 * 16000 < seen < 10 * 16000


def test_no_sound_stays_no_sound() -> None:
    assert collected([], 44100, 16000).shape == (0,)


@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 192000])
def test_usual_rates_are_taken_as_they_are(rate: int) -> None:
    assert standard_rate(rate) == rate


@pytest.mark.parametrize("rate", [8000, 11025, 44056, 95999, 96025, 192000])
def test_the_filter_stays_small_for_every_rate(rate: int) -> None:
    for wanted in (16000, 32000):
        resampler = KaiserResampler(standard_rate(rate), wanted)
        assert resampler.filter.kernel.numel() < 2**24


def test_odd_rates_are_delivered_at_a_common_one() -> None:
    assert {standard_rate(rate) for rate in (44056, 7999, 95999)} == {44100}
