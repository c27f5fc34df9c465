"""A film with its events in it: drawn into the pictures, or as subtitles that a player can switch off."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from avel_cli.errors import InputError, MediaError
from avel_cli.films import ffmpeg
from avel_cli.media import Media
from avel_cli.timeline.events import Event, Timeline
from avel_cli.writers.files import atomic_path
from avel_cli.writers.subtitles import cues, write_srt

KINDS = {".mp4": ("mp4", "mov_text"), ".mkv": ("matroska", "srt")}  # container, codec of subtitles
NARROWEST = 480  # pixels; smaller films are enlarged, so that words can be read
MOST_LANES = 16
DARK, LIGHT, BAR, HEAD = "#11161c", "#e8edf2", "#33618f", "#ff8a80"


def burn_in(media: Media, timeline: Timeline, path: Path, track: int | None = None) -> None:
    """Write the film with the labels of each moment at the top, and its lanes with a moving line under it.

    Args:
        media: the probed film.
        timeline: what to draw; of many labels, those that last longest.
        path: where to: `.mp4` or `.mkv`.
        track: which sound, from 0; None takes the container's default.

    Raises:
        InputError: if there are no pictures or no events, or the file cannot be written.
        SetupError: if there is no FFmpeg.
    """
    if media.video is None:
        raise InputError(f"{str(media.path)!r} has no pictures to draw into")
    _check_events(timeline)
    height, width = media.video.upright_size
    scale = max(1.0, NARROWEST / width)
    width, height = (2 * round(side * scale / 2) for side in (width, height))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        row = max(16, round(height / 24)) // 2 * 2
        lanes = _draw_lanes(timeline, width, row)
        lanes.save(folder / "lanes.png")
        Image.new("RGB", (max(2, width // 320), lanes.height), HEAD).save(folder / "head.png")
        captions = _draw_captions(timeline, folder, width, row)
        inputs = [part for file in ("lanes.png", "head.png") for part in ("-i", f"file:{folder / file}")]
        inputs += ["-f", "concat", "-safe", "0", "-i", f"file:{captions}"]
        graph = (
            f"[0:{media.video.index}]scale={width}:{height},pad={width}:{height + lanes.height}:0:0[film];"
            f"[film][1]overlay=0:{height}[lanes];"
            f"[lanes][2]overlay=x='{width}*t/{timeline.duration:.6f}':y={height}[head];[head][3]overlay=0:0[drawn]"
        )
        sound = ffmpeg.streams(media, track)[2:]  # without the pictures
        arguments = [*inputs, "-filter_complex", graph, "-map", "[drawn]", *sound, *ffmpeg.H264]
        with atomic_path(path) as temporary:
            ffmpeg.run(media, temporary, arguments, kind=KINDS[path.suffix][0])


def add_subtitles(media: Media, timeline: Timeline, path: Path, track: int | None = None) -> None:
    """Write the film with its events as a track of subtitles; pictures and sound are copied where they can be.

    Args:
        media: the probed film.
        timeline: what to show.
        path: where to: `.mp4` or `.mkv`.
        track: which sound, from 0; None takes the container's default.

    Raises:
        InputError: if there are no events, or the file cannot be written.
        SetupError: if there is no FFmpeg.
    """
    _check_events(timeline)
    kind, codec = KINDS[path.suffix]
    with tempfile.TemporaryDirectory() as folder, atomic_path(path) as temporary:
        subtitles = Path(folder) / "events.srt"
        with subtitles.open("w", encoding="utf-8") as stream:
            write_srt([timeline], stream)
        maps = ["-i", f"file:{subtitles}", *ffmpeg.streams(media, track), "-map", "1:0"]
        try:
            ffmpeg.run(media, temporary, [*maps, "-c", "copy", "-c:s", codec], kind=kind)
        except MediaError:  # the container does not hold such a codec
            ffmpeg.run(media, temporary, [*maps, *ffmpeg.H264, "-c:s", codec], kind=kind)


def _check_events(timeline: Timeline) -> None:
    if not timeline.events:
        raise InputError(f"{timeline.file!r} has no event to show; a lower --min-score may find some")


def _draw_lanes(timeline: Timeline, width: int, row: int) -> Image.Image:
    """A row for each label with its events as bars over the whole length."""
    lanes: dict[str, list[Event]] = defaultdict(list)
    for event in timeline:
        lanes[event.label].append(event)
    longest = sorted(lanes, key=lambda label: -sum(event.duration for event in lanes[label]))[:MOST_LANES]
    image = Image.new("RGB", (width, row * len(longest)), DARK)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(round(row * 0.7))
    for number, label in enumerate(sorted(longest)):
        top = number * row
        for event in lanes[label]:
            left, right = (round(width * seconds / timeline.duration) for seconds in (event.start, event.end))
            draw.rectangle((left, top + 1, max(left + 1, right - 1), top + row - 2), fill=BAR)
        draw.text((4, top), _one_line(label), fill=LIGHT, font=font, stroke_width=1, stroke_fill=DARK)
    return image


def _draw_captions(timeline: Timeline, folder: Path, width: int, row: int) -> Path:
    """The labels of each moment as pictures, and the list of them that FFmpeg plays one after the other."""
    shown: list[tuple[float, str]] = [(0.0, "")]
    for on, off, text in cues(timeline):
        shown += [(on / 1000, text), (off / 1000, "")]
    files: dict[str, str] = {}
    lines = ["ffconcat version 1.0"]
    ends = [start for start, _ in shown[1:]] + [max(timeline.duration, shown[-1][0] + 1)]
    for (start, text), end in zip(shown, ends, strict=True):
        if end > start:
            file = files.setdefault(text, f"{len(files)}.png")
            lines += [f"file {file}", f"duration {end - start:.3f}"]
    for text, file in files.items():
        _draw_caption(text, width, round(1.6 * row)).save(folder / file)
    path = folder / "captions.txt"
    path.write_text("\n".join([*lines, lines[-2], ""]), encoding="utf-8")  # the last duration counts only so
    return path


def _draw_caption(text: str, width: int, height: int) -> Image.Image:
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(round(height * 0.6))
    if text:
        room = min(width, round(draw.textlength(_one_line(text), font=font)) + 16)
        draw.rectangle((0, 0, room, height), fill=(17, 22, 28, 200))
        draw.text((8, height * 0.12), _one_line(text), fill=LIGHT, font=font)
    return image


def _one_line(text: str) -> str:
    """The text without line breaks, cut where no picture is wide enough."""
    return " ".join(text.split())[:200]
