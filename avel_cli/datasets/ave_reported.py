"""Figures that papers report on AVE's test split, to stand beside measured ones."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Reported(NamedTuple):
    """A segment accuracy in percent on the test split, as its source gives it."""

    system: str
    supervision: Literal["full", "weak"]
    accuracy: float
    source: str

    def cells(self) -> dict[str, float]:
        """As those of `metrics.clips.AVEFigures`."""
        return {"segment accuracy": self.accuracy}


_PAPER = "CACE-Net, arXiv 2408.01952, Table"
REPORTED = (
    *(
        Reported(system, "full", accuracy, f"{_PAPER} 5")
        for system, accuracy in {
            "audio alone": 59.5,
            "visual alone": 55.3,
            "AVEL": 72.7,
            "DAM": 74.5,
            "CMRAN": 77.4,
            "PSP": 77.8,
            "CMBS": 79.3,
            "AVE-CLIP": 79.3,
            "CSS": 80.5,
            "CACE-Net": 80.8,
        }.items()
    ),
    Reported("CACE-Net, released checkpoint", "full", 80.796, "github.com/Brain-Cog-Lab/CACE-Net, README"),
    Reported("CACE-Net, efficient encoders", "full", 81.56, f"{_PAPER} 3"),
    Reported("CACE-Net, efficient encoders, fine-tuned", "full", 82.36, f"{_PAPER} 3"),
    Reported("CACE-Net, no guidance, no contrast", "full", 78.26, f"{_PAPER} 1"),
    Reported("CACE-Net, audio guides, no contrast", "full", 78.83, f"{_PAPER} 1, visual-only"),
    Reported("CACE-Net, vision guides, no contrast", "full", 77.23, f"{_PAPER} 1, audio-only"),
    Reported("CACE-Net, audio guides, contrast", "full", 78.93, f"{_PAPER} 4"),
    Reported("CACE-Net, co-guidance, no contrast", "full", 80.30, f"{_PAPER} 1; 2, lambda 0"),
    *(
        Reported(f"CACE-Net, lambda {value}", "full", accuracy, f"{_PAPER} 2")
        for value, accuracy in {0.2: 80.25, 0.4: 80.65, 0.6: 80.80, 0.8: 80.10}.items()
    ),
    Reported("CACE-Net, lambda 0.6, also for the category", "full", 80.65, f"{_PAPER} 2"),
    Reported("CMRAN, released checkpoint", "full", 76.095, "github.com/FloretCat/CMRAN, supv_test.sh"),
    Reported("CSS", "weak", 76.8, "CSS-Net, abstract"),
    Reported("CMRAN, released checkpoint", "weak", 72.363, "github.com/FloretCat/CMRAN, weakly_test.sh"),
)
