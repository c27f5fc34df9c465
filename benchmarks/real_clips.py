"""Detections on folders of real clips beside what their manifests say: a table, and the shares of right and wrong.

    python benchmarks/real_clips.py ../shared/data/clips
    python benchmarks/real_clips.py ../shared/data/starter_av --split test --plot reliability.png
    python benchmarks/real_clips.py ../shared/data/starter_av --split train val --thresholds

A clip is right if the label with the most seconds times score is one that it should have, and wrong if any label is
not. Of one recording in several containers the original counts. Classes outside the vocabulary should give nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import avel_cli
from avel_cli.errors import InputError

# What the manifests call a class, and the labels of the vocabulary that are true of it.
TRUE_LABELS = {
    "dog": ["Bark", "dog_bark", "dog barking", "puppies/cat", "child and dog", "dog and baby"],
    "cat": ["Cat", "cat", "puppies/cat", "pet (unclear)"],
    "bird": ["bird", "rooster", "bird chirping", "bird singing", "parrot"],
    "chicken": ["rooster"],
    "cow": ["cow"],
    "sheep or goat": ["sheep", "sheep bleating"],
    "frog": ["frog"],
    "lion": ["lion"],
    "animal": ["donkey", "bear"],
    "baby cry": ["Baby cry, infant cry", "baby_cry"],
    "speech": [
        "Male speech, man speaking", "speech", "commentary", "male_speech", "female_speech", "male speech",
        "speech (animated film)", "speech (TV series)", "toddler with book", "ego: people talking, card game",
        "waterfall burbling [male speech (man talking, wind?)]", "child and dog", "shouting",
    ],
    "laughter": ["baby_laugh", "dog and baby"],
    "singing": ["singing"],
    "guitar": [
        "Acoustic guitar", "acoustic_guitar", "electric_guitar", "ukulele", "acoustic guitar/ukulele",
        "acoustic guitar + keyboard", "piano, guitar, cajon trio",
    ],
    "electric guitar": ["electric_guitar"],
    "violin": ["Violin, fiddle", "violin", "erhu", "string concert"],
    "cello": ["cello", "double_bass", "playing double bass", "string concert"],
    "harp": ["playing harp"],
    "flute": ["Flute", "flute"],
    "harmonica": ["harmonica"],
    "trumpet": ["trumpet"],
    "trombone": ["trombone"],
    "piano": ["piano", "piano + marimba", "acoustic guitar + keyboard"],
    "drum": ["drum", "congas", "piano, guitar, cajon trio"],
    "marimba": ["marimba", "piano + marimba"],
    "musical instrument": ["band_orchestra", "street music night"],
    "bowed strings": ["band_orchestra"],
    "train": ["train", "train passing", "Train horn"],
    "car": ["car", "Race car, auto racing"],
    "motorcycle": ["snowmobile"],
    "helicopter": ["helicopter"],
    "vehicle": ["engine starting"],
    "siren": ["traffic_siren"],
    "chainsaw": ["chainsaw", "hedge_trimmer"],
    "gun": ["gun", "gunshot", "cap gun shooting", "machine gun shooting"],
    "church bell": ["church_bell"],
    "sea waves": ["sea_waves"],
    "stream or waterfall": [
        "water", "stream of water", "spraying water [waterfall]",
        "waterfall burbling [male speech (man talking, wind?)]",
    ],
    "typing": ["typing"],
    "printer": ["printer"],
    "sewing machine": ["sewing_machine"],
    "toilet flush": ["toilet_flush"],
    "frying": ["frying_food", "pan"],
    "chopping food": ["chopping_food", "chopping"],
}  # fmt: skip
BINS = 10  # of the calibration
LEAST_OVERLAP = 0.5  # tIoU from which an event of one label counts as found


class Clip(NamedTuple):
    """One entry of a manifest: file, classes, events in seconds where they are given, the clip it was made of."""

    file: str
    given: list[str]
    times: list[tuple[float, float, str]]
    origin: str


class Row(NamedTuple):
    """One clip: what it should have, and what was found."""

    clip: Clip
    expected: set[str]
    found: list[avel_cli.Event]
    seconds: float
    note: str

    @property
    def top(self) -> str | None:
        """The label with the most seconds times score."""
        weights: Counter[str] = Counter()
        for event in self.found:
            weights[event.label] += event.duration * event.score  # type: ignore[assignment]
        return weights.most_common(1)[0][0] if weights else None

    @property
    def wrong(self) -> bool:
        """Whether any label is not among the expected ones."""
        return any(event.label not in self.expected for event in self.found)

    def line(self) -> str:
        """The clip as a row of a Markdown table."""
        events = ", ".join(f"{e.label} {e.start:.0f}-{e.end:.1f} ({e.score:.2f})" for e in self.found)
        verdict = "wrong" if self.wrong else "right" if self.found else "missed" if self.expected else "empty, right"
        return f"| {self.clip.file} | {'; '.join(self.clip.given) or '-'} | {events or '-'} | {self.note or verdict} |"


def wilson(right: int, of: int) -> str:
    """A share with its 95 % interval (Wilson), in percent."""
    if not of:
        return "- of 0"
    z, share = 1.96, right / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return f"{right} of {of}, {100 * share:.0f} % ({100 * (middle - half):.0f} to {100 * (middle + half):.0f})"


def read_clips(folder: Path, splits: Sequence[str]) -> list[Clip]:
    """What either kind of manifest lists."""
    if (folder / "manifest.json").is_file():
        listed = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["clips"]
        return [
            Clip(
                clip["file"],
                sorted({event["label"] for event in clip["events"]}),
                [(event["start"], event["end"], event["label"]) for event in clip["events"]],
                clip.get("derived_from") or "",
            )
            for clip in listed
        ]
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if not splits or row["split"] in splits]
    return [Clip(row["path"], [row.get("class") or row["label"]], [], "") for row in rows]


def calibration(rows: Sequence[Row]) -> tuple[float, list[tuple[float, float, int]]]:
    """Expected calibration error of all events, and mean score, share of right labels and number in each bin."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for row in rows:
        for event in row.found:
            bins[min(BINS - 1, int(event.score * BINS))].append((event.score, event.label in row.expected))
    total = sum(map(len, bins))
    points = [(sum(s for s, _ in b) / len(b), sum(right for _, right in b) / len(b), len(b)) for b in bins if b]
    return sum(count / max(1, total) * abs(score - right) for score, right, count in points), points


