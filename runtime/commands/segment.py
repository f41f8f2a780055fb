"""`glus-edge segment VIDEO SENTENCE [SENTENCE ...] --bundle B --output DIR`: masks, overlay and record of a whole video."""

import argparse
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from glus_edge.runtime.commands.arguments import (
    add_bundle_argument,
    add_engine_arguments,
    add_loop_arguments,
    add_stream_argument,
    bundle_from_arguments,
    choice_from_arguments,
    options_from_arguments,
    print_choice,
)
from glus_edge.runtime.errors import OutputError
from glus_edge.runtime.loop.result import FrameResult
from glus_edge.runtime.open_backend import SegmenterOptions
from glus_edge.runtime.output.formats.registry import FORMATS, PNG
from glus_edge.runtime.output.output_folder import check_output_folder
from glus_edge.runtime.output.run_record import RunDescription
from glus_edge.runtime.output.writer import OutputWriter
from glus_edge.runtime.policies.key_frame import KeyFrame
from glus_edge.runtime.policies.loop_rules import LoopChoice
from glus_edge.runtime.segmenter import Segmenter
from glus_edge.runtime.utils.pipeline import Behind
from glus_edge.runtime.utils.progress import terminal_bar
from glus_edge.runtime.video.frame import Frame
from glus_edge.runtime.video.video import Video, damage, open_video

_DEFAULTS = SegmenterOptions()


@dataclass(frozen=True)
class Request:
    """What is asked of a video; see `Segmenter.segment`."""

    sentences: tuple[str, ...]
    choice: LoopChoice = field(default_factory=LoopChoice)
    key_frame: KeyFrame = "first"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "video", metavar="VIDEO", type=Path, help="a video file, or a folder of JPEG, PNG or WebP frames"
    )
    parser.add_argument("sentences", metavar="SENTENCE", nargs="+", help="what to segment; one batch for all sentences")
    add_stream_argument(parser)
    add_bundle_argument(parser)
    parser.add_argument(
        "--output", type=Path, required=True, help="a new folder for masks, overlay.mp4 and result.json"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier run's results in --output")
    add_loop_arguments(parser)
    parser.add_argument(
        "--keyframe",
        default="first",
        metavar="first|N|auto|SCORES.json",
        help="where masks are propagated from, both ways: the first frame, a frame's number from 0, the one the "
        "model rates highest, or a JSON list of one score per frame whose highest is chosen (default: %(default)s)",
    )
    parser.add_argument(
        "--format",
        action="append",
        choices=(PNG, *FORMATS),
        default=[],
        help="write masks for other tools as well, to formats/NAME; give it once for each (png: masks/, always written)",
    )
    add_engine_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segments the video. Everything that can be known to be wrong is said before anything is written."""
    check_output_folder(arguments.output, arguments.overwrite)
    bundle = bundle_from_arguments(arguments)
    if _inside(arguments.output, arguments.video) or _inside(arguments.output, bundle):
        raise OutputError(f"{arguments.output}: lies in the video's or the bundle's folder; choose a folder of its own")
    formats = [name for name in dict.fromkeys(arguments.format) if name != PNG]
    request = Request(tuple(arguments.sentences), choice_from_arguments(arguments), arguments.keyframe)
    with (
        closing(open_video(arguments.video, terminal_bar, stream=arguments.stream)) as video,
        Segmenter.open(bundle, options_from_arguments(arguments)) as segmenter,
    ):
        segment_into(arguments.output, segmenter, video, request, overwrite=arguments.overwrite, formats=formats)
        print(
            f"{arguments.output}: {video.frame_count} frames, {len(arguments.sentences)} sentence(s); "
            "see overlay.mp4, result.json"
        )
        missing = damage(video)
        if missing is not None:
            print(f"{arguments.video}: damaged, only the frames that could be decoded were segmented: {missing}")
    return 0


def segment_into(
    output: Path,
    segmenter: Segmenter,
    video: Video,
    request: Request,
    *,
    overwrite: bool,
    formats: Sequence[str] = (),
    seen: Callable[[FrameResult], None] | None = None,
) -> None:
    """Segments a video into the folder `output`, with its masks in these formats of FORMATS.

    `seen` gets every result once its frame is handed to the writer.

    Errors: those of `Segmenter.segment` and `OutputWriter`.
    """
    pass_ = segmenter.segment(video, request.sentences, key_frame=request.key_frame, **asdict(request.choice))
    print_choice(segmenter)  # behind the checks: what was asked for wrongly is one line
    manifest = segmenter.bundle.manifest
    description = RunDescription(
        bundle=str(segmenter.bundle.directory),
        sentences=request.sentences,
        **asdict(request.choice),
        backend=segmenter.backend.name,
        backend_reason=segmenter.choice.reason,
        precision={name: f"{graph.compute}, weights {graph.weights}" for name, graph in manifest.graphs.items()},
        context_frames=pass_.context_frames,
        key_frame=pass_.key_frame,
    )
    with (
        OutputWriter.open(
            output, video, description, overwrite=overwrite, progress=terminal_bar, formats=formats
        ) as writer,
        closing(pass_.with_frames()) as results,
        Behind[tuple[Frame, FrameResult]](lambda pair: writer.write(*pair)) as writing,
    ):
        for pair in terminal_bar(results, len(pass_), "segmenting"):
            writing.put(pair)
            if seen is not None:
                seen(pair[1])


def _inside(path: Path, folder: Path) -> bool:
    return folder.is_dir() and folder.resolve() in (path.resolve(), *path.resolve().parents)
