"""`glus-edge serve`: a page in the browser, and an API, that segment live video."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from glus_edge.runtime.commands.arguments import (
    add_bundle_argument,
    add_engine_arguments,
    add_loop_arguments,
    add_reconnect_argument,
    bundle_from_arguments,
    choice_from_arguments,
    opened_segmenter,
    options_from_arguments,
)
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.policies.deadline import Deadline
from glus_edge.runtime.serving.live_connection import LiveSettings
from glus_edge.runtime.serving.server import LiveServer, ServerSettings
from glus_edge.runtime.video.live_source import LiveSource
from glus_edge.runtime.video.picture_size import LARGEST_PICTURE

_SERVER, _LIVE = ServerSettings(), LiveSettings()


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "--source",
        metavar="SOURCE",
        help="show this camera, address or file (see `stream`), to one client at a time, in place of clients' own frames",
    )
    add_reconnect_argument(parser)
    parser.add_argument(
        "--host",
        default=_SERVER.host,
        help="where to listen; 0.0.0.0: to everyone (default: %(default)s, this machine)",
    )
    parser.add_argument("--port", type=int, default=_SERVER.port, help="0: one that is free (default: %(default)s)")
    parser.add_argument(
        "--token", help="what clients must say; where others can reach the server one is made if none is given"
    )
    parser.add_argument(
        "--clients", type=int, default=_SERVER.clients, metavar="N", help="at once (default: %(default)s)"
    )
    parser.add_argument(
        "--sentences", type=int, default=_LIVE.most_sentences, metavar="N", help="of a client (default: %(default)s)"
    )
    parser.add_argument(
        "--largest-picture",
        type=int,
        default=_LIVE.largest_picture,
        metavar="N",
        help="pixels of a frame that a client sends; larger ones are refused before they are decoded (default: %(default)s)",
    )
    parser.add_argument(
        "--certificate", type=Path, metavar="PEM", help="serve HTTPS, which browsers want before they show a camera"
    )
    parser.add_argument("--key", type=Path, metavar="PEM", help="the certificate's key, if it is not in the same file")
    parser.add_argument("--deadline-ms", type=float, metavar="MS", help="as for `stream`")
    add_bundle_argument(parser)
    add_loop_arguments(parser, live=True)
    add_engine_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serves until Ctrl-C or SIGTERM."""
    for name in ("clients", "sentences", "largest-picture"):
        value = getattr(arguments, name.replace("-", "_"))
        if value < 1:
            raise InputError(f"--{name}: got {value}, expected at least 1")
    if arguments.deadline_ms is not None:
        Deadline(arguments.deadline_ms)  # refuses what is none
    choice, bundle, options = (
        choice_from_arguments(arguments),
        bundle_from_arguments(arguments),
        options_from_arguments(arguments),
    )
    choice.rules()
    live = LiveSettings(
        deadline_ms=arguments.deadline_ms,
        most_sentences=arguments.sentences,
        largest_picture=min(arguments.largest_picture, LARGEST_PICTURE),
    )
    if arguments.source is not None:
        with LiveSource(
            arguments.source, reconnect_s=arguments.reconnect
        ) as source:  # one that cannot be opened is said now
            live = replace(live, source=arguments.source, source_name=source.name, reconnect_s=arguments.reconnect)
    settings = ServerSettings(
        arguments.host,
        arguments.port,
        arguments.token,
        arguments.clients if arguments.source is None else 1,
        arguments.certificate,
        arguments.key,
    )
    try:
        with LiveServer(lambda: opened_segmenter(bundle, options), choice, settings, live) as server:
            print(f"glus-edge: {server.address} (Ctrl-C ends it)", file=sys.stderr, flush=True)
            server.run()
    except KeyboardInterrupt:  # how a server ends
        return 0
    return 0
