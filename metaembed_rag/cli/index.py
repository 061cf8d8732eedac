"""``metaembed index``: files and folders into an index, and what is gone out of it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaembed_rag.cli.options import (
    add_describe,
    add_encoding,
    add_language,
    add_place,
    add_storage,
    add_wait,
    limit_passes,
    load_encoder,
    ocr_of,
    pictures_of,
    server_keywords,
    server_of,
)
from metaembed_rag.cli.output import answer, counted, first_sources, list_ignored, say, wrong_usage
from metaembed_rag.cli.remote import upload_to
from metaembed_rag.cli.values import limit, positive
from metaembed_rag.errors import MetaEmbedError, PageError, StoreError

if TYPE_CHECKING:
    from metaembed_rag.index import PageIndex
    from metaembed_rag.ingest import AddReport
    from metaembed_rag.pages import Limits

SUMMARY = "index files and folders"

_LOCAL = (
    *("device", "max_passes", "vectors", "format", "dimension", "language", "password", "prune"),
    *("reread", "follow_links", "max_page_seconds", "max_memory", "no_ocr", "wait"),
    *("ray", "ray_workers"),
)
"""Options that a server does not take."""
_THIS_MACHINE = "local"
"""The address of a Ray cluster that is started here."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed index``."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="PDFs, pictures, texts, Office documents, web pages, tables, e-mails, books, folders; "
        "on disk, or in a store: s3://bucket/folder/",
    )
    add_place(parser, or_server=True)
    add_wait(parser)
    add_encoding(parser)
    add_describe(parser)
    add_storage(parser)
    add_language(parser, "the index remembers it (default: english)")
    parser.add_argument("--password", help="for those PDFs that need one")
    _add_following(parser)
    _add_ray(parser)
    parser.add_argument(
        "--max-page-seconds",
        type=_seconds,
        metavar="S",
        help="seconds of computing that reading a page of a PDF may take (default: 60)",
    )
    parser.add_argument(
        "--max-memory",
        type=_mebibytes,
        metavar="MIB",
        help="memory that reading a PDF may take, in MiB (default: 2048)",
    )


def _add_following(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-failures",
        action="store_true",
        help="exit with 0 although files could not be read; they are listed all the same (default: "
        "exit with 1 until they are mended or gone)",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="remove the pages of sub-folders that are missing or empty now, too (default: they "
        "are kept and listed, because a disk may be unmounted)",
    )
    parser.add_argument(
        "--reread",
        action="store_true",
        help="read unchanged files again, too: what an earlier version did not read of their pages "
        "(pictures inside of pages) is added, the others stay as they are",
    )
    parser.add_argument(
        "--follow-links",
        action="store_true",
        help="read what links in a folder lead to, also outside of it",
    )


def _add_ray(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ray",
        nargs="?",
        const=_THIS_MACHINE,
        metavar="ADDRESS",
        type=_ray_address,
        help="have the workers of a Ray cluster read and encode: of the one at the address "
        "(ray://head:10001, head:6379, auto), or without one of one on this machine. PATH may be "
        "an address such as s3://bucket/docs then; write it before --ray",
    )
    parser.add_argument(
        "--ray-workers",
        type=positive,
        metavar="N",
        help="how many workers load the model (default: one a GPU, else one for two cores)",
    )


