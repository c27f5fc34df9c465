"""From what was typed to the list of files: folders, lists, natural order, each file once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from avel_cli.errors import UsageError

# Containers that hold moving pictures; what is named directly is tried whatever it is called.
VIDEO_SUFFIX = r"\.(3g2|3gp|asf|avi|f4v|flv|m2ts|m4v|mj2|mkv|mov|mp4|mpe?g|m?ts|mxf|ogv|vob|webm|wmv)"


def find_inputs(arguments: Iterable[str], recursive: bool = False) -> list[Path]:
    """The files that the arguments name, each once: in the order given, those of a folder in natural order.

    Args:
        arguments: files (which need not exist), folders, or `@list.txt` with one of these per line.
        recursive: also look into the sub-folders of folders.

    Raises:
        UsageError: for a URL, a list that cannot be read, a folder without videos.
    """
    files = (path for argument in with_lists(arguments) for path in _expand(argument, recursive))
    unique: dict[str, Path] = {}
    for path in files:
        unique.setdefault(os.path.abspath(path), path)
    return list(unique.values())


def natural_key(path: Path) -> tuple[list[str | int], str]:
    """Sorts clip2 before clip10, and does not care for letter case unless nothing else differs."""
    parts = re.split(r"(\d+)", str(path).casefold())  # text and digits take turns
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], str(path)


def with_lists(arguments: Iterable[str]) -> Iterator[str]:
    """The arguments, with the lines of the file in place of `@list.txt`.

    Raises:
        UsageError: if a list cannot be read.
    """
    for argument in arguments:
        if not argument.startswith("@"):
            yield argument
            continue
        try:
            text = Path(argument[1:]).read_text(encoding="utf-8-sig", errors="surrogateescape")
        except OSError as error:
            raise UsageError(f"{argument}: the list cannot be read ({error.strerror})") from error
        yield from filter(None, (line.strip() for line in text.splitlines()))


def _expand(argument: str, recursive: bool) -> list[Path]:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", argument):
        raise UsageError(
            f"{argument}: avel works on local files. Fetch it first, with yt-dlp for one, and name the file"
        )
    if not argument:
        raise UsageError("one of the names is empty")
    path = Path(argument)
    if not path.is_dir():
        return [path]
    found = [child for child in path.glob("**/*" if recursive else "*") if _is_video(child, path)]
    if not found:
        raise UsageError(f"{argument}: no video in this folder" + ("" if recursive else ". --recursive looks deeper"))
    return sorted(found, key=natural_key)


def _is_video(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return bool(re.fullmatch(VIDEO_SUFFIX, path.suffix, re.IGNORECASE)) and not hidden and path.is_file()
