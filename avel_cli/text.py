"""What must not reach a terminal as it is: characters that steer it, or turn the order of what is read."""

from __future__ import annotations

import re

# C0, C1, marks and overrides of direction, separators of lines, and halves of surrogate pairs
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]")


def printable(text: str) -> str:
    """One line: line breaks are spaces, other characters that steer a terminal are escaped, `\\x1b` for one."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], " ".join(text.splitlines()))


def is_line(value: object, longest: int = 2000) -> bool:
    """Whether `value` is text of one line that can be shown as it is."""
    return isinstance(value, str) and len(value) <= longest and not CONTROL.search(value)
