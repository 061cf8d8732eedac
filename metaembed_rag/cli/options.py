"""Arguments that several commands share, and what they name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from metaembed_rag.cli.output import say, wrong_usage
from metaembed_rag.cli.values import budget, describer, header, limit, positive, seconds
from metaembed_rag.cli.variables import (
    CHROMA_AUTH,
    CHROMA_HEADERS,
    CHROMA_TOKEN,
    PICTURES,
    SERVER,
    TOKEN,
)
from metaembed_rag.errors import StoreError

if TYPE_CHECKING:
    from metaembed_rag.federation.client import Server
    from metaembed_rag.index import PageIndex
    from metaembed_rag.model.protocol import Encoder
    from metaembed_rag.pages.reading import Ocr

OF_CHROMA = {**dict.fromkeys(("tenant", "database", "header", "ca_file")), "insecure": False}
"""Options about a Chroma server, and their defaults."""

OF_INDEX = ("collection", *OF_CHROMA, "pictures")
"""Options about an index, besides the one that names it."""


def add_common(parser: argparse.ArgumentParser) -> None:
    """What every command takes: ``--json``, ``--quiet``, ``--debug``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


class _Named(argparse.Action):
    """Keeps a value, and that it was typed: the environment did not say it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, values)
        namespace.index_named = True
        namespace.indexes = (*namespace.indexes, values)


def add_place(
    parser: argparse.ArgumentParser,
    *,
    or_server: bool = False,
    optional: bool = False,
    several: bool = False,
    named: str = "--collection",
) -> None:
    """Where the index is: ``--index`` and ``--collection``; ``--server`` may stand for it.

    Args:
        parser: Of a command.
        or_server: Take ``--server``, too.
        optional: The command looks itself whether an index is named.
        several: The command takes several; all that were named are in ``indexes``.
        named: The option of the collection's name.
    """
    default = os.environ.get("METAEMBED_INDEX") or None
    parser.set_defaults(index_named=False, indexes=())
    parser.add_argument(
        "--index",
        action=_Named,
        metavar="DIR",
        default=default,
        required=default is None and not (or_server or optional),
        help="folder of the index, http(s)://host:port of a Chroma server, or "
        "chroma-cloud://tenant/database (its key in the environment variable CHROMA_API_KEY)"
        + ("; named several times, all are searched as one" if several else ""),
    )
    if or_server:
        add_server(parser)
        parser.set_defaults(usage=parser.format_usage)
    add_pictures(parser)
    parser.add_argument(
        named, dest="collection", default="pages", help="name in Chroma (default: pages)"
    )
    add_chroma(parser)
    parser.add_argument(
        "--timeout",
        type=limit,
        metavar="SECONDS",
        help="how long a server may keep silent, whichever it is: Chroma's (default: 60), one that "
        "encodes or describes (default: 120)",
    )


def add_chroma(parser: argparse._ActionsContainer) -> None:
    """How a Chroma server is asked; its credentials are taken from the environment alone."""
    parser.add_argument("--tenant", metavar="NAME", help="of a Chroma server (default: its own)")
    parser.add_argument("--database", metavar="NAME", help="of that tenant (default: its own)")
    parser.add_argument(
        "--header",
        action="append",
        type=header,
        metavar="'NAME: VALUE'",
        help="send it with each request to a Chroma server; may be repeated. Secrets go into the "
        f"environment: {CHROMA_TOKEN}, {CHROMA_AUTH} (user:password) or {CHROMA_HEADERS} (one a "
        "line)",
    )
    parser.add_argument(
        "--ca-file", metavar="PEM", help="certificate of a Chroma server, or of its authority"
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="do not check a Chroma server's certificate: anybody in between can read and change "
        "what is sent, the key too",
    )


def server_keywords(given: argparse.Namespace, of: str = "") -> dict[str, Any]:
    """How a Chroma server is asked, as keywords of ``PageIndex.open``.

    Args:
        given: The arguments.
        of: What the names of its options begin with: ``"source-"`` for that of a source.
    """

    def told(name: str) -> Any:
        return getattr(given, f"{of}{name}".replace("-", "_"))

    ca_file, insecure, headers = told("ca-file"), told("insecure"), told("header")
    if ca_file and insecure:
        raise wrong_usage(f"name --{of}ca-file or --{of}insecure, not both")
    return {
        "tenant": told("tenant"),
        "database": told("database"),
        "headers": dict(headers) if headers else None,
        "verify": ca_file or (False if insecure else None),
        "timeout": given.timeout,
    }


def add_server(parser: argparse.ArgumentParser) -> None:
    """Whom to ask instead of opening an index: ``--server``."""
    parser.add_argument(
        "--server",
        metavar="URL",
        help="ask a running `metaembed serve` at this address and load nothing here (default: "
        f"{SERVER}, where no --index is typed; its token in {TOKEN})",
    )


def server_of(given: argparse.Namespace, *refused: str) -> Server | None:
    """The server that a command is to ask; None where it opens an index itself.

    ``--index`` on the command line is stronger than the environment variable of a server, which is
    stronger than that of an index.

    Args:
        given: The arguments.
        *refused: Options that a server does not take.
    """
    if given.server and given.index_named:
        raise wrong_usage("name --server or --index, not both")
    address = given.server or ("" if given.index_named else os.environ.get(SERVER, ""))
    if not address:
        if not given.index:
            say(given.usage().rstrip())
            raise wrong_usage("name the index with --index DIR, or a server with --server URL")
        return None
    names = (*refused, *OF_INDEX, "timeout")
    refuse(given, names, "does not go with --server, whose own settings count")
    from metaembed_rag.federation.client import Server

    return Server(address, os.environ.get(TOKEN, ""))


def refuse(given: argparse.Namespace, names: Iterable[str], why: str) -> None:
    """Refuse options that would be passed over; ``why`` ends the sentence that begins with one."""
    for name in names:
        value = getattr(given, name)
        if value and value != "pages":
            raise wrong_usage(f"--{name.replace('_', '-')} {why}")


def add_wait(parser: argparse.ArgumentParser) -> None:
    """How long a command that writes waits for another one: ``--wait``."""
    parser.add_argument(
        "--wait",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="wait so long for another process that is writing to the index (default: not at all)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Where a model computes: ``--device``."""
    parser.add_argument("--device", help="cpu, cuda, mps (default: the best there is)")


