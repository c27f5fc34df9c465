"""Figures that papers report on UnAV-100's test split, to stand beside measured ones.

Figures of LoCo's own paper are not among them: no source that could be read states them.
"""

from __future__ import annotations

from typing import NamedTuple


class Reported(NamedTuple):
    """Mean average precision in percent on the test split, as its source gives it.

    Attributes:
        map: at tIoU 0.5, 0.6, 0.7, 0.8 and 0.9.
        average: over 0.1 to 0.9.
    """

    system: str
    map: tuple[float, float, float, float, float]
    average: float
    source: str

    def cells(self) -> dict[str, float]:
        """As those of `metrics.detection.DetectionResult`."""
        return dict(zip(("0.5", "0.6", "0.7", "0.8", "0.9"), self.map, strict=True)) | {"average": self.average}


_TABLE_4 = ("I3D and VGGish", "DEL, arXiv 2506.23196, Table 4")
REPORTED = tuple(
    Reported(f"{system}, {features}", (first, second, third, fourth, fifth), average, source)
    for system, (features, source), (first, second, third, fourth, fifth, average) in (
        ("VSGN", _TABLE_4, (24.5, 20.2, 15.9, 11.4, 6.8, 24.1)),
        ("TadTR", _TABLE_4, (30.4, 27.1, 23.3, 19.4, 14.3, 29.4)),
        ("ActionFormer", _TABLE_4, (43.5, 39.4, 33.4, 27.3, 17.9, 42.2)),
        ("UnAV", _TABLE_4, (50.6, 45.8, 39.8, 32.4, 21.1, 47.8)),
        ("DEL", _TABLE_4, (53.4, 48.1, 42.6, 35.6, 26.9, 51.1)),
        ("DEL", ("DINOv2 and MERT", "DEL, arXiv 2506.23196, Table 7"), (55.0, 49.7, 44.1, 37.4, 28.4, 52.7)),
    )
)
