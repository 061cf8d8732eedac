"""``metaembed search``: the pages that answer a text, an image or both."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaembed_rag.budget import AUTO, RetrievalBudget
from metaembed_rag.cli import comparing, options, remote, values
from metaembed_rag.cli.filters import add_filters, where_of
from metaembed_rag.cli.output import answer, say, wrong_usage
from metaembed_rag.errors import PageError

if TYPE_CHECKING:
    from metaembed_rag.explanation import Explanation
    from metaembed_rag.federation.client import Server
    from metaembed_rag.federation.federated import FederatedIndex
    from metaembed_rag.hits import Hit, Hits
    from metaembed_rag.index import PageIndex

SUMMARY = "find pages by text, image or both"

_KEYWORDS = ("budget", "candidates", "exhaustive", "max_ms", "min_recall", "min_confidence")
"""Options that :meth:`metaembed_rag.PageIndex.search` takes by the same names, as they are."""
_SNIPPET = 200
"""Characters of a page's text that are printed."""
_PASSAGES, _WORDS = 3, 8
"""Of an explanation that are printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``metaembed search``."""
    parser.add_argument("query", nargs="?", default="", metavar="QUERY", help="text; - for stdin")
    options.add_place(parser, or_server=True, several=True)
    parser.add_argument(
        "--deadline",
        type=values.limit,
        metavar="SECONDS",
        help="of several indexes: leave out, and name, those that do not answer in time",
    )
    options.add_device(parser)
    options.add_model_of_index(parser)
    parser.add_argument("-k", type=values.positive, default=5, help="hits (default: 5)")
    _add_budget(parser)
    parser.add_argument("--image", metavar="FILE", help="an image as query, or with the text")
    add_filters(parser)
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--candidates", type=values.positive, metavar="M", help="pages reranked")
    ways.add_argument("--exhaustive", action="store_true", help="score every page")
    words = parser.add_mutually_exclusive_group()
    words.add_argument(
        "--hybrid",
        action="store_true",
        help="let the words of QUERY count too (BM25); default: where the extra hybrid is "
        "installed and a page has a word of QUERY",
    )
    words.add_argument("--no-hybrid", action="store_true", help="search by vectors alone")
    options.add_language(parser, "this search only (default: as the index remembers, or english)")
    parser.add_argument(
        "--min-confidence",
        type=values.share,
        metavar="SHARE",
        help="only hits that score over such a share (0.95) of unrelated questions, by calibration",
    )
    parser.add_argument("--html", metavar="FILE", help="also write a page that shows the hits")
    parser.add_argument(
        "--explain",
        action="store_true",
        help="say of each hit which passage and words matched, with their boxes on the picture in "
        "--html; some 70 pieces of each hit are encoded for it",
    )


def _add_budget(parser: argparse.ArgumentParser) -> None:
    options.add_budget(
        parser,
        "vectors a side: 1,1 to 16,64, or fast, balanced, full (default: METAEMBED_BUDGET, or "
        "all that are stored); auto: what `metaembed calibrate` found",
        type=values.budget_or_auto,
        action=comparing.EachBudget,
    )
    comparing.add_compare(parser)
    parser.add_argument(
        "--max-ms",
        type=values.limit,
        metavar="MS",
        help="the best budget for so many milliseconds, by calibration",
    )
    parser.add_argument(
        "--min-recall",
        type=values.share,
        metavar="SHARE",
        help="the fastest budget that finds such a share (0.99) of the best pages, by calibration",
    )


def run(given: argparse.Namespace) -> int:
    """Search, and print the hits or one JSON object."""
    _check_ways(given)
    local = ("device", "model", "language", "html", "explain", "deadline", "compare")
    server = options.server_of(given, *local)
    if server is not None:
        return _ask(server, given)
    query = _query(given)
    if given.compare:
        where = where_of(given.where, given.where_text)
        return comparing.run_compare(given, query, where, _hybrid(given))
    keywords = {name: getattr(given, name) for name in _KEYWORDS} | {"hybrid": _hybrid(given)}
    with _opened(given) as index:
        where = where_of(given.where, given.where_text)
        hits = index.search(query, given.k, where=where, **keywords)
        explained = _explained(hits) if given.explain else []
        pages = len(index)
    if hits.plan is not None and hits.plan.note:
        say(f"metaembed: {hits.plan.note}")
    if given.html:
        Path(given.html).write_text(_document(hits, explained), encoding="utf-8")
        say(f"wrote {given.html}")
    found = hits.to_dict()
    for one, explanation in zip(found["hits"], explained, strict=False):
        one["explanation"] = explanation.to_dict()
    answer(given, found, _text(hits, pages, explained))
    return 0


def _opened(given: argparse.Namespace) -> PageIndex | FederatedIndex:
    """The index, or the several that are searched as one."""
    if len(given.indexes) < 2:
        if given.deadline is not None:
            raise wrong_usage("--deadline is for several indexes: name another one with --index")
        return options.open_index(given)
    from metaembed_rag.federation.federated import FederatedIndex

    return FederatedIndex(
        given.indexes,
        encoder=options.load_encoder(given, given.indexes) if given.model else None,
        deadline=given.deadline,
        collection=given.collection,
        **options.server_keywords(given),
        device=given.device,
        language=given.language,
        pictures=options.pictures_of(given),
    )


