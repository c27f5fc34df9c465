"""Annotation tools that show a tier for each label: Audacity, Praat and ELAN."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Iterator
from itertools import count
from typing import TextIO
from xml.etree import ElementTree as xml

from avel_cli.timeline.events import Timeline
from avel_cli.writers.names import one_line, printable

Span = tuple[int, int, str]

MILLI, MICRO = 1000, 1_000_000  # units a second
UNDATED = "1970-01-01T00:00:00Z"  # ELAN wants a date; the same timeline always makes the same file
SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"


def write_audacity(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """A label track of Audacity: start, end and label of each event with tabs between them, seconds to 1 µs."""
    for timeline in timelines:
        for event in timeline.events:
            stream.write(f"{event.start:.6f}\t{event.end:.6f}\t{one_line(event.label)}\n")


def write_textgrid(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """A TextGrid of Praat, long form: one interval tier for each label, seconds to 1 µs.

    A tier covers the whole file; between the events its intervals are empty. Without events there is one empty tier.
    """
    for timeline in timelines:
        found = tiers(timeline, MICRO) or {"events": []}
        end = round(timeline.duration * MICRO)
        stream.write('File type = "ooTextFile"\nObject class = "TextGrid"\n\n')
        stream.write(f"xmin = 0\nxmax = {_micro(end)}\ntiers? <exists>\nsize = {len(found)}\nitem []:\n")
        for number, (name, spans) in enumerate(found.items(), 1):
            intervals = list(_covering(spans, end))
            stream.write(f'    item [{number}]:\n        class = "IntervalTier"\n        name = {_quoted(name)}\n')
            stream.write(
                f"        xmin = 0\n        xmax = {_micro(end)}\n        intervals: size = {len(intervals)}\n"
            )
            for place, (start, stop, text) in enumerate(intervals, 1):
                stream.write(f"        intervals [{place}]:\n            xmin = {_micro(start)}\n")
                stream.write(f"            xmax = {_micro(stop)}\n            text = {_quoted(text)}\n")


def write_eaf(timelines: Iterable[Timeline], stream: TextIO) -> None:
    """An annotation document of ELAN, one tier for each label, times to 1 ms; it looks for the film beside it."""
    for timeline in timelines:
        root = xml.Element("ANNOTATION_DOCUMENT", AUTHOR="avel", DATE=UNDATED, FORMAT="3.0", VERSION="3.0")
        root.set("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
        root.set("xsi:noNamespaceSchemaLocation", SCHEMA)
        _add_header(root, timeline)
        times = xml.SubElement(root, "TIME_ORDER")
        numbers = count(1)
        for name, spans in tiers(timeline, MILLI).items():
            tier = xml.SubElement(root, "TIER", LINGUISTIC_TYPE_REF="event", TIER_ID=name)
            for span in spans:
                _add_annotation(tier, times, span, next(numbers))
        kind = {"LINGUISTIC_TYPE_ID": "event", "GRAPHIC_REFERENCES": "false", "TIME_ALIGNABLE": "true"}
        xml.SubElement(root, "LINGUISTIC_TYPE", kind)
        xml.indent(root)
        stream.write('<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n")


def tiers(timeline: Timeline, units: int) -> dict[str, list[Span]]:
    """The events by tier, in whole units of time; those of one label that overlap lie in tiers of their own, "dog 2".

    Args:
        timeline: what was found.
        units: how many make a second. An event lasts one at least.
    """
    lanes: dict[tuple[str, int], list[Span]] = {}
    for event in timeline.events:
        label, start = printable(event.label), round(event.start * units)
        span = (start, max(round(event.end * units), start + 1), label)
        lane = next(n for n in count(1) if (label, n) not in lanes or lanes[label, n][-1][1] <= start)
        lanes.setdefault((label, lane), []).append(span)
    named: dict[str, list[Span]] = {}
    for (label, lane), spans in sorted(lanes.items()):
        wanted = (f"{label} {n}" if n > 1 else label for n in count(lane))
        named[next(name for name in wanted if name and name not in named)] = spans
    return named


def _covering(spans: Iterable[Span], end: int) -> Iterator[Span]:
    """The spans, and empty ones wherever there is none between 0 and `end`."""
    reached = 0
    for start, stop, text in spans:
        if start > reached:
            yield reached, start, ""
        yield start, stop, text
        reached = stop
    if reached < end or not reached:
        yield reached, end, ""


def _micro(time: int) -> str:
    return f"{time // MICRO}.{time % MICRO:06}"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _add_header(root: xml.Element, timeline: Timeline) -> None:
    name = printable(timeline.file.replace("\\", "/").rpartition("/")[2])
    header = xml.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    kind = mimetypes.guess_type(name)[0] or "video/mp4"
    place = f"./{name}"
    xml.SubElement(header, "MEDIA_DESCRIPTOR", MEDIA_URL=place, RELATIVE_MEDIA_URL=place, MIME_TYPE=kind)


def _add_annotation(tier: xml.Element, times: xml.Element, span: Span, number: int) -> None:
    start, end, text = span
    slots = [f"ts{2 * number - 1}", f"ts{2 * number}"]
    for slot, time in zip(slots, (start, end), strict=True):
        xml.SubElement(times, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(time))
    ids = {"ANNOTATION_ID": f"a{number}", "TIME_SLOT_REF1": slots[0], "TIME_SLOT_REF2": slots[1]}
    annotation = xml.SubElement(xml.SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION", ids)
    xml.SubElement(annotation, "ANNOTATION_VALUE").text = text
