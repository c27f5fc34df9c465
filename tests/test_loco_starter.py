"""The dense weights that ship, on real footage that nothing was chosen by."""

import pytest

import avel_cli


@pytest.fixture(scope="module")
def detector():
    return avel_cli.Detector("loco.starter", "cpu")


def _overlap(event, start, end):
    shared = min(event.end, end) - max(event.start, start)
    return max(shared, 0) / (event.duration + end - start - max(shared, 0))


@pytest.mark.shared
def test_events_are_found_where_the_manifest_has_them_and_nowhere_else(detector, clips):
    events = detector.detect(clips / "composite_shared_65s.mp4").events
    truth = [
        ("dog", 6, 10.4),
        ("baby cry", 20, 25),
        ("car", 28, 34),
        ("train", 34, 44),
        ("drum", 45, 51),
        ("dog", 51, 59),
        ("harp", 59.6, 65),
    ]
    for label, start, end in truth:
        assert any(event.label == label and _overlap(event, start, end) > 0.4 for event in events), label
    assert all(any(event.label == label and _overlap(event, *span) > 0.3 for label, *span in truth) for event in events)


@pytest.mark.shared
def test_a_silent_track_gives_no_event_and_an_unseen_dog_neither(detector, clips):
    assert not detector.detect(clips / "silent_audio_track_cockatoo.mp4").events
    assert "dog" not in {event.label for event in detector.detect(clips / "heard_not_seen_dog.mp4")}
