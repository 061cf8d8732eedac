"""``metaembed mcp``: an index for agents, by the Model Context Protocol."""

from __future__ import annotations

import argparse
import os

from metaembed_rag.cli.options import add_device, add_model_of_index, add_place, open_index
from metaembed_rag.cli.output import counted, say, show_warnings_of_all, shown, wrong_usage

SUMMARY = "give agents pages of an index, by the Model Context Protocol"

_VARIABLE = "METAEMBED_TOKEN"
_PORT = 8765


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed mcp``."""
    add_place(parser)
    add_device(parser)
    add_model_of_index(parser)
    parser.add_argument(
        "--http",
        action="store_true",
        help="answer over HTTP at /mcp instead of standard input and output",
    )
    parser.add_argument("--host", help="with --http: where to listen (default: 127.0.0.1)")
    parser.add_argument(
        "--port", type=port, metavar="PORT", help=f"with --http: default {_PORT}; 0: any free one"
    )
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        help=f"with --http: what clients have to send as a bearer token, beyond loopback always; "
        f"better in the environment variable {_VARIABLE}, which no list of processes shows",
    )
    parser.add_argument(
        "--max-picture-bytes",
        type=whole,
        metavar="N",
        help="all pictures of an answer together, in base64 (default: 900,000; 0: text alone)",
    )


def run(given: argparse.Namespace) -> int:
    """Answer until the client goes or the process is stopped."""
    if not given.http and any(one is not None for one in (given.host, given.port, given.token)):
        raise wrong_usage("--host, --port and --token are for --http")
    from metaembed_rag.mcp_server import HttpPlace, PageTools, serve_http, serve_stdio
    from metaembed_rag.mcp_server.pages import LIMITS
    from metaembed_rag.pages.sending import PictureLimits

    place = HttpPlace(
        given.host or "127.0.0.1",
        _PORT if given.port is None else given.port,
        given.token or os.environ.get(_VARIABLE) or None,
    )
    most = LIMITS.max_bytes if given.max_picture_bytes is None else given.max_picture_bytes
    with open_index(given) as index:
        tools = PageTools(index, PictureLimits(most, most, LIMITS.max_side))
        say(f"metaembed: {counted(len(index), 'page')} of {shown(given.index, in_one_line=True)}")
        show_warnings_of_all()
        tools.load_soon()
        if given.http:
            serve_http(tools, place, lambda url: say(f"metaembed: agents find it at {url}"))
        else:
            serve_stdio(tools)
    return 0


def port(text: str) -> int:
    """A port, or 0 for any that is free."""
    number = whole(text)
    if number > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: they end at 65535")
    return number


def whole(text: str) -> int:
    """A whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)
