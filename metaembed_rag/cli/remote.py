"""What ``--server`` makes of the commands ``search``, ``index`` and ``delete``."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaembed_rag.cli.output import answer, counted, list_ignored, say, wrong_usage
from metaembed_rag.errors import ServerError

if TYPE_CHECKING:
    from metaembed_rag.federation.client import Server

_SNIPPET = 200
"""Characters of a page's text that are printed."""
_FORM = 1_000
"""Bytes around a file in the form that brings it."""
_COUNTS = ("added", "updated", "unchanged", "removed")


def search(server: Server, asked: Mapping[str, Any], image: str | None) -> dict[str, Any]:
    """What a server finds.

    Args:
        server: Is asked.
        asked: As ``POST /search`` takes it; None stands for what was not said.
        image: A file whose picture is asked for, too; None for none.

    Raises:
        PageError: The file cannot be read.
        ServerError: The server says what is wrong, or does not answer.
    """
    from metaembed_rag.federation.client import file_part

    return server.search(asked, None if image is None else file_part("image", image))


def as_dict(server: Server, found: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object of ``metaembed search --json``, of a server's answer."""
    hybrid, plan = found["scoring"] == "hybrid", found["plan"]
    told = {
        "scoring": found["scoring"] if hybrid else None,
        "words": found["words"],
        "plan": plan if plan is not None and plan["way"] == "auto" else None,
        "note": found["note"],
    }
    return {
        **{name: found[name] for name in ("query", "budget", "seconds")},
        **{name: value for name, value in told.items() if value},
        "hits": [_hit_dict(server, hit) for hit in found["hits"]],
    }


def as_text(server: Server, found: Mapping[str, Any]) -> str:
    """The lines of ``metaembed search``, of a server's answer."""
    r_q, r_c = found["budget"]
    about = f"budget ({r_q},{r_c})" + (", with BM25" if found["scoring"] == "hybrid" else "")
    plan = found["plan"] or {}
    if found["scoring"] != "hybrid" and found["words"]:
        about += f", {found['words']}"
    if plan.get("way") == "auto":
        promised = f"recall {plan['recall']:.3f}, {plan['ms']:.1f} ms expected"
        about += f", chosen by the calibration ({promised})"
    hits = found["hits"]
    head = f"{about}, {len(hits)} of {found['pages']} pages, {found['seconds'] * 1000:.0f} ms"
    lines = [line for hit in hits for line in _lines(server, hit)]
    if not hits and found["note"]:
        lines.append(f"\n{found['note']}")
    return "\n".join([head, *lines])


def delete_from(server: Server, given: argparse.Namespace) -> int:
    """Let a server delete pages; the exit code is 1 when a name matched nothing."""
    from metaembed_rag.federation.client import escaped

    paths = {id: f"/pages/{escaped(id)}" for id in given.id}
    paths |= {source: f"/pages?source={escaped(source)}" for source in given.source}
    deleted, unknown = 0, []
    for name, path in paths.items():
        try:
            deleted += server.delete(path)["deleted"]
        except ServerError as error:
            unknown.append(f"{name}: {error}")
    pages = server.get("/info")["pages"]
    found = {"index": server.address, "deleted": deleted, "pages": pages}
    text = f"{counted(deleted, 'page')} deleted: {counted(pages, 'page')} in {server.address}"
    answer(given, found, text)
    for line in unknown:
        say(f"metaembed: {line}")
    return 1 if unknown else 0


def upload_to(server: Server, given: argparse.Namespace) -> int:
    """Send files to a server, one after the other, and say what became of them."""
    info = server.get("/info")
    if not info["uploads"]:
        raise ServerError(f"{server.address} takes no uploads; see metaembed serve --uploads")
    ignored: list[str] = []
    files = list(_files(given.paths, info["suffixes"], ignored))
    if not files:
        raise wrong_usage(f"nothing to send: files of these kinds are read: {info['suffixes']}")
    twice = [name for name, count in Counter(file.name for file in files).items() if count > 1]
    if twice:
        raise wrong_usage(
            f"several files are called {twice[0]!r}, and a server knows uploads by their names: "
            f"rename them, or run `metaembed index` beside it"
        )
    done = [_sent(server, file, info, quiet=given.quiet) for file in files]
    total: dict[str, Any] = {name: sum(one[name] for one in done) for name in _COUNTS}
    total["blank"] = sum(one["blank"] for one in done)
    total["ignored"] = ignored
    for name in ("skipped", "notes"):
        total[name] = [line for one in done for line in one[name]]
    pages = server.get("/info")["pages"]
    counts = ", ".join(f"{total[name]} {name}" for name in _COUNTS)
    text = (
        f"{counts}, {len(total['skipped'])} skipped: {counted(pages, 'page')} in {server.address}"
    )
    answer(given, {"index": server.address, "pages": pages, **total}, text)
    list_ignored(ignored)
    for line in total["skipped"]:
        say(f"  {line['source']}: {line['reason']}")
    return 1 if total["skipped"] and not given.allow_failures else 0


def _sent(server: Server, file: Path, info: Mapping[str, Any], *, quiet: bool) -> dict[str, Any]:
    """What became of one file, which is sent where the server takes such a one."""
    if not file.exists():
        return _skipped(file, "there is no such file or folder; check the path")
    if file.suffix.lower() not in info["suffixes"]:
        return _skipped(file, f"is of no kind that the server reads: {info['suffixes']}")
    size, most = file.stat().st_size, info["max_upload_bytes"]
    if not size:
        return _skipped(file, "is empty (0 bytes); delete it or make it again")
    if size > most - _FORM:
        return _skipped(file, f"is larger than the {most:,} bytes that the server takes")
    return _uploaded(server, file, quiet=quiet)


def _uploaded(server: Server, file: Path, *, quiet: bool) -> dict[str, Any]:
    """What became of one file; one that the server does not take is skipped.

    Raises:
        ServerError: The server broke off, and may not have stored all of it.
    """
    from metaembed_rag.federation.client import file_part

    for name, data in server.events("/pages", [file_part("files", str(file))]):
        if name == "progress" and not quiet:
            say(f"{data['file']}: {counted(data['done'], 'page')}")
        elif name == "done":
            return data
        elif name == "error" and data["status"] in (413, 422):
            return _skipped(file, data["error"])
        elif name == "error":
            raise ServerError(data["error"])
    raise ServerError(f"{server.address} broke off while it read {file.name}; send it again")


def _skipped(file: Path, why: str) -> dict[str, Any]:
    """What became of a file that the server does not take."""
    skipped = [{"source": file.name, "reason": why}]
    return {**dict.fromkeys((*_COUNTS, "blank"), 0), "skipped": skipped, "notes": []}


def _files(paths: Iterable[str], suffixes: Sequence[str], ignored: list[str]) -> Iterator[Path]:
    """What is named, there or not, and in named folders the files that are read; no links there.

    Files of other kinds in folders are added to those that are ``ignored``, except hidden ones.
    """
    for path in map(Path, paths):
        path = path.expanduser()
        if not path.is_dir():
            yield path
        for folder, folders, names in os.walk(path):
            folders.sort()
            for one in (Path(folder, name) for name in sorted(names)):
                if one.suffix.lower() not in suffixes:
                    ignored += [] if one.name.startswith(".") else [one.as_posix()]
                elif not one.is_symlink():
                    yield one


def _hit_dict(server: Server, hit: Mapping[str, Any]) -> dict[str, Any]:
    same = ("rank", "score", "id", "source", "page", "text")
    rest = ("text_from", "maxsim", "bm25", "snippet", "confidence")
    return {
        **{name: hit[name] for name in same},
        "image": server.absolute(hit["image"]),
        **{name: hit[name] for name in rest if hit.get(name) is not None},
    }


def _lines(server: Server, hit: Mapping[str, Any]) -> Iterator[str]:
    line = f"\n{hit['rank']}. {hit['score']:.3f}  {hit['source']}  page {hit['page']}"
    if hit["bm25"] is not None:
        line += f"  (vectors {hit['maxsim']:.3f}, words {hit['bm25']:.2f})"
    if (sure := hit.get("confidence")) is not None:
        line += f"  confidence {min(sure, 0.99):.2f}" if sure < 0.995 else "  confidence over 0.99"
    yield line
    if section := hit["metadata"].get("section"):
        yield f"   {section}"
    if snippet := textwrap.shorten(hit["text"], _SNIPPET):
        yield textwrap.indent(textwrap.fill(snippet, 92), "   ")
    if hit["image"]:
        yield f"   picture: {server.absolute(hit['image'])}"
