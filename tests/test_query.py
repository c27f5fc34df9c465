"""Queries: which windows come first, which seconds a span stands for, and what cannot be asked."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avel_cli import InputError, UsageError, query
from avel_cli.encoders.stream import Features
from avel_cli.localizers.cace_net.network import CACENet, CACENetConfig
from avel_cli.localizers.ccln.network import CCLN, CCLNConfig
from avel_cli.timeline.grid import Grid

SIZES = {"audio_dim": 8, "visual_dim": 8, "num_classes": 2, "d_model": 8}


def a_detector(network=None):
    """A detector of which a query uses only this much."""
    return SimpleNamespace(
        localizer=network or CCLN(CCLNConfig(**SIZES)).eval(),
        grid=Grid(),
        card=SimpleNamespace(name="some.model"),
        provenance=lambda: {"name": "some.model"},
    )


@pytest.fixture
def film(monkeypatch):
    """`film(sounds, pictures, duration)` makes a file of ten kinds of seconds, by number; None is nothing at all."""

    def make(sounds, pictures, duration=None):
        tracks = {"sound": sounds, "picture": pictures}

        def embedded(detector, network, media, modality, tell):
            kinds = tracks[modality]
            values = torch.nn.functional.one_hot(torch.tensor([kind or 0 for kind in kinds]), 10).float()
            tell(len(kinds) * detector.grid.stride)
            return Features(values, np.array([kind is not None for kind in kinds])), (f"of {modality}",)

        media = SimpleNamespace(duration=duration or float(len(sounds)), audio=[1], video=1)
        monkeypatch.setattr(query, "probe", lambda path: media)
        monkeypatch.setattr(query, "select", lambda media, track, until: (media, ()))
        monkeypatch.setattr(query, "until_one_ends", lambda media, track: None)
        monkeypatch.setattr(query, "_embedded", embedded)
        return media

    return make


def ask(asked, start, end, **more):
    return query.query(a_detector(), "film.mp4", asked, (start, end), **more)


def test_the_window_that_matches_comes_first_in_either_direction(film):
    film(sounds=[1, 2, 3, 4, 5, 6], pictures=[5, 6, 9, 9, 3, 4])
    answer = ask("sound", 2, 4)
    assert (answer.asked, answer.start, answer.end) == ("sound", 2, 4)
    assert answer.matches[0][:2] == (4, 6)
    assert answer.matches[0].distance == pytest.approx(0, abs=1e-3)
    assert answer.matches[-1].distance == pytest.approx(2**0.5, rel=1e-5)
    assert ask("picture", 0, 2).matches[0][:2] == (4, 6)
    assert answer.warnings == ("of sound", "of picture")


def test_windows_share_at_most_half_of_their_time_with_a_closer_one(film):
    film(sounds=[1] * 4 + [2] * 16, pictures=[2] * 8 + [1] * 4 + [2] * 8)
    starts = [match.start for match in ask("sound", 0, 4).matches]
    assert starts[0] == 8
    assert all(abs(one - other) >= 2 for i, one in enumerate(starts) for other in starts[:i])
    assert [match.start for match in ask("sound", 0, 4, top_k=1).matches] == [8]


@pytest.mark.parametrize(
    ("span", "segments"),
    [((3, 5), (3, 5)), ((2.6, 5.4), (3, 5)), ((2.5, 5.5), (2, 5)), ((3.1, 3.2), (3, 4)), ((9.2, 9.7), (9, 9.7))],
)
def test_a_span_stands_for_the_seconds_whose_middle_it_holds_and_for_one_at_least(film, span, segments):
    film([1] * 10, [1] * 10, duration=9.7)
    answer = ask("sound", *span)
    assert (answer.start, answer.end) == segments


def test_what_a_window_cannot_show_is_no_match_and_no_query(film):
    film(sounds=[1, None, None, 2], pictures=[None, None, 1, 1])
    assert [match[:2] for match in ask("sound", 0, 1).matches] == [(2, 3), (3, 4)]
    with pytest.raises(InputError, match=r"film.mp4: there is no sound from 1 to 2.5 s"):
        ask("sound", 1, 2.5)
    with pytest.raises(InputError, match="there is no picture from 0 to 2 s"):
        ask("picture", 0, 2)
    film(sounds=[None] * 4, pictures=[1] * 4)
    with pytest.raises(InputError, match=r"film.mp4: there is no sound anywhere to compare with"):
        ask("picture", 0, 2)


def test_what_lies_outside_of_the_file_is_said_with_its_length(film):
    film([1] * 10, [1] * 10, duration=9.7)
    ask("sound", 9, 10)
    for span in ((9, 10.5), (30, 31)):
        with pytest.raises(InputError, match=r"film.mp4: .* s is outside of the file, which ends at 9.7 s"):
            ask("sound", *span)
    for span in ((5, 5), (5, 3), (-1, 2)):
        with pytest.raises(UsageError, match="begin before it ends"):
            ask("sound", *span)


@pytest.mark.parametrize("network", [CACENet(CACENetConfig(**SIZES)), CCLN(CCLNConfig(**SIZES, wccl=False))])
def test_weights_without_a_common_space_are_refused(network):
    with pytest.raises(UsageError, match=r"some.model cannot compare sound and picture; use -m ccln.starter"):
        query.query(a_detector(network), "film.mp4", "sound", (0, 1))


def test_progress_goes_through_both_tracks(film):
    film([1] * 4, [1] * 4)
    told = []
    ask("sound", 0, 1, progress=lambda done, total: told.append((done, total)))
    assert told == [(4, 8), (8, 8)]


def test_the_answer_becomes_plain_values(film):
    film([1] * 2, [1] * 2)
    plain = ask("sound", 0, 1).to_dict()
    assert plain["matches"][0] == {"start": 0, "end": 1, "distance": pytest.approx(0, abs=1e-3)}
    assert plain["model"] == {"name": "some.model"} and plain["asked"] == "sound"