def add_model(parser: argparse.ArgumentParser, kinds: str) -> None:
    """Which model: ``--model``, whose help names the ``kinds`` that the command takes."""
    parser.add_argument(
        "--model",
        default=os.environ.get("METAEMBED_MODEL") or None,
        help=f"small, mini, {kinds} (default: small)",
    )


def add_storage(parser: argparse.ArgumentParser) -> None:
    """How a new index stores vectors: ``--vectors``, ``--format``, ``--dimension``."""
    parser.add_argument("--vectors", type=positive, help="vectors stored a page (default: 64)")
    parser.add_argument(
        "--format",
        choices=("fp16", "int8", "int4", "bits"),
        help="how a new index stores vectors (default: int8); see `metaembed plan`",
    )
    parser.add_argument(
        "--dimension",
        type=positive,
        metavar="D",
        help="values stored a vector, where the model was trained for it (default: all)",
    )


def add_language(parser: argparse._ActionsContainer, lasting: str) -> None:
    """How words are read: ``--language``.

    Args:
        parser: Of the command.
        lasting: For how long it counts.
    """
    parser.add_argument(
        "--language",
        metavar="NAME",
        help="how words are read in hybrid search: a language (german, de), auto for each page's "
        f"own, or none for whole words; {lasting}",
    )


def add_model_of_index(parser: argparse.ArgumentParser) -> None:
    """The model of an index that is there: ``--model``, where the user has to name it."""
    parser.add_argument(
        "--model",
        help="the model that made the index; needed once on this machine where that is a server "
        "or would be downloaded, because an index is not believed in it",
    )


def add_budget(parser: argparse.ArgumentParser, help: str, **settings: Any) -> None:
    """How many vectors a side take part: ``--budget``, by default without ``auto``."""
    parser.add_argument("--budget", metavar="R_Q,R_C", help=help, **{"type": budget, **settings})


