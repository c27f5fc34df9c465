"""avel: find events that are both seen and heard in local video files."""

__version__ = "0.1.0"
