"""Local media files through PyAV, in a process of its own: facts, sound and pictures. No torch here."""

from avel_cli.media.decode import FrameBatch, Reading, read_audio, read_frames
from avel_cli.media.ffmpeg import ffmpeg_version, find_ffmpeg
from avel_cli.media.probe import AudioStream, Media, VideoStream, probe
from avel_cli.media.select import select

__all__ = [
    "AudioStream",
    "FrameBatch",
    "Media",
    "Reading",
    "VideoStream",
    "ffmpeg_version",
    "find_ffmpeg",
    "probe",
    "read_audio",
    "read_frames",
    "select",
]
