import json
from types import SimpleNamespace

import pytest
import torch

from avel_cli import Detector, Options, detect
from avel_cli.errors import InputError, MediaError, SetupError, UsageError
from avel_cli.pipeline import choose_device
from avel_cli.tasks.clips import HOP, WINDOW, Windows
from avel_cli.timeline.segments import SegmentScores
from avel_cli.writers import WRITERS


class Echo:
    """A localizer that says the index of each segment, which is what its audio feature holds."""

    def __init__(self):
        self.seen = []

    def __call__(self, audio, visual):
        self.seen.append(audio[0, :, 0].tolist())
        return SimpleNamespace(decodable=(torch.full((1, WINDOW), 20.0), torch.zeros(1, 3)))


def _windows(total, pieces):
    echo, scores = Echo(), SegmentScores(3)
    windows, first = Windows(echo, scores), 0
    while first < total:
        count = min(pieces, total - first)
        audio = torch.arange(first, first + count).float().unsqueeze(1)
        windows.add(audio, torch.zeros(count, 2, 2, 4), torch.ones(count, dtype=torch.bool))
        first += count
    windows.finish()
    return echo.seen, scores.means()[0]


@pytest.mark.parametrize("pieces", [1, 3, 10])
@pytest.mark.parametrize("total", [1, 9, 10, 11, 14, 15, 16, 20, 37])
def test_every_segment_is_seen_and_the_last_window_ends_with_the_file(total, pieces):
    seen, means = _windows(total, pieces)
    assert len(means) == total
    assert (means > 0.99).all()
    starts = [int(window[0]) for window in seen]
    if total <= WINDOW:
        assert seen == [[*range(total), *[0] * (WINDOW - total)]]
    else:
        assert all(window == list(range(int(window[0]), int(window[0]) + WINDOW)) for window in seen)
        assert starts[-1] == total - WINDOW
        assert starts[:-1] == list(range(0, total - WINDOW, HOP))


def test_windows_do_not_depend_on_how_the_segments_arrive():
    assert _windows(33, 1)[0] == _windows(33, 10)[0]


def test_devices_that_are_not_there_are_set_up_errors():
    assert choose_device("cpu").type == "cpu"
    for name in ("cuda:7", "quantum"):
        with pytest.raises(SetupError, match=f'device "{name}" is not there'):
            choose_device(name)


@pytest.fixture(scope="module")
def detector():
    return Detector("cace-net.starter", "cpu")


def _made(ffmpeg, name, *, sound="sine=440:d=3", picture="testsrc=d=3:s=160x120:r=10"):
    inputs = [argument for source in (picture, sound) if source for argument in ("-f", "lavfi", "-i", source)]
    return ffmpeg(name, *inputs)


def test_without_sound_or_picture_the_reason_is_the_result(detector, ffmpeg):
    mute = detector.detect(_made(ffmpeg, "mute.mp4", sound=""))
    blind = detector.detect(_made(ffmpeg, "blind.m4a", picture=""))
    assert (mute.events, blind.events) == ((), ())
    assert mute.reason.startswith("no audio track")
    assert blind.reason.startswith("no video track")


def test_silence_is_a_reason_and_never_an_event(detector, ffmpeg):
    timeline = detector.detect(_made(ffmpeg, "silent.mp4", sound="anullsrc=d=3"), Options(min_score=0))
    assert timeline.events == ()
    assert timeline.reason == "the audio track is silent"


def test_the_timeline_says_where_it_comes_from(detector, ffmpeg):
    path = _made(ffmpeg, "clip.mp4")
    timeline = detector.detect(path, Options(min_duration=1.5))
    assert timeline.file == str(path)
    assert timeline.duration == pytest.approx(3, abs=0.1)
    assert timeline.model["name"] == "cace-net.starter"
    assert {len(digest) for digest in timeline.model["sha256"].values()} == {64}
    assert timeline.parameters["min_duration"] == 1.5
    assert (timeline.parameters["precision"], timeline.parameters["frames_per_second"]) == ("fp32", None)
    assert timeline.parameters["min_score"] == detector.min_score


def test_progress_is_told_in_seconds_and_reaches_the_end(detector, ffmpeg):
    steps = []
    detector.detect(_made(ffmpeg, "clip.mp4"), progress=lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == pytest.approx(steps[-1][1], abs=0.2)


def test_strict_refuses_what_can_be_decoded_in_part_only(detector, ffmpeg, tmp_path):
    whole = ffmpeg(
        "w.mp4",
        "-f",
        "lavfi",
        "-i",
        "testsrc=d=8:s=320x240",
        "-f",
        "lavfi",
        "-i",
        "sine=d=8",
        "-movflags",
        "+faststart",
    )
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert detector.detect(cut).warnings
    with pytest.raises(MediaError, match="without --strict"):
        detector.detect(cut, Options(strict=True))


def test_labels_are_checked_before_any_work(detector):
    with pytest.raises(UsageError, match='no label "dgo"'):
        detector.detect("no such file.mp4", Options(labels=("dgo",)))


def test_detect_is_the_same_in_one_call(ffmpeg, detector):
    path = _made(ffmpeg, "clip.mp4")
    assert (
        detect(path, model="cace-net.starter", device="cpu", top_k=1).events
        == detector.detect(path, Options(top_k=1)).events
    )


@pytest.mark.shared
def test_every_clip_is_a_timeline_or_a_one_line_error(clips, detector, tmp_path):
    manifest = json.loads((clips / "manifest.json").read_text(encoding="utf-8"))
    failed = set()
    for clip in manifest["clips"]:
        try:
            timeline = detector.detect(clips / clip["file"])
        except InputError as error:
            assert "\n" not in str(error)
            failed.add(clip["file"])
            continue
        assert timeline.events or timeline.reason or timeline.duration > 0
        with (tmp_path / "x.json").open("w", encoding="utf-8") as stream:
            WRITERS["json"]([timeline], stream)
    assert failed == {"empty_0_bytes.webm", "derived_text_named.mp4", "derived_truncated_no_moov_or_tail.mp4"}