def add_encoding(parser: argparse.ArgumentParser) -> None:
    """How pages are encoded: the model, what it is given of a page, how many at a time."""
    add_device(parser)
    add_model(parser, "a folder, a hub id, or http://host:port#name of an encoding server")
    parser.add_argument(
        "--mode",
        choices=("fused", "image", "text"),
        default="fused",
        help="what of a page is encoded: picture and text, the picture, or the text",
    )
    parser.add_argument(
        "--ocr",
        choices=("always", "auto", "never"),
        default="auto",
        help="read pictures by OCR: always, where text is missing or unreadable (default), never",
    )
    parser.add_argument("--no-ocr", action="store_true", help="the same as --ocr never")
    parser.add_argument(
        "--ocr-language",
        metavar="NAME",
        help="what OCR reads: by default Latin letters, Chinese and Japanese; cyrillic, arabic, "
        "korean and others need a model in the folder METAEMBED_OCR_MODELS (docs/ocr.md)",
    )
    parser.add_argument("--batch-size", type=positive, default=64, help="pages at a time")
    add_passes(parser)


def add_passes(parser: argparse.ArgumentParser) -> None:
    """How much of a long text is read: ``--max-passes``."""
    parser.add_argument(
        "--max-passes",
        type=positive,
        metavar="N",
        help="a text longer than the model's window is read in up to N passes (default: 16)",
    )


def add_describe(parser: argparse.ArgumentParser) -> None:
    """Who writes what is on pictures: ``--describe``."""
    parser.add_argument(
        "--describe",
        type=describer,
        metavar="URL#MODEL",
        default=os.environ.get("METAEMBED_DESCRIBE") or None,
        help="have a vision model describe pictures in words, which are then found as text is: the "
        "address of a server with OpenAI's API, such as http://localhost:11434#llava (its key in "
        "the environment variable METAEMBED_DESCRIBE_KEY); #llava?pages=all describes every page",
    )


def ocr_of(given: argparse.Namespace) -> Ocr:
    """When pictures are read by OCR: ``--ocr``, or never by ``--no-ocr``.

    Raises:
        ModelError: There is no model for ``--ocr-language``.
    """
    from metaembed_rag.pages.ocr_languages import LANGUAGE, OcrLanguage

    policy: Ocr = "never" if given.no_ocr else given.ocr
    if given.ocr_language is not None:
        os.environ[LANGUAGE] = given.ocr_language  # where it is named for workers and caches, too
    OcrLanguage.of()  # one that is not there is told before anything is read
    return policy


def open_index(given: argparse.Namespace) -> PageIndex:
    """Open the index that is there, with the model that it was made with."""
    from metaembed_rag.index import PageIndex

    return PageIndex.open(
        given.index,
        load_encoder(given) if getattr(given, "model", None) else None,
        collection=given.collection,
        create=False,
        **server_keywords(given),
        device=getattr(given, "device", None),
        language=getattr(given, "language", None),
        pictures=pictures_of(given),
    )


def add_pictures(parser: argparse._ActionsContainer) -> None:
    """Where the pictures of an index are: ``--pictures``."""
    parser.add_argument(
        "--pictures",
        metavar="URL",
        help="where pictures of pages are kept: s3://bucket/folder or another address that fsspec "
        f"knows, or a folder (default: {PICTURES}, else where the index says, else beside it)",
    )


def pictures_of(given: argparse.Namespace) -> str | None:
    """Where pictures are, as ``--pictures`` or else the environment says; None for neither.

    Not a default of the option: it would be refused beside ``--server``, whose own settings count.
    """
    return given.pictures or os.environ.get(PICTURES) or None


def load_encoder(given: argparse.Namespace, several: Sequence[str] = ()) -> Encoder:
    """Load the model that ``--model`` names, or the default one.

    A shipped name is any version of it, where the command has an index: the one that made that, or
    the first of ``several`` that can be opened here.
    """
    from metaembed_rag import opening
    from metaembed_rag.model.checkpoints import DEFAULT_MODEL

    name = given.model or DEFAULT_MODEL
    for index in several or filter(None, [getattr(given, "index", None)]):
        try:
            name = opening.name_for_index(name, index, given.collection, **server_keywords(given))
            break
        except StoreError:
            if not several:  # else a `metaembed serve`, or whoever opens it says why
                raise
    encoder = opening.load_encoder(name, given.device)
    if getattr(given, "max_passes", None):
        limit_passes(encoder, given.max_passes)
    return encoder


def limit_passes(encoder: Encoder, number: int) -> None:
    """Read the text of a page in at most this many passes, where the encoder knows of passes."""
    if hasattr(encoder, "max_passes"):
        encoder.max_passes = number
