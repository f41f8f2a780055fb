"""`glus-edge stream SOURCE SENTENCE [SENTENCE ...]`: masks of live video as it comes, a line of JSON per frame."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import av

from glus_edge.runtime.commands.arguments import (
    add_bundle_argument,
    add_engine_arguments,
    add_loop_arguments,
    add_reconnect_argument,
    add_stream_argument,
    bundle_from_arguments,
    choice_from_arguments,
    opened_segmenter,
    options_from_arguments,
)
from glus_edge.runtime.errors import InputError, OutputError, VideoError
from glus_edge.runtime.loop.live_results import live_results
from glus_edge.runtime.loop.live_session import LiveSession
from glus_edge.runtime.output.overlay import Masks, OverlayWriter
from glus_edge.runtime.output.stream_record import KeepingUp, stream_line
from glus_edge.runtime.policies.deadline import Deadline
from glus_edge.runtime.utils.atomic_file import check_file, written_aside
from glus_edge.runtime.utils.pipeline import Behind
from glus_edge.runtime.video.frame import Frame
from glus_edge.runtime.video.live_source import LiveSource, SourceEvent


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a camera (0, /dev/video0), an address (rtsp://, http://, ...), a video file, or a pipe (- for standard input)",
    )
    parser.add_argument("sentences", metavar="SENTENCE", nargs="+", help="what to segment; one batch for all sentences")
    add_stream_argument(parser)
    add_bundle_argument(parser)
    parser.add_argument(
        "--deadline-ms",
        type=float,
        metavar="MS",
        help="from a frame's arrival to its masks: the language model is asked only about frames for which there is time, "
        "but every 30th at the latest",
    )
    add_reconnect_argument(parser)
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames (default: when the source ends)")
    parser.add_argument("--overlay", type=Path, metavar="FILE.mp4", help="write the frames with their masks drawn")
    parser.add_argument("--overwrite", action="store_true", help="replace the --overlay file if there is one")
    add_loop_arguments(parser, live=True)
    add_engine_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs until the source ends, N frames are done or Ctrl-C is pressed, and says how it kept up."""
    if arguments.deadline_ms is not None:
        Deadline(arguments.deadline_ms)  # refuses what is none
    if arguments.frames is not None and arguments.frames < 1:
        raise InputError(f"--frames: got {arguments.frames}, expected at least 1")
    if arguments.overlay is not None:
        _check_overlay(arguments.overlay, arguments.source, arguments.overwrite)
    choice = choice_from_arguments(arguments)
    keeping_up = KeepingUp(arguments.deadline_ms)
    ended: VideoError | OutputError | BrokenPipeError | None = None
    with (
        opened_segmenter(bundle_from_arguments(arguments), options_from_arguments(arguments)) as segmenter,
        LiveSource(
            arguments.source, reconnect_s=arguments.reconnect, stream=arguments.stream, listener=_print_event
        ) as source,
    ):
        session = segmenter.stream(arguments.sentences, **asdict(choice))
        with _overlay(arguments.overlay, session, source) as drawn:
            try:
                _frames(source, session, arguments.deadline_ms, keeping_up, arguments.frames, drawn)
            except (KeyboardInterrupt, VideoError, OutputError, BrokenPipeError) as error:
                if not keeping_up.frames:
                    raise
                ended = None if isinstance(error, KeyboardInterrupt) else error  # Ctrl-C is how a live run usually ends
        again = f"; lost and found again {source.lost} times" if source.lost else ""
        gaps = (
            f"; {source.lost_pictures} picture(s) could not be decoded, in {source.gaps} gap(s), the first: {source.first_gap}"
            if source.gaps
            else ""
        )
        print(f"{source.name}: {keeping_up.summary()}{again}{gaps}", file=sys.stderr)
    if ended is not None:
        raise ended
    return 0


def _check_overlay(path: Path, source: str, overwrite: bool) -> None:
    """OutputError for what the overlay cannot or must not replace, before hours are spent on it."""
    check_file(path)
    if not path.exists():
        return
    if not overwrite:
        raise OutputError(f"{path}: exists already; choose another file or pass --overwrite")
    with suppress(OSError):  # no file is read
        if path.samefile(source):
            raise OutputError(f"{path}: is the source itself; choose another file")


@contextmanager
def _overlay(
    path: Path | None, session: LiveSession, source: LiveSource
) -> "Iterator[Behind[tuple[Frame, Masks]] | None]":
    """Draws and encodes in a thread of its own; the file takes its name when the block has ended.

    OutputError: it cannot be written to the end, as on a full disk; what was written before keeps its name, and plays.
    """
    if path is None:
        yield None
        return
    failure: av.error.FFmpegError | None = None
    with written_aside(path) as part:
        try:
            with (
                OverlayWriter(part, session.sentences, source.frame_rate, fragmented=True) as writer,
                Behind[tuple[Frame, Masks]](lambda drawn: writer.write(*drawn)) as behind,
            ):
                yield behind
        except av.error.FFmpegError as error:
            failure = error
    if failure is not None:
        raise OutputError(
            f"{path}: ends early: it cannot be written to its end ({failure.strerror}), expected room for it and frames "
            "H.264 can hold"
        ) from failure


def _frames(
    source: LiveSource,
    session: LiveSession,
    deadline_ms: float | None,
    keeping_up: KeepingUp,
    frames: int | None,
    drawn: "Behind[tuple[Frame, Masks]] | None",
) -> None:
    for arrival, result, latency_ms, passed_over in live_results(source, session.push, deadline_ms):
        keeping_up.record(result, latency_ms, passed_over)
        warning = keeping_up.warning()
        if warning is not None:
            print(f"{source.name}: {warning}", file=sys.stderr)
        try:
            _print(stream_line(arrival, result, latency_ms, passed_over, session.sentences))
        finally:  # the overlay has every frame that counts, whether or not its line had a reader
            if drawn is not None:
                drawn.put(
                    (Frame(arrival.number, arrival.time, arrival.rgb, pixel_aspect=arrival.pixel_aspect), result.masks)
                )
        if keeping_up.frames == frames:
            return
    if not keeping_up.frames:
        raise VideoError(f"{source.name}: not one frame came, expected video")


def _print_event(event: SourceEvent) -> None:
    _print(json.dumps(asdict(event)))


def _print(line: str) -> None:
    """Errors: BrokenPipeError: the reader has left; OutputError: the line cannot be written."""
    try:
        print(f"{line}\n", end="", flush=True)  # in one piece: events come from another thread
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"standard output: cannot be written ({error.strerror}), expected room for a line per frame"
        ) from error
