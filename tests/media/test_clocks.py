"""Files whose picture changes or whose clock restarts or jumps: sound and picture stay together, at the right times.

The files in `tests/data/cases` were made with FFmpeg's test sources: a white flash of 0.2 s at every odd second of each
part, and a beep with it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from avel_cli.media import probe, read_audio, read_frames

CASES = Path(__file__).parents[1] / "data" / "cases"
ODD = [float(second) for second in range(1, 12, 2)]
EXPECTED = {  # flashes, and beeps where they are others
    "size_change.ts": (ODD, ODD),
    "pixel_format_change.ts": (ODD, ODD),
    "size_change_twice_vp8.webm": ([1.0, 4.0, 7.0], [1.0, 4.0, 7.0]),
    "ts_two_parts_clock_restarts.ts": (ODD, [1.0, 3.0, 7.0, 9.0, 11.0]),
    "ps_two_parts_clock_restarts.mpg": (ODD, [1.0, 3.0, 7.0, 9.0, 11.0]),
    "ts_two_parts_small_drift.ts": (ODD, ODD),
    "ts_five_parts_clock_restarts.ts": ([float(second) for second in range(1, 30, 2)],) * 2,
    "ts_clock_jumps_14s.ts": (ODD, ODD),  # the jump of both clocks is closed
}


def onsets(values: NDArray[np.float64], rate: float) -> list[float]:
    """When the values rise above half of their largest, in seconds."""
    above = np.concatenate([[False], values > (values.min() + values.max()) / 2])
    found = np.flatnonzero(above[1:] & ~above[:-1]) / rate
    kept = [time for number, time in enumerate(found) if not number or time - found[number - 1] > 0.3]
    return [float(time) for time in kept]


@pytest.mark.parametrize("name", EXPECTED)
def test_flashes_and_beeps_are_where_they_were_put(name: str) -> None:
    media = probe(CASES / name)
    pictures = read_frames(media, 25, (32, 32))
    light = np.concatenate([block.frames.reshape(len(block.frames), -1).mean(1) for block in pictures])
    sound = read_audio(media, 16000)
    samples = np.concatenate(list(sound))
    loudness = np.abs(samples[: len(samples) // 160 * 160]).reshape(-1, 160).max(1)
    flashes, beeps = EXPECTED[name]
    assert onsets(light, 25) == pytest.approx(flashes, abs=0.09)  # each part of a joined stream ends a little late
    assert onsets(loudness, 100) == pytest.approx(beeps, abs=0.07)
    assert media.duration == pytest.approx(flashes[-1] + 1, abs=1.1)
    assert pictures.warnings == sound.warnings == ()
