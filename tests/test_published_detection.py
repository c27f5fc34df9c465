"""`cace-net.ave` on real files, with files laid out as the published ones."""

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avel_cli.extraction import Extractor
from avel_cli.media import probe
from avel_cli.pipeline import Detector, Options
from avel_cli.tasks.clips import segment_scores
from tests.conftest import run_ffmpeg
from tests.published_files import write_cace_net, write_vgg19, write_vggish

LOSSLESS = ("-c:v", "qtrle", "-c:a", "pcm_s16le")  # in a container that keeps times to the sample


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVEL_CACHE", str(folder / "cache"))
        yield {
            "cace-net.ave": write_cace_net(folder / "model_epoch_46.pth.tar"),
            "vgg19": write_vgg19(folder / "vgg19-d01eb7cb.pth"),
            "vggish": write_vggish(folder / "vggish-10086976.pth"),
        }


@pytest.fixture(scope="module")
def detector(weights):
    return Detector("cace-net.ave", "cpu", offline=True, weights=weights, frames_per_second=1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> SimpleNamespace:
    """A film of 17 s, its first ten seconds, and those from 4 to 7."""
    folder = tmp_path_factory.mktemp("clips")
    sound = "aevalsrc='0.3*sin(2*PI*(300+40*t)*t)+0.1*random(0)|0.2*random(1)*sin(t)':s=44100:d=17"
    film = run_ffmpeg(
        folder / "film.mov", "-f", "lavfi", "-i", "testsrc2=d=17:s=160x90:r=30", "-f", "lavfi", "-i", sound, *LOSSLESS
    )
    ten = run_ffmpeg(folder / "ten.mov", "-i", str(film), "-t", "10", *LOSSLESS)
    middle = run_ffmpeg(folder / "middle.mov", "-ss", "4", "-i", str(film), "-t", "3", *LOSSLESS)
    return SimpleNamespace(film=film, ten=ten, middle=middle)


def _features(extractor: Extractor, path: Path, name: str) -> torch.Tensor:
    return extractor.features(probe(path), name).values


def test_features_of_a_part_are_the_features_of_that_part_of_the_whole(weights, clips):
    files = {name: weights[name] for name in ("vgg19", "vggish")}
    extractor = Extractor(["vgg19", "vggish"], device="cpu", offline=True, weights=files, frames_per_second=1)
    for name, shape in (("vgg19", (7, 7, 512)), ("vggish", (128,))):
        film, ten, middle = (_features(extractor, path, name) for path in (clips.film, clips.ten, clips.middle))
        assert film.shape == (17, *shape)
        scale = film.abs().max()
        assert scale > 0.01
        assert (film[1:] - film[:-1]).abs().max() > 0.01 * scale
        assert (ten - film[:10]).abs().max() <= 1e-5 * scale
        # the filter that resamples has no past at a cut: some milliseconds of the first second of sound
        assert (middle[1:] - film[5:7]).abs().max() <= 1e-5 * scale
        assert (middle[0] - film[4]).abs().max() <= 1e-2 * scale


def _events_and_classes(detector: Detector, path: Path) -> tuple[np.ndarray, np.ndarray]:
    with closing(detector.features(probe(path))) as features, torch.inference_mode():
        return segment_scores(detector.localizer, features, len(detector.labels)).means()


def test_a_long_film_is_scored_as_its_first_ten_seconds_are_where_one_window_sees_both(detector, clips):
    long, short = _events_and_classes(detector, clips.film), _events_and_classes(detector, clips.ten)
    assert (len(long[0]), len(short[0])) == (17, 10)
    assert short[0].std() > 1e-4
    assert np.abs(long[0][:5] - short[0][:5]).max() < 1e-5
    assert np.abs(long[1][:5] - short[1][:5]).max() < 1e-5


def test_the_timeline_names_the_published_weights_and_labels(detector, clips):
    timeline = detector.detect(clips.ten, Options(min_score=0))
    assert timeline.model["name"] == "cace-net.ave"
    assert timeline.model["sha256"].keys() == {"cace-net.ave", "vggish", "vgg19"}
    assert len(timeline.labels) == 28
    assert timeline.labels[2] == "Bark"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_shorter_arithmetic_changes_the_scores_little(weights, detector, clips, precision):
    short = Detector("cace-net.ave", "cpu", precision=precision, offline=True, weights=weights, frames_per_second=1)
    exact, rough = _events_and_classes(detector, clips.ten)[0], _events_and_classes(short, clips.ten)[0]
    assert 0 < np.abs(exact - rough).max() < 0.05
