"""AVE's own lists for cross-modal localization, which split its clips anew; see `metrics.matching`."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from avel_cli.datasets.ave import Split, read_split
from avel_cli.datasets.ave_files import File

MATCH_ORDERS = {
    split: File(f"{split}_order_match.h5", (), key="order", kind="i", digest=digest)
    for split, digest in {
        "train": "82dc6e59d79179e62e7df8dcb0f648c5003d5dda13262ef10bcb74acc8016bb2",
        "val": "ad336b6302cbace06c0ff4434112abb1b0353cb12f246d81ea94b7cbbfbc648d",
        "test": "5c9258d60d0fd6e177c50dfaa5813cf8b91748787703a522d8082d90bf1f453c",
    }.items()
}


def read_match_split(folder: Path, split: Split, clips: int) -> Tensor:
    """Which of the clips of AVE are in the split of cross-modal localization, `[n]` int64, in the published order.

    Raises:
        SetupError: if the file is missing or names a clip twice or one that does not exist.
    """
    return read_split(folder, split, clips, MATCH_ORDERS)
