"""Features from real files: however a stream is cut into blocks and windows, each feature sees its own units."""

from contextlib import closing

import numpy as np
import pytest
import torch

from avel_cli.encoders.base import Encoder
from avel_cli.encoders.stream import FeatureStream
from avel_cli.encoders.vgg19 import ave_frame_indices
from avel_cli.errors import MediaError
from avel_cli.media import probe


class Greys(Encoder):
    """The mean grey of each frame, all frames of a window: which pictures a feature saw can be read off it."""

    modality = "picture"

    def __init__(self, rate=25, window=24, stride=8, ahead=0):
        super().__init__()
        self.rate, self.window, self.stride, self.ahead, self.shape = rate, window, stride, ahead, (window,)
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.calls = 0

    def prepare(self, units):
        self.calls += len(units) - self.ahead
        greys = units.float().mean((1, 2, 3))
        return greys[self.ahead :] - greys[: len(greys) - self.ahead] if self.ahead else greys

    def encode(self, windows):
        return windows


class Loudness(Encoder):
    """Root mean square of each window of sound."""

    modality = "sound"
    shape = (1,)

    def __init__(self, rate=8000, window=8000, stride=8000, resampler="ffmpeg"):
        super().__init__()
        self.rate, self.window, self.stride, self.resampler = rate, window, stride, resampler
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def encode(self, windows):
        return windows.pow(2).mean(1, keepdim=True).sqrt()


def _all(path, encoder, count=None, **settings):
    media = probe(path)
    with closing(FeatureStream(media, encoder, count or encoder.count(media.duration), **settings)) as stream:
        steps = list(stream)
    return torch.cat([step.values for step in steps]), np.concatenate([step.present for step in steps])


@pytest.mark.parametrize("together", [1, 3, 10])
def test_windows_that_overlap_see_their_own_frames_and_each_frame_is_prepared_once(counting, together):
    encoder = Greys()
    values, present = _all(counting, encoder, together=together)
    assert values.shape == (10, 24)  # (100 - 24) // 8 + 1
    expected = (torch.arange(10)[:, None] * 8 + torch.arange(24)) * 2.0
    assert (values - expected).abs().max() <= 1.5
    assert present.all()
    assert encoder.calls == 9 * 8 + 24


def test_a_unit_may_look_ahead(counting):
    encoder = Greys(ahead=1)
    values, _ = _all(counting, encoder)
    assert len(values) == (100 - 25) // 8 + 1
    assert (values - 2).abs().max() <= 1.5
    assert encoder.calls == (len(values) - 1) * 8 + 24


def test_the_last_picture_is_held_and_what_is_mostly_held_is_not_present(counting):
    values, present = _all(counting, Greys(window=25, stride=25), count=6)
    assert present.tolist() == [True] * 4 + [False] * 2
    assert (values[4:] - 198).abs().max() <= 1.5


def test_pace_counts_frames_and_forgets_the_clock(counting):
    values, _ = _all(counting, Greys(rate=16, window=16, stride=16), count=3, pace=33)
    expected = torch.tensor([[second * 33 + i * 33 // 16 for i in range(16)] for second in range(3)]) * 2.0
    assert (values - expected).abs().max() <= 1.5


def test_pace_is_exact_for_fast_films_too(ffmpeg):
    grey = "color=black:s=16x16:r=60:d=4,format=gray,geq=lum='2*mod(N,100)'"
    path = ffmpeg("fast.mkv", "-f", "lavfi", "-i", grey, "-c:v", "ffv1")
    values, _ = _all(path, Greys(rate=16, window=16, stride=16), count=3, pace=59)
    expected = torch.tensor(ave_frame_indices(3 * 59, seconds=3)).view(3, 16) % 100 * 2.0
    assert (values - expected).abs().max() <= 1.5


def test_frames_at_a_whole_rate_are_the_same_by_number_and_by_clock(counting):
    encoder = Greys(rate=16, window=16, stride=16)
    assert torch.equal(_all(counting, encoder, pace=25)[0], _all(counting, encoder)[0])


def test_sound_is_filled_with_silence_and_silence_is_not_present(ffmpeg):
    sound = "aevalsrc='if(between(mod(t,2),0.1,0.9),0.5*sin(2*PI*500*t),0)':s=44100:d=3.5"
    path = ffmpeg("sound.wav", "-f", "lavfi", "-i", sound)
    for resampler in ("ffmpeg", "kaiser"):
        values, present = _all(path, Loudness(resampler=resampler), count=5)
        assert present.tolist() == [True, False, True, False, False]
        assert values[[0, 2], 0].tolist() == pytest.approx([0.3162, 0.3162], abs=2e-3)
        assert values[4].item() == 0


def test_features_of_a_file_cut_at_whole_seconds_are_the_features_of_the_file(ffmpeg):
    whole = ffmpeg("whole.mkv", "-f", "lavfi", "-i", "testsrc2=d=5:s=64x48:r=25", "-c:v", "ffv1")
    part = ffmpeg("part.mkv", "-ss", "2", "-i", str(whole), "-c:v", "ffv1", "-t", "2")
    encoder = Greys(rate=16, window=16, stride=16)
    assert torch.equal(_all(whole, encoder)[0][2:4], _all(part, encoder)[0])


def test_early_close_ends_the_decoder(counting):
    stream = FeatureStream(probe(counting), Greys(), 10, together=1)
    next(stream)
    stream.close()
    with pytest.raises(StopIteration):
        next(stream)


def test_a_missing_stream_is_named(counting):
    with pytest.raises(MediaError, match="no audio track"):
        FeatureStream(probe(counting), Loudness(), 4)


def test_a_window_shorter_than_the_stride_keeps_its_place_however_long_the_file(ffmpeg):
    """A second of sound `i` has level `i`: after 25 s at a rate that must be changed, seconds are still seconds."""
    levels = "+".join(f"gte(t,{second})" for second in range(1, 25))
    path = ffmpeg("steps.wav", "-f", "lavfi", "-i", f"aevalsrc='0.02*(1+{levels})*sin(2*PI*500*t)':s=44100:d=25")
    values, present = _all(path, Loudness(rate=16000, window=15600, stride=16000, resampler="kaiser"))
    assert present.all()
    expected = torch.arange(1, 26) * 0.02 * 0.5**0.5
    assert (values[:, 0] / expected - 1).abs().max() < 2e-3
    # the first 10 ms of a second belong to it and to no other: a shift would let the louder neighbour in
    first = Loudness(rate=16000, window=160, stride=16000, resampler="kaiser")
    assert (_all(path, first)[0][:, 0] / expected - 1).abs().max() < 2e-2
