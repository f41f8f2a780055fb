"""Where live video comes from, as the user wrote it: a camera, an address on the network, or a file."""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from glus_edge.runtime.errors import InputError, VideoError

SCHEMES = ("http", "https", "rtmp", "rtsp", "rtsps", "srt", "udp")
PATIENCE_S = 5.0  # without data from the network before a stream counts as lost
OPENING_S = 15.0  # to find out what a stream is: before its next key frame, seconds away, little can be told

# A playlist that comes from the network may name no file of this machine.
_ON_NETWORK = {"protocol_whitelist": "crypto,http,httpproxy,https,rtmp,rtp,rtsp,rtsps,srt,tcp,tls,udp"}
_EXPECTED = "expected a camera (0, /dev/video0), an address such as rtsp://HOST/PATH, or a video file"


@dataclass(frozen=True)
class VideoAddress:
    """What FFmpeg is asked to open."""

    name: str  # for messages: without a password
    url: str
    live: bool = False  # frames come at their own pace, whether we are ready or not
    container: str | None = None  # FFmpeg's name of the format where it cannot be told from the data
    options: Mapping[str, str] = field(default_factory=dict)
    patience_s: tuple[float, float] | None = None  # to open it, and for the next packet; None: as long as it takes
    endless: bool = False  # where it ends, it was lost; by HTTP also come recordings
    lends: bool = False  # its packets lie in the device's own memory, which is gone when the device is let go
    path: Path | None = None  # of a regular file
    pipe: bool = False  # read once, forwards, when somebody writes into it


def file_address(path: Path) -> VideoAddress:
    """A regular file's."""
    # A name with a number pattern (%03d) names one file, not a series.
    options = {"pattern_type": "none"}
    # Absolute: FFmpeg takes the part before a colon in a relative name for a protocol.
    return VideoAddress(str(path), os.path.realpath(path), options=options, path=path)


def is_folder(path: Path, missing: str) -> bool:
    """Whether a folder lies there and no regular file.

    VideoError: nothing does, which `missing` says, it cannot be looked at, or it is a pipe, socket or device.
    """
    mode = _mode(path, missing)
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise VideoError(
            f"{path}: got {_kind(mode)}, {missing.partition(', ')[2]}; `glus-edge stream` reads pipes, once and forwards"
        )
    return stat.S_ISDIR(mode)


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _mode(path: Path, missing: str) -> int:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise VideoError(f"{path}: {missing}") from error
    except (OSError, ValueError) as error:
        expected = missing.partition(", ")[2]
        raise VideoError(f"{path}: cannot be read ({getattr(error, 'strerror', error)}), {expected}") from error


def video_address(text: str) -> VideoAddress:
    """What a user's text names. InputError: a kind of address that is not read; VideoError: there is no such file."""
    if re.fullmatch(r"[0-9]{1,3}|/dev/video[0-9]{1,3}|/dev/v4l/.+", text):
        # /dev/v4l names the same devices by the camera or its place
        device = f"/dev/video{int(text)}" if text.isdigit() else text
        return VideoAddress(device, device, live=True, container="v4l2", endless=True, lends=True)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    if scheme:
        return _network_address(text, scheme[1].lower())
    path = Path("/dev/stdin" if text == "-" else text)
    if stat.S_ISFIFO(_mode(path, f"no such file, {_EXPECTED}")):
        # Not resolved: a pipe behind /dev/fd has no other name.
        return VideoAddress("standard input" if text == "-" else text, str(path.absolute()), pipe=True)
    if is_folder(path, f"no such file, {_EXPECTED}"):
        raise VideoError(f"{text}: got a folder, {_EXPECTED}; `glus-edge segment` reads folders of frames")
    return file_address(path)


def _network_address(text: str, scheme: str) -> VideoAddress:
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise InputError(f"source: got an address that cannot be read ({error}), {_EXPECTED}") from error
    host = parts.netloc.rpartition("@")[2]
    name = urlunsplit((scheme, host, parts.path, "", ""))
    if scheme not in SCHEMES:
        raise InputError(f"source: got {name}, expected an address that begins with one of {', '.join(SCHEMES)}")
    if not host and scheme != "udp":
        raise InputError(f"source: got {name} without a host, {_EXPECTED}")
    options = dict(_ON_NETWORK)
    if scheme.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"  # by UDP a lost packet is a torn picture
    endless = not scheme.startswith("http")
    if not endless:
        options["live_start_index"] = "-1"  # of a playlist that grows, the newest segment
    return VideoAddress(name, text, live=True, options=options, patience_s=(OPENING_S, PATIENCE_S), endless=endless)