def event_f1(pairs: Sequence[tuple[list[avel_cli.Event], list[tuple[float, float, str]]]]) -> tuple[float, float]:
    """LLP's Type@AV and Event@AV over these clips, in percent: F1 of labels of a clip, and of events at tIoU 0.5."""
    types, events = [], []
    for found, truth in pairs:
        mine, theirs = {event.label for event in found}, {label for *_, label in truth}
        types.append(_f1(len(mine & theirs), len(mine), len(theirs)))
        hit = sum(
            any(event.label == label and _tiou(event, a, b) >= LEAST_OVERLAP for a, b, label in truth)
            for event in found
        )
        events.append(_f1(hit, len(found), len(truth)))
    return 100 * sum(types) / max(1, len(types)), 100 * sum(events) / max(1, len(events))


def _f1(hits: int, told: int, true: int) -> float:
    return 1.0 if not told and not true else 2 * hits / max(1, told + true)


def _tiou(event: avel_cli.Event, start: float, end: float) -> float:
    shared = max(0.0, min(event.end, end) - max(event.start, start))
    return shared / (event.duration + end - start - shared)


def plot(points: Sequence[tuple[float, float, int]], path: Path) -> None:
    """Share of right labels over the score."""
    from matplotlib.figure import Figure

    axes = Figure(figsize=(4, 4)).subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.plot([score for score, *_ in points], [right for _, right, _ in points], "o-")
    for score, right, count in points:
        axes.annotate(str(count), (score, right), textcoords="offset points", xytext=(4, -10), fontsize=8)
    axes.set(xlabel="score of an event", ylabel="share with a right label", xlim=(0, 1), ylim=(0, 1))
    axes.figure.savefig(path, dpi=150, bbox_inches="tight")  # type: ignore[union-attr]


