"""What the user asked to see of the events that were found; the same for every localizer."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from avel_cli.timeline.events import Event


def select(
    events: Iterable[Event],
    *,
    min_score: float = 0.0,
    min_duration: float = 0.0,
    keep: Collection[str] = (),
    top_k: int | None = None,
) -> tuple[Event, ...]:
    """The events that pass the user's filters, in order of time.

    Args:
        events: in any order.
        min_score: events that score less are dropped, 0..1.
        min_duration: events shorter than this many seconds are dropped.
        keep: labels to keep; empty keeps all.
        top_k: keep this many events, those with the highest scores.
    """
    rounding = 1e-9  # 3 * 0.1 - 0.1 must not count as shorter than 0.2
    chosen = [
        event
        for event in events
        if event.score >= min_score and event.duration + rounding >= min_duration and (not keep or event.label in keep)
    ]
    best = sorted(chosen, key=lambda event: (-event.score, event))[:top_k]
    return tuple(sorted(best))
