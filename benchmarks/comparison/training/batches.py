"""Training pairs as token ids, one source a batch, pages of one document side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recipes.mini.data.corpora import Pair, TextSources, read_training_text
from recipes.mini.tokenizer import encode, load_tokenizer, starts_word

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MIX: Mapping[str, float] = {
    "debian": 0.25,
    "title": 0.27,
    "span": 0.15,
    "section": 0.10,
    "passage": 0.10,
    "wordnet": 0.08,
    "opencqa": 0.05,
}
"""How often a batch comes from each source: titles and spans of TeX pages, headings (section) and
spans (passage) of handbooks, and stored pairs."""

_FROM_HANDBOOKS = {"title": False, "span": False, "section": True, "passage": True}

_TITLE_REMOVED = 0.3
_SPAN_REMOVED = 0.5
_WORDS_DROPPED = 0.3
_NEAR = (1, 2, 4, 8)
"""How many other pages of its document join a page, drawn evenly."""


class Ragged:
    """Sequences of token ids in one flat array: ``ragged[i]`` is a view, uint16 ``(tokens,)``."""

    def __init__(self, ids: np.ndarray, offsets: np.ndarray) -> None:
        self.ids, self.offsets = ids, offsets

    @classmethod
    def of(cls, sequences: Sequence[np.ndarray]) -> Ragged:
        """Join ``sequences``."""
        offsets = np.concatenate([[0], np.cumsum([len(one) for one in sequences])])
        ids = np.concatenate(sequences) if len(sequences) else np.zeros(0, np.uint16)
        return cls(ids.astype(np.uint16), offsets.astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True)
class TokenisedSources:
    """Everything a batch is drawn from, as arrays that one ``.npz`` file holds."""

    pages: Ragged
    document_of_page: np.ndarray  # (pages,) int32
    from_handbook: np.ndarray  # (pages,) bool
    titles: Ragged
    page_of_title: np.ndarray  # (titles,) int32
    title_start: np.ndarray  # (titles,) int32: token where the page shows it, -1 if it does not
    pairs: dict[str, tuple[Ragged, Ragged]]  # by source: queries, texts
    starts_word: np.ndarray  # (vocabulary,) bool

    def save(self, path: Path) -> None:
        """Write one compressed ``.npz`` file."""
        arrays = {"starts_word": self.starts_word}
        for name in ("document_of_page", "from_handbook", "page_of_title", "title_start"):
            arrays[name] = getattr(self, name)
        ragged = {"pages": self.pages, "titles": self.titles}
        for source, (queries, texts) in self.pairs.items():
            ragged |= {f"{source}.queries": queries, f"{source}.texts": texts}
        for name, one in ragged.items():
            arrays |= {f"{name}:ids": one.ids, f"{name}:offsets": one.offsets}
        np.savez_compressed(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> TokenisedSources:
        """Read what :meth:`save` wrote."""
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        names = {name.split(":")[0] for name in arrays if name.endswith(":ids")}
        ragged = {n: Ragged(arrays[f"{n}:ids"], arrays[f"{n}:offsets"]) for n in names}
        sources = sorted({name.split(".")[0] for name in ragged if "." in name})
        return cls(
            ragged["pages"],
            arrays["document_of_page"],
            arrays["from_handbook"],
            ragged["titles"],
            arrays["page_of_title"],
            arrays["title_start"],
            {s: (ragged[f"{s}.queries"], ragged[f"{s}.texts"]) for s in sources},
            arrays["starts_word"],
        )


def load_sources(work: Path, data: Path) -> TokenisedSources:
    """The training text as token ids, from ``work/sources.npz``, which is made where it is absent.

    Args:
        work: The working folder of ``python -m recipes.mini``, with its text and tokenizer.
        data: The folder of the data sets.
    """
    path = work / "sources.npz"
    if not path.exists():
        text = read_training_text(work, data)
        tokenise(text, load_tokenizer(work)).save(path)
    return TokenisedSources.load(path)


def tokenise(sources: TextSources, tokenizer: Tokenizer) -> TokenisedSources:
    """Encode every text of ``sources`` once and find each title in its page."""
    held = [*sources.tex, *sources.handbooks]
    pages = encode(tokenizer, [page.text for page in held])
    documents = {path: i for i, path in enumerate(sorted({page.path for page in held}))}
    titled = [(i, title) for i, page in enumerate(held) for title in page.titles]
    titles = encode(tokenizer, [title for _, title in titled])
    page_of_title = np.array([i for i, _ in titled], dtype=np.int32)
    start = [find(pages[i], title) for i, title in zip(page_of_title, titles, strict=True)]
    return TokenisedSources(
        Ragged.of(pages),
        np.array([documents[page.path] for page in held], dtype=np.int32),
        np.arange(len(held)) >= len(sources.tex),
        Ragged.of(titles),
        page_of_title,
        np.array(start, dtype=np.int32),
        {
            "debian": _tokenise_pairs(sources.debian, tokenizer),
            "opencqa": _tokenise_pairs(sources.opencqa, tokenizer),
            "wordnet": _tokenise_pairs(sources.wordnet, tokenizer),
        },
        starts_word(tokenizer),
    )


def _tokenise_pairs(pairs: Sequence[Pair], tokenizer: Tokenizer) -> tuple[Ragged, Ragged]:
    queries = encode(tokenizer, [query for query, _ in pairs])
    return Ragged.of(queries), Ragged.of(encode(tokenizer, [text for _, text in pairs]))


def find(text: np.ndarray, part: np.ndarray) -> int:
    """Where ``part`` first stands in ``text`` (both uint16), or -1."""
    haystack, needle = text.tobytes(), part.tobytes()
    at = haystack.find(needle) if needle else -1
    while at % 2 and at >= 0:  # a match across two ids
        at = haystack.find(needle, at + 1)
    return at // 2 if at >= 0 else -1


@dataclass(frozen=True)
class TokenPairs:
    """``queries[i]`` is answered by ``texts[i]``: lists of uint16 arrays without special tokens."""

    source: str
    queries: list[np.ndarray]
    texts: list[np.ndarray]


class Sampler:
    """Draws batches, each from one source.

    Args:
        sources: What to draw from.
        seed: Of the random draws.
        mix: Weight of each source; of :data:`MIX`'s names.
    """

    def __init__(
        self, sources: TokenisedSources, *, seed: int, mix: Mapping[str, float] = MIX
    ) -> None:
        self._sources, self._seed = sources, seed
        self._random = np.random.default_rng(seed)
        known = {*sources.pairs, *_FROM_HANDBOOKS}
        held = {name: weight for name, weight in mix.items() if name in known and weight > 0}
        if not sources.from_handbook.any():
            held = {name: held[name] for name in held if not _FROM_HANDBOOKS.get(name)}
        self._names = list(held)
        self._weights = np.array(list(held.values())) / sum(held.values())
        self._pages_of: dict[int, list[int]] = defaultdict(list)
        for page, document in enumerate(sources.document_of_page):
            self._pages_of[int(document)].append(page)
        self._titles_of: dict[int, list[int]] = defaultdict(list)
        for title, page in enumerate(sources.page_of_title):
            self._titles_of[int(page)].append(title)
        every, titled = np.arange(len(sources.pages)), np.array(sorted(self._titles_of), np.int64)
        self._pool = {
            name: pages[sources.from_handbook[pages] == handbook]
            for name, handbook in _FROM_HANDBOOKS.items()
            for pages in [titled if name in ("title", "section") else every]
        }

    def draw(self, step: int, size: int, max_tokens: int) -> TokenPairs:
        """The batch of a step: ``size`` pairs (fewer from a smaller source).

        It depends on the seed and ``step`` alone, so that a resumed run sees the same batches.
        """
        self._random = np.random.default_rng((self._seed, step))
        name = self._names[self._random.choice(len(self._names), p=self._weights)]
        if name in ("title", "section"):
            pairs = [self._title_pair(page, max_tokens) for page in self._page_groups(size, name)]
        elif name in ("span", "passage"):
            pairs = [self._span_pair(page, max_tokens) for page in self._page_groups(size, name)]
        else:
            pairs = self._stored_pairs(name, size, max_tokens)
        return TokenPairs(name, [query for query, _ in pairs], [text for _, text in pairs])

    def _stored_pairs(
        self, name: str, size: int, max_tokens: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        queries, texts = self._sources.pairs[name]
        chosen = self._random.choice(len(queries), min(size, len(queries)), replace=False)
        pairs = [(queries[i], texts[i]) for i in chosen]
        if name == "wordnet":  # a gloss may also ask for its words
            pairs = [(b, a) if self._random.random() < 0.3 else (a, b) for a, b in pairs]
        return [
            (self._drop_words(query) if self._random.random() < 0.3 else query, text[:max_tokens])
            for query, text in pairs
        ]

    def _page_groups(self, size: int, name: str) -> list[int]:
        """Distinct pages, up to nine of a document: the hard negatives of each other."""
        chosen: dict[int, None] = {}
        pool, titled = self._pool[name], name in ("title", "section")
        size = min(size, len(pool))
        while len(chosen) < size:
            page = int(pool[self._random.integers(len(pool))])
            near = self._pages_of[int(self._sources.document_of_page[page])]
            if titled:
                near = [other for other in near if other in self._titles_of]
            others = self._random.choice(near, min(len(near), self._random.choice(_NEAR)))
            for one in [page, *others.tolist()]:
                if len(chosen) < size:
                    chosen[one] = None
        return list(chosen)

    def _title_pair(self, page: int, max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        titles = self._titles_of[page]
        title = titles[self._random.integers(len(titles))]
        query, text = self._sources.titles[title], self._sources.pages[page]
        at = int(self._sources.title_start[title])
        if at < 0:
            return query, self._crop(text, len(text) // 2, max_tokens)
        if self._random.random() < _TITLE_REMOVED:
            text = np.concatenate([text[:at], text[at + len(query) :]])
        return query, self._crop(text, at, max_tokens)

    def _span_pair(self, page: int, max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        text = self._sources.pages[page]
        begins = np.flatnonzero(self._sources.starts_word[text])
        words = int(self._random.integers(3, 15))
        if len(begins) < words + 8:
            return text[: len(text) // 2 + 1], text
        first = int(self._random.integers(len(begins) - words))
        start, end = int(begins[first]), int(begins[first + words])
        query = text[start:end]
        if self._random.random() < 0.5:
            query = self._drop_words(query)
        if self._random.random() < _SPAN_REMOVED:
            text = np.concatenate([text[:start], text[end:]])
        return query, self._crop(text, start, max_tokens)

    def _crop(self, text: np.ndarray, centre: int, size: int) -> np.ndarray:
        """``size`` tokens around ``centre``, which stands anywhere but at the very edge."""
        if len(text) <= size:
            return text
        before = int(self._random.integers(size // 8, size - size // 8))
        start = max(0, min(len(text) - size, centre - before))
        return text[start : start + size]

    def _drop_words(self, query: np.ndarray) -> np.ndarray:
        word = np.cumsum(self._sources.starts_word[query])
        kept = (
            (self._random.random(int(word[-1]) + 1) > _WORDS_DROPPED)[word] if len(word) else word
        )
        return query[kept] if len(word) and kept.any() else query