def main() -> None:
    """Run the detector over a folder and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", nargs="*", default=[], help="only these splits, where the manifest has splits")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--min-score", type=float)
    parser.add_argument("--thresholds", action="store_true", help="shares at other thresholds instead of the table")
    parser.add_argument("--plot", type=Path, help="write a reliability diagram")
    arguments = parser.parse_args()
    detector = avel_cli.Detector(arguments.model)
    clips = read_clips(arguments.folder, arguments.split)
    names = true_labels(detector)
    steps = [round(0.2 + 0.025 * step, 3) for step in range(13)] if arguments.thresholds else [arguments.min_score]
    for min_score in steps:
        rows = [judge(detector, arguments.folder, clip, names, min_score) for clip in clips]
        if not arguments.thresholds:
            print("| clip | given | detected | |", "| --- | --- | --- | --- |", *(row.line() for row in rows), sep="\n")
        summary(rows, names, f"threshold {min_score or detector.min_score:g}")
    if arguments.plot:
        plot(calibration(rows)[1], arguments.plot)


def true_labels(detector: avel_cli.Detector) -> dict[str, set[str]]:
    """For each class of the manifests the labels of the model that are true of it, more general ones too."""
    names: dict[str, set[str]] = {}
    for label, givens in TRUE_LABELS.items():
        line, general = {label}, detector.parents.get(label)
        while general:
            line.add(general)
            general = detector.parents.get(general)
        for given in givens:
            names.setdefault(given, set()).update(line & set(detector.labels))
    return names


def judge(
    detector: avel_cli.Detector, folder: Path, clip: Clip, names: dict[str, set[str]], min_score: float | None
) -> Row:
    """What is found in a clip beside what it should have."""
    expected = set().union(*(names.get(given, set()) for given in clip.given))
    try:
        timeline = detector.detect(folder / clip.file, avel_cli.Options(min_score=min_score))
    except InputError as error:
        return Row(clip, set(), [], 0.0, str(error).replace(str(folder), "…"))
    note = timeline.reason or ""
    return Row(clip, set() if note else expected, list(timeline.events), timeline.duration, note)


def summary(rows: Sequence[Row], names: dict[str, set[str]], title: str) -> None:
    """The shares, once over all clips and once without copies of one recording."""
    for what, some in (("all", rows), ("each recording once", [row for row in rows if not row.clip.origin])):
        known = [row for row in some if row.expected]
        print(
            f"\n{title}, {what}: {len(some)} clips. Right label on top: "
            f"{wilson(sum(row.top in row.expected for row in known), len(known))}; "
            f"a wrong label: {wilson(sum(row.wrong for row in some), len(some))}; "
            f"nothing found in {sum(not row.found for row in known)} of {len(known)}."
        )
    alarms = sum(event.label not in row.expected for row in rows for event in row.found)
    hours = sum(row.seconds for row in rows) / 3600
    right = Counter(event.label for row in rows for event in row.found if event.label in row.expected)
    print(
        f"False alarms an hour: {alarms / max(hours, 1e-9):.1f} ({alarms} in {60 * hours:.1f} min). "
        f"Expected calibration error {calibration(rows)[0]:.3f}. "
        f"{len(right)} labels right at least once: {', '.join(f'{n} {c}' for n, c in right.most_common())}."
    )
    timed = [row for row in rows if row.clip.times and row.expected and not row.clip.origin]
    if timed:
        pairs = []
        for row in timed:
            own = {given: names[given] for given in row.clip.given if given in names}
            truth = [(a, b, _said(row, own[given])) for a, b, given in row.clip.times if given in own]
            pairs.append((row.found, truth))
        by_type, by_event = event_f1(pairs)
        print(f"On {len(timed)} clips with times: Type@AV {by_type:.1f} %, Event@AV {by_event:.1f} %.")


def _said(row: Row, labels: set[str]) -> str:
    """Of the labels that are true, the one that was said, or any."""
    return next((event.label for event in row.found if event.label in labels), min(labels))


if __name__ == "__main__":
    main()