def _ray_address(text: str) -> str:
    """The address of a Ray cluster; a path that stands in its place is refused."""
    if text not in (_THIS_MACHINE, "auto") and not re.fullmatch(r"(ray://)?[^/\s]+:\d+", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address of a Ray cluster (ray://head:10001, head:6379, auto); write "
            f"each PATH before --ray"
        )
    return text


def _seconds(text: str) -> float:
    """Seconds that a page may take."""
    from metaembed_rag.pages.limits import MOST_SECONDS

    found = limit(text)
    if found > MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is over {MOST_SECONDS:,} seconds")
    return found


def _mebibytes(text: str) -> int:
    """Memory that reading may take, in MiB."""
    from metaembed_rag.pages.limits import MOST_MEMORY

    found = positive(text)
    if found > MOST_MEMORY // 1024**2:
        raise argparse.ArgumentTypeError(f"{text!r} is over {MOST_MEMORY // 1024**2:,} MiB")
    return found


def run(given: argparse.Namespace) -> int:
    """Index, and say what was done.

    The exit code is 1 when something could not be read, unless failures are allowed, or pages of a
    folder that is not there now were kept. Blank pages are no failure.
    """
    if given.ray is None:
        _check_paths(given)
        if given.ray_workers:
            raise wrong_usage("--ray-workers goes with --ray")
    elif given.describe is not None:
        raise wrong_usage("--describe does not go with --ray; describe pictures by a run without")
    elif given.reread:
        raise wrong_usage("--reread does not go with --ray; read files again by a run without")
    server = server_of(given, *_LOCAL)
    if server is not None:
        return upload_to(server, given)
    with _open(given) as index:
        return _sync(given, index)


def _sync(given: argparse.Namespace, index: PageIndex) -> int:
    with _told(given) as progress:
        run = _sync_here if given.ray is None else _sync_by_ray
        report = run(
            given,
            index,
            mode=given.mode,
            batch_size=given.batch_size,
            ocr=ocr_of(given),
            progress=progress,
            show_progress=not given.quiet,
            prune=given.prune,
            reread=given.reread,
            lock_timeout=given.wait,
            limits=_limits(given),
        )
    text = f"{report.summary}: {counted(len(index), 'page')} in {given.index}"
    answer(given, _as_dict(index, report), text)
    _list_skipped(report)
    _list_cut(report)
    _list_unpruned(report)
    failed = report.skipped and not given.allow_failures
    return 1 if failed or report.unpruned else 0


def _sync_here(given: argparse.Namespace, index: PageIndex, **how: Any) -> AddReport:
    return index.sync(given.paths, describe=given.describe, password=given.password, **how)


def _sync_by_ray(given: argparse.Namespace, index: PageIndex, **how: Any) -> AddReport:
    from metaembed_rag.ray import EncodingKeywords, RayOptions, sync_files

    encoder: EncodingKeywords = {
        "password": given.password,
        "limits": how["limits"],
        "device": given.device,
        "max_passes": given.max_passes,
    }
    options = RayOptions(None if given.ray == _THIS_MACHINE else given.ray, given.ray_workers)
    return sync_files(index, given.paths, options, encoder=encoder, model=given.model, **how)


@contextmanager
def _told(given: argparse.Namespace) -> Iterator[Callable[[int], None]]:
    """What hears of pages; where a run fails, ``--json`` names those that are in the index by then.

    The failure goes on to where it is said.
    """
    ids: list[str] = []

    def progress(done: int) -> None:
        ids.extend(getattr(done, "ids", ()))

    try:
        yield progress
    except (MetaEmbedError, OSError, MemoryError, KeyboardInterrupt) as error:
        if given.json and ids:
            why = str(error) or type(error).__name__
            answer(given, {"index": given.index, "acknowledged": ids, "error": why}, "")
        raise


def _limits(given: argparse.Namespace) -> Limits:
    from metaembed_rag.pages import Limits

    memory = None if given.max_memory is None else given.max_memory * 1024**2
    wanted = {"max_page_seconds": given.max_page_seconds, "max_memory": memory}
    chosen: dict[str, Any] = {name: one for name, one in wanted.items() if one is not None}
    return Limits(follow_links=given.follow_links, **chosen)


def _check_paths(given: argparse.Namespace) -> None:
    """Refuse at once when nothing that was named exists, before a model is loaded.

    An empty name, as an unset variable of a shell leaves it, would be the folder worked in.
    """
    paths: Sequence[str] = given.paths
    if not all(paths):
        raise wrong_usage("an empty PATH names no file and no folder; write . for this folder")
    if not any(_exists(path) for path in paths):
        for why in _gone(given):
            raise why
        raise PageError(", ".join(paths), "there is no such file or folder; check the path")


def _gone(given: argparse.Namespace) -> Iterator[PageError]:
    """What to do about paths that are not there any more, and have pages in the index."""
    from metaembed_rag.index import PageIndex

    if not given.index or server_of(given, *_LOCAL) is not None:
        return
    how = {"collection": given.collection, "create": False, **server_keywords(given)}
    try:
        with PageIndex.open(given.index, **how) as index:  # and no model
            yield from filter(None, map(index.why_missing, given.paths))
    except StoreError:  # there is no index
        return


def _exists(path: str) -> bool:
    from metaembed_rag.pages.folders import expanded
    from metaembed_rag.pages.remote import is_remote

    try:
        return is_remote(path) or expanded(path).exists()
    except (OSError, RuntimeError, ValueError):  # too long for a name; the home of nobody
        return False


def _open(given: argparse.Namespace) -> PageIndex:
    from metaembed_rag.index import PageIndex

    # Without a model named, the index loads its own when it needs one, or the default if it is new.
    index = PageIndex.open(
        given.index,
        None if given.model is None else load_encoder(given),
        collection=given.collection,
        vectors=given.vectors,
        format=given.format,
        dimension=given.dimension,
        **server_keywords(given),
        device=given.device,
        language=given.language,
        pictures=pictures_of(given),
    )
    if given.language is not None:
        index.set_language(given.language, lock_timeout=given.wait)
    if given.max_passes:
        limit_passes(index.encoder, given.max_passes)
    return index


def _as_dict(index: PageIndex, report: AddReport) -> dict[str, Any]:
    info = index.info()
    counts = ("added", "updated", "unchanged", "removed")
    return {
        **{name: info[name] for name in ("index", "model", "pages")},
        **{name: getattr(report, name) for name in counts},
        "skipped": [{"source": e.source, "reason": e.reason} for e in report.skipped],
        "notes": [{"source": e.source, "reason": e.reason} for e in report.notes],
        "unpruned": [{"source": e.source, "reason": e.reason} for e in report.unpruned],
        "blank": [error.source for error in report.blank],
        "ignored": [path.as_posix() for path in report.ignored],
        "cut": [{"id": id, "unread_tokens": count} for id, count in report.cut.items()],
        "acknowledged": report.acknowledged,
        "moved": report.moved,
        "seconds": {key: round(value, 3) for key, value in report.seconds.items()},
    }


def _list_skipped(report: AddReport) -> None:
    list_ignored([path.as_posix() for path in report.ignored])
    if report.notes:
        pages = counted(len(report.notes), "page is", "pages are")
        shows = "it shows" if len(report.notes) == 1 else "they show"
        say(f"{pages} in the index, but not with all that {shows}:")
        for note in report.notes:
            say(f"  {note}")
    if report.blank:
        pages = counted(len(report.blank), "page has", "pages have")
        say(
            f"{pages} nothing to read (blank, or a picture without letters for a model that reads "
            f"text), left out of the index: {first_sources(report.blank)}"
        )
        if any(map(_is_of_picture_file, report.blank)):
            say(
                "  a picture is found by a file name or a caption that says what it shows, or "
                "where it is described (--describe)"
            )
    if report.skipped:
        say(f"{len(report.skipped)} could not be read:")
        for error in report.skipped:
            say(f"  {error}")


def _is_of_picture_file(error: PageError) -> bool:
    """Whether a page that was left out is a picture."""
    from metaembed_rag.pages import KINDS

    path = Path(error.source.rpartition("#")[0])
    return KINDS.get(path.suffix.lower()) == "image"


def _list_unpruned(report: AddReport) -> None:
    for error in report.unpruned:
        say(f"metaembed: {error}")


def _list_cut(report: AddReport) -> None:
    if not report.cut:
        return
    pages = counted(len(report.cut), "page is", "pages are")
    say(
        f"{pages} longer than what the model reads; the words at the end are found by "
        f"hybrid search only (--max-passes in a new index reads more):"
    )
    for id, count in report.cut.items():
        say(f"  {id}: {counted(count, 'token was', 'tokens were')} not read")