def _explained(hits: Hits) -> list[Explanation]:
    """Why each hit was found; each knows its snippet afterwards."""
    explained = [hit.explain() for hit in hits]
    hits[:] = [replace(hit, snippet=one.snippet) for hit, one in zip(hits, explained, strict=True)]
    return explained


def _document(hits: Hits, explained: Sequence[Explanation]) -> str:
    """The HTML of the hits, or of why they were found."""
    from metaembed_rag.explanation import explanation_page
    from metaembed_rag.hits import hits_page

    return explanation_page(explained) if explained else hits_page(hits)


def _ask(server: Server, given: argparse.Namespace) -> int:
    """Let a server search, and print what it answers as an index's own answer is printed."""
    text = _standard_input() if given.query == "-" else given.query
    if not text and given.image is None:
        raise wrong_usage("give a query, an --image, or both")
    asked = {name: getattr(given, name) for name in _KEYWORDS} | {
        "query": text,
        "k": given.k,
        "hybrid": _hybrid(given),
        "where": where_of(given.where, given.where_text, here=False),
    }
    found = remote.search(server, asked, given.image)
    note = (found["plan"] or {}).get("note")
    for told in filter(None, (note, "" if found["hits"] else found["note"])):
        say(f"metaembed: {told}")
    answer(given, remote.as_dict(server, found), remote.as_text(server, found))
    return 0


def _hybrid(given: argparse.Namespace) -> bool | None:
    """Whether words count; None leaves it to the index."""
    return given.hybrid or (False if given.no_hybrid else None)


def _check_ways(given: argparse.Namespace) -> None:
    """Refuse at once what cannot go together, before a model is loaded."""
    comparing.check_compare(given)
    limited = given.max_ms is not None or given.min_recall is not None
    if limited and isinstance(given.budget, RetrievalBudget):
        raise wrong_usage(
            "--max-ms and --min-recall choose the budget: leave out --budget, or say auto"
        )
    if (limited or given.budget == AUTO) and (given.candidates or given.exhaustive):
        raise wrong_usage(
            "the calibration chooses how many pages are scored: leave out --candidates and "
            "--exhaustive, or name a budget"
        )


def _query(given: argparse.Namespace) -> Any:
    text = _standard_input() if given.query == "-" else given.query
    if given.image is None:
        if not text:
            raise wrong_usage("give a query, an --image, or both")
        return text
    image = _picture(given.image)
    return {"text": text, "image": image} if text else image


def _standard_input() -> str:
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise wrong_usage(
            f"the query on standard input is not text in {error.encoding}; save it as UTF-8, and "
            f"say PYTHONIOENCODING=utf-8 if the system expects another encoding"
        ) from error


def _picture(path: str) -> Any:
    """The picture of a query: an image, or the first page of a PDF."""
    from metaembed_rag.pages import load_pages
    from metaembed_rag.pages.folders import expanded

    if expanded(path).is_dir():
        raise PageError(path, "is a folder; name one image with --image")
    first = next(iter(load_pages(path)))
    if first.image is None:
        raise PageError(path, "is no image and no PDF; give a picture with --image")
    if first.page_count != 1:
        say(f"the query is page 1 of {path}")
    return first.image


def _line(hit: Hit) -> str:
    """Rank, score, place, and the two scores of a hybrid hit."""
    line = f"\n{hit.rank}. {hit.score:.3f}  {hit.page.source}  page {hit.page.number}"
    if hit.maxsim is not None and hit.bm25 is not None:
        line += f"  (vectors {hit.maxsim:.3f}, words {hit.bm25:.2f})"
    if hit.confidence is not None:
        from metaembed_rag.hits import shown_confidence

        line += f"  confidence {shown_confidence(hit.confidence)}"
    if hit.shard is not None:
        line += f"  in {hit.shard}"
    return line


def _why(explanation: Explanation) -> str:
    """The best passages with their scores, and the words with their weights."""
    lines = [
        f"   {one.score:.3f}  {textwrap.shorten(one.text, 84)}"
        for one in explanation.passages[:_PASSAGES]
        if one.text.strip()
    ]
    if explanation.words:
        words = [f"{one.word} {one.weight:.2f}" for one in explanation.words[:_WORDS]]
        lines.append(f"   words: {', '.join(words)}")
    return "\n".join(lines)


def _text(hits: Hits, pages: int, explained: Sequence[Explanation] = ()) -> str:
    about = f"budget ({hits.budget})" + (", with BM25" if hits.scoring == "hybrid" else "")
    plan = hits.plan
    if hits.scoring != "hybrid" and plan is not None and plan.words:
        about += f", {plan.words}"
    if plan is not None and plan.way == "auto":
        # What the calibration promised of the plan that it chose.
        promised = f"recall {plan.recall:.3f}, {plan.ms:.1f} ms expected"
        about += f", chosen by the calibration ({promised})"
    lines = [f"{about}, {len(hits)} of {pages} pages, {hits.seconds * 1000:.0f} ms"]
    if not hits and hits.note:
        lines.append(f"\n{hits.note}")
    for hit, why in zip_longest(hits, explained):
        page = hit.page
        lines.append(_line(hit))
        if section := page.metadata.get("section"):
            lines.append(f"   {section}")
        if snippet := hit.snippet or textwrap.shorten(page.text, _SNIPPET):
            lines.append(textwrap.indent(textwrap.fill(snippet, 92), "   "))
        if why is not None:
            lines.append(_why(why))
        if page.image_path:
            lines.append(f"   picture: {page.image_path}")
    return "\n".join(lines)
