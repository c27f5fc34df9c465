"""What of a file is looked at and listened to: one audio track, from one time to another."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

from avel_cli.errors import InputError
from avel_cli.media.child import Run
from avel_cli.media.probe import AudioStream, Media, VideoStream

AFTER_SECONDS = 10.0
"""For which work goes on after one of the streams has ended, as localizers look around."""

Stream = TypeVar("Stream", AudioStream, VideoStream)


def select(
    media: Media, track: int | None = None, begin: float = 0.0, until: float | None = None
) -> tuple[Media, tuple[str, ...]]:
    """A file with one audio track at most, and a span of it; times count from where the span begins.

    Args:
        media: the probed file.
        track: which audio track, from 0; None takes the container's default, or if that is silent throughout, the
            first that is not: cameras write a track for each microphone.
        begin: seconds since the container's start.
        until: on the same clock; None takes all.

    Returns:
        The selection, and what was chosen for the user, one line each.

    Raises:
        InputError: the file has no such track, or the span lies outside of it.
        MediaError: the sound cannot be decoded at all.
    """
    if track is not None and not 0 <= track < len(media.audio):
        raise InputError(f"{str(media.path)!r} has no audio track {track}; it has {len(media.audio)}, counted from 0")
    if begin and begin >= media.duration:
        raise InputError(f"{str(media.path)!r} ends at {media.duration:.1f} s, before what is asked for begins")
    index, note = (track, "") if track is not None else _sounding(media)
    end = min(media.duration, math.inf if until is None else until)
    selection = replace(
        media,
        duration=end - begin,
        video=media.video and _cut(media.video, begin, end),
        audio=() if index is None else (_cut(media.audio[index], begin, end),),
        begin=begin,
        until=math.inf if end == media.duration else end,
    )
    notes = [note] if note else []
    if media.stills:
        notes.append(f"the pictures of video track 0 do not move; track {media.stills} was looked at")
    return selection, tuple(notes)


def until_one_ends(media: Media, track: int | None = None) -> float:
    """Where work on sound and pictures together may end: not long after the first of them has, in seconds.

    Args:
        media: the probed file.
        track: the audio track, from 0; None stands for the longest.
    """
    ends = [stream.end for stream in media.audio][slice(None) if track is None else slice(track, track + 1)]
    return min(media.video.end if media.video else 0.0, max(ends, default=0.0)) + AFTER_SECONDS


def _cut(stream: Stream, begin: float, end: float) -> Stream:
    whole = end >= stream.end  # a stream that is cut short by us promises no more
    times = (stream.start, min(stream.end, end), stream.promised if whole else end)
    start, last, promised = (max(0.0, time - begin) for time in times)
    return replace(stream, start=start, end=last, promised=promised)


def _sounding(media: Media) -> tuple[int | None, str]:
    """The audio track to listen to, and why if it is not the default."""
    default = media.default_track
    if default is None or len(media.audio) == 1:
        return default, ""
    order = [default, *(index for index in range(len(media.audio)) if index != default)]
    streams = [media.audio[index].index for index in order]
    found = Run(media.path, "listen", seconds=media.duration, tracks=streams).answer()
    if found is None or found == streams[0]:
        return default, ""
    track = order[streams.index(found)]
    return track, f"audio track {default}, the default, is silent; track {track} was listened to"
