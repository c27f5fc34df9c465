"""Detections on folders of real clips beside what their manifests say: a table, and the shares of right and wrong.

    python benchmarks/real_clips.py ../shared/data/clips
    python benchmarks/real_clips.py ../shared/data/starter_av --split test

A clip is right if the label with the most seconds times score is one that it should have, and wrong if any label is
not. Classes outside the vocabulary should give nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import avel_cli
from avel_cli.errors import InputError

# What the manifests call a class, and the label of the vocabulary that is true of it.
TRUE_LABELS = {
    "dog": ["Bark", "dog_bark"],
    "cat": ["Cat", "cat"],
    "baby cry": ["Baby cry, infant cry", "baby_cry"],
    "speech": ["Male speech, man speaking", "speech", "commentary", "male_speech", "female_speech"],
    "bird": ["bird", "rooster"],
    "farm animal": ["cow", "sheep", "donkey"],
    "chainsaw": ["chainsaw", "hedge_trimmer"],
    "vehicle": ["Race car, auto racing", "train passing", "Train horn", "car", "train", "helicopter", "snowmobile"],
    "musical instrument": [
        "Violin, fiddle", "Flute", "Acoustic guitar", "playing harp", "playing double bass", "acoustic_guitar",
        "electric_guitar", "violin", "cello", "double_bass", "erhu", "ukulele", "flute", "trumpet", "trombone",
        "piano", "harmonica", "drum", "drumstick_hits", "congas", "band_orchestra", "marimba",
    ],
}  # fmt: skip


class Row(NamedTuple):
    """One clip: the labels it should have, whether it must stay empty, and what was found."""

    file: str
    given: list[str]
    expected: set[str]
    found: list[avel_cli.Event]
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
        return f"| {self.file} | {'; '.join(self.given) or '-'} | {events or '-'} | {self.note or verdict} |"


def clips(folder: Path, splits: list[str]) -> list[tuple[str, list[str]]]:
    """File and classes of each clip that either kind of manifest lists."""
    if (folder / "manifest.json").is_file():
        listed = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["clips"]
        return [(clip["file"], sorted({event["label"] for event in clip["events"]})) for clip in listed]
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if not splits or row["split"] in splits]
    return [(row["path"], [row["class"]]) for row in rows]


def main() -> None:
    """Run the detector over a folder and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", nargs="*", default=[], help="only these splits, where the manifest has splits")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--min-score", type=float)
    arguments = parser.parse_args()
    detector = avel_cli.Detector(arguments.model)
    options = avel_cli.Options(min_score=arguments.min_score)
    names = {given: label for label, givens in TRUE_LABELS.items() for given in givens if label in detector.labels}
    rows = []
    for file, given in clips(arguments.folder, arguments.split):
        expected, found, note = {names[g] for g in given if g in names}, [], ""
        try:
            timeline = detector.detect(arguments.folder / file, options)
            found, note = list(timeline.events), timeline.reason or ""
        except InputError as error:
            note = str(error).replace(str(arguments.folder), "…")
        expected = set() if note else expected
        rows.append(Row(file, given, expected, found, note))
    print("| clip | given | detected | |", "| --- | --- | --- | --- |", *(row.line() for row in rows), sep="\n")
    known = [row for row in rows if row.expected]
    print(
        f"\n{len(rows)} clips, {len(known)} with a class of the vocabulary: "
        f"right label on top in {sum(row.top in row.expected for row in known)}, "
        f"a wrong label in {sum(row.wrong for row in rows)} of all, "
        f"nothing found in {sum(not row.found for row in known)} of those {len(known)}."
    )


if __name__ == "__main__":
    main()
