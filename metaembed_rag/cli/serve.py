"""``metaembed serve``: one warm process that answers over HTTP, and a page to search it."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaembed_rag.cli.options import (
    OF_INDEX,
    add_device,
    add_model_of_index,
    add_place,
    load_encoder,
    open_index,
    refuse,
)
from metaembed_rag.cli.output import say, wrong_usage
from metaembed_rag.cli.values import positive, whole
from metaembed_rag.cli.variables import TOKEN
from metaembed_rag.errors import ServerError

if TYPE_CHECKING:
    from metaembed_rag.serving import ServerSettings

SUMMARY = "serve an index over HTTP, with a page to search it; or a model alone"

_UPLOADS = "uploads"
"""Folder inside that of the index, where uploads lie by default."""
_MIB = 1024**2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed serve``."""
    add_place(parser, optional=True)
    add_device(parser)
    add_model_of_index(parser)
    parser.add_argument(
        "--encoder-only",
        action="store_true",
        help="serve the model alone, without an index: vectors of texts and pictures for machines "
        "without torch (--model http://host:port there); --model names it (default: small)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at (default: 127.0.0.1, this machine only); any other needs a "
        "token",
    )
    parser.add_argument(
        "--port", type=whole, default=8000, help="default: 8000; 0 takes a free one"
    )
    _add_access(parser)
    _add_limits(parser)


def _add_access(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token",
        help=f"what every request has to show; better in the environment variable {TOKEN} or in "
        f"--token-file, since other users see the arguments of a command",
    )
    parser.add_argument("--token-file", metavar="FILE", help="a file that holds the token")
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of this origin (https://example.org) use the server; may be repeated",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="answer to this name only (default: to localhost on loopback, to all elsewhere); may "
        "be repeated",
    )
    parser.add_argument("--tls-certificate", metavar="FILE", help="speak HTTPS (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", help="of the certificate")
    parser.add_argument("--read-only", action="store_true", help="no uploads and no deletions")
    parser.add_argument(
        "--uploads",
        metavar="DIR",
        help="where uploaded files are kept (default: uploads in the folder of the index)",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-upload", type=positive, default=200, metavar="MIB", help="a request (default: 200)"
    )
    parser.add_argument(
        "--rate",
        type=positive,
        metavar="N",
        help="requests a minute of one client (default: 1200, on loopback no limit)",
    )
    parser.add_argument("--threads", type=positive, default=2, help="searches at once (default: 2)")
    parser.add_argument(
        "--waiting", type=positive, default=64, help="searches that wait at most (default: 64)"
    )
    parser.add_argument(
        "--connections", type=positive, default=256, help="open at once at most (default: 256)"
    )


def run(given: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    if given.encoder_only:
        return _run_encoder(given)
    if not given.index:
        raise wrong_usage("name the index with --index DIR, or serve a model: --encoder-only")
    from metaembed_rag.serving import serve
    from metaembed_rag.serving.running import listen

    settings = _settings(given)
    with listen(settings) as taken:  # before seconds go into loading
        say("metaembed: loading the model …")
        with open_index(given) as index:
            pages = len(index)

            def ready(address: str) -> None:
                say(f"metaembed: serving {pages:,} pages of {given.index} at {address}")
                say("metaembed: open it in a browser; Ctrl-C ends it")

            serve(index, settings, listening=taken, ready=ready)
    say("metaembed: stopped; what was acknowledged is stored")
    return 0


def _run_encoder(given: argparse.Namespace) -> int:
    """Serve a model without an index."""
    from metaembed_rag.model import OrderedEncoder
    from metaembed_rag.model.checkpoints import MODEL_VARIABLE
    from metaembed_rag.serving import serve_encoder
    from metaembed_rag.serving.running import listen

    if given.index_named:
        raise wrong_usage("--index does not go with --encoder-only, which serves no index")
    names = (*OF_INDEX, "uploads")
    refuse(given, names, "does not go with --encoder-only, which serves no index")
    given.index, given.model = None, given.model or os.environ.get(MODEL_VARIABLE)
    settings = _settings(given)
    with listen(settings) as taken:  # before seconds go into loading
        say("metaembed: loading the model …")
        encoder = load_encoder(given)
        if not isinstance(encoder, OrderedEncoder):
            raise ServerError(f"{encoder.name} cannot be served")

        def ready(address: str) -> None:
            say(f"metaembed: {encoder.name} encodes at {address}")
            say(f"metaembed: elsewhere, --model {address}; Ctrl-C ends it")

        serve_encoder(encoder, settings, listening=taken, ready=ready)
    say("metaembed: stopped")
    return 0


def _settings(given: argparse.Namespace) -> ServerSettings:
    from metaembed_rag.serving import ServerSettings

    chosen: dict[str, Any] = {
        "token": _token(given),
        "uploads": _uploads(given),
        "max_upload_bytes": given.max_upload * _MIB,
        "requests_per_minute": given.rate,
        "origins": tuple(given.allow_origin),
        "hosts": tuple(given.allow_host),
        "certificate": _file(given.tls_certificate),
        "key": _file(given.tls_key),
    }
    same = {field.name for field in fields(ServerSettings)} & vars(given).keys() - chosen.keys()
    return ServerSettings(**chosen, **{name: getattr(given, name) for name in same})


def _token(given: argparse.Namespace) -> str | None:
    """The token, of the option, the file or the environment.

    Raises:
        ServerError: The file cannot be read.
    """
    if given.token is not None and given.token_file is not None:
        raise wrong_usage("give --token or --token-file, not both")
    if given.token_file is None:
        return given.token or os.environ.get(TOKEN) or None
    try:
        return Path(given.token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServerError(f"the token file {given.token_file} cannot be read: {error}") from error


def _uploads(given: argparse.Namespace) -> Path | None:
    """Where uploads go: as asked for, or into the folder of an index that has one."""
    if given.uploads is not None:
        return Path(given.uploads).expanduser()
    if given.index is None:
        return None
    is_server = given.index.startswith(("http://", "https://", "chroma-cloud://"))
    return None if is_server else Path(given.index).expanduser() / _UPLOADS


def _file(name: str | None) -> Path | None:
    """Raises ServerError: There is no such file."""
    if name is None:
        return None
    path = Path(name).expanduser()
    if not path.is_file():
        raise ServerError(f"{name} is no file")
    return path
