"""Odd values, as strategies of hypothesis: what a user, a script or a stranger might hand over."""

from __future__ import annotations

import datetime
import decimal
import uuid
from pathlib import PurePosixPath

from hypothesis import strategies as st

CHARACTERS = st.characters(codec=None, exclude_categories=())
"""Every code point, lone surrogates and control characters among them."""

ODD_TEXTS = [
    "",
    " ",
    "\0",
    "\ud800",
    "a\ud83d",
    "\x1b[31mred",
    "‮",
    "é",
    "e\u0301",
    "\ufeff",
    "../../etc",
    "/dev/zero",
    "~nobody",
    "'; DROP TABLE pages; --",
    "$where",
    "#document",
    "metaembed:text",
    "chroma:document",
    "javascript:alert(1)",
    "<script>",
    "%00",
    "NaN",
    "null",
    "-1",
    "1e999",
    "a" * 300,
    "word " * 2000,
    "\n" * 50,
    "(" * 60,
    "[[[[",
    "*",
    "?",
    "\\",
    "C:\\x",
    "http://[::1",
]
texts = st.one_of(st.sampled_from(ODD_TEXTS), st.text(CHARACTERS, max_size=20))

numbers = st.one_of(
    st.sampled_from(
        [0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**30]
    ),
    st.integers(-(2**70), 2**70),
    st.integers(1, 50),
    st.floats(),
    st.booleans(),
)
scalars = st.one_of(
    texts,
    numbers,
    st.none(),
    st.binary(max_size=8),
    st.just(datetime.date(2024, 2, 29)),
    st.just(decimal.Decimal("0.1")),
    st.just(uuid.UUID(int=5)),
    st.just(PurePosixPath("a/b")),
    st.just(object()),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=3), st.tuples(inner)
    ),
    max_leaves=6,
)
metadata = st.dictionaries(st.one_of(texts, st.sampled_from(["title", "year"])), values, max_size=4)

fields = st.fixed_dictionaries(
    {"source": st.one_of(texts, texts, scalars)},
    optional={
        "number": st.one_of(st.integers(1, 9), numbers, scalars),
        "text": st.one_of(texts, texts, scalars),
        "metadata": st.one_of(metadata, metadata, metadata, values),
        "id": st.one_of(texts, scalars),
        "page_count": st.one_of(st.integers(1, 9), numbers, scalars),
        "image": st.one_of(st.none(), scalars),
        "settings": st.one_of(texts, scalars),
    },
)
"""Of a page."""

_OPERATORS = [
    "$eq",
    "$ne",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$in",
    "$nin",
    "$contains",
    "$not_contains",
    "$regex",
    "$not_regex",
    "$not",
    "$foo",
    "",
    "$and",
]
_names = st.one_of(
    st.sampled_from(["year", "title", "page", "source", "#document", "metaembed:text"]), texts
)
_conditions = st.one_of(
    values, st.dictionaries(st.sampled_from(_OPERATORS), st.one_of(values, scalars), max_size=2)
)
filters = st.recursive(
    st.one_of(st.dictionaries(_names, _conditions, max_size=2), scalars),
    lambda inner: st.dictionaries(
        st.sampled_from(["$and", "$or"]), st.one_of(st.lists(inner, max_size=3), inner), max_size=2
    ),
    max_leaves=6,
)

queries = st.one_of(
    texts, st.dictionaries(st.sampled_from(["text", "image", "x"]), scalars), values
)
budgets = st.one_of(
    st.sampled_from(["1,1", "2,4", "full", "fast", "auto", "4,9", "0,0", "1", (1, 1), [2, 2]]),
    values,
)
searches = st.fixed_dictionaries(
    {},
    optional={
        "k": st.one_of(st.integers(1, 9), scalars),
        "budget": budgets,
        "candidates": st.one_of(st.integers(5, 99), scalars),
        "exhaustive": st.booleans(),
        "hybrid": st.one_of(st.sampled_from([True, False, "auto", "rrf", 0.5]), scalars),
        "max_ms": st.one_of(st.just(10.0), scalars),
        "r_q": st.one_of(st.just(1), scalars),
    },
)

ids = st.one_of(texts, st.lists(texts, max_size=4), values)

_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=5,
)
_known = st.sampled_from(
    ["_id", "text", "image", "title", "metadata", "query", "positive", "negatives"]
)
lines = st.lists(
    st.dictionaries(_known, st.one_of(texts, texts, _json), max_size=5), min_size=1, max_size=3
)
"""Objects of JSON lines."""

addresses = st.one_of(
    texts,
    st.builds(
        "{}://{}{}{}{}".format,
        st.sampled_from(["http", "https", "HTTP", "ftp", "file", "", "http:"]),
        st.sampled_from(["", "user:secret@", "a@b@", ":@", "\ud800@"]),
        st.one_of(
            st.sampled_from(["host", "[::1", "[::1]", "1.2.3.4", "", "xn--", "\u2100", "a b", "."]),
            texts,
        ),
        st.sampled_from(["", ":80", ":99999", ":x", ":-1", ":", ":80:80"]),
        st.one_of(st.sampled_from(["", "/", "/v1#model", "#m?pages=all", "?a=b", "/%zz"]), texts),
    ),
)

_options = st.sampled_from(
    [
        "--index",
        "--collection",
        "-k",
        "--budget",
        "--where",
        "--where-text",
        "--image",
        "--json",
        "--html",
        "--candidates",
        "--exhaustive",
        "--hybrid",
        "--id",
        "--source",
        "--model",
        "--vectors",
        "--format",
        "--dimension",
        "--timeout",
        "--max-ms",
        "--min-recall",
        "--wait",
        "--limit",
        "--recall",
        "--queries",
        "--pages",
        "--mode",
        "--ocr",
        "--batch-size",
        "--max-passes",
        "--password",
        "--max-page-seconds",
        "--max-memory",
        "--describe",
        "--help",
        "--quiet",
        "--device",
        "--version",
    ]
)
_words = st.one_of(
    texts, st.sampled_from(["FILES", "INDEX", "1", "0", "-5", "1,1", "year=2020", "a=b", "cpu"])
)
commands = st.builds(
    lambda command, place, words: [command, *place, *words],
    st.sampled_from(
        [
            *("index", "search", "info", "delete", "compact", "evaluate", "plan", "calibrate"),
            *("mine", "check", "repair"),
        ]
    ),
    st.sampled_from([["--index", "INDEX"], ["--index", "INDEX"], ["--index", "INDEX"], []]),
    st.lists(st.one_of(_options, _words, _words), max_size=6),
)
"""Command lines; FILES and INDEX stand for places that are there."""
