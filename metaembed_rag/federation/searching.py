"""One federated search: all shards asked, their hits merged, words and snippets settled."""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from typing import TypeVar

from metaembed_rag.errors import StoreError
from metaembed_rag.federation.asking import Answers, Asking, in_words
from metaembed_rag.federation.merging import merged, merged_plan, uncounted, wanted, words_of
from metaembed_rag.federation.shards import MOST_SERVED, Question, Shard
from metaembed_rag.hits import Hits, MissingShard
from metaembed_rag.options import SearchOptions
from metaembed_rag.pages import Page
from metaembed_rag.store.unmatched import log_unmatched

_log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")


class FederatedSearch:
    """Searches shards that belong together.

    Args:
        shards: By their names.
        asking: Asks them.
        served: Names of those that are servers.
        pictures: Folder where pictures of their hits are kept; None to leave them there.
    """

    def __init__(
        self,
        shards: Mapping[str, Shard],
        asking: Asking,
        served: Collection[str],
        pictures: Path | None = None,
    ) -> None:
        self._shards, self._asking, self._served = shards, asking, served
        self._pictures = pictures

    def found(
        self, asked: Sequence[Question], k: int, options: SearchOptions, seconds: float | None
    ) -> list[Hits]:
        """The hits of each query, without its time.

        Args:
            asked: The queries.
            k: At most so many hits of each.
            options: With a budget; whether words count is said, too.
            seconds: In which shards have to answer.

        Raises:
            StoreError: No shard answered.
        """
        end = None if seconds is None else time.monotonic() + seconds
        plain = replace(options, snippets=None)
        given = self._ask(asked, k, plain, seconds)
        hits = []
        for place, question in enumerate(asked):
            answers = {name: each[place] for name, each in given.answers.items()}
            hits.append(self._settled(question, Answers(answers, given.missing), k, plain, end))
            if options.snippets:
                self._add_snippets(question, hits[-1], end)
            if self._pictures is not None:
                self._add_pictures(hits[-1], self._pictures, end)
        return hits

    def _ask(
        self, asked: Sequence[Question], k: int, options: SearchOptions, seconds: float | None
    ) -> Answers[list[Hits]]:
        """What the shards give, each a list of the hits of every query."""
        count = wanted(k, options)
        count = min(count, *([MOST_SERVED] if self._served else []), options.candidates or count)
        options = replace(options, k=None)

        def ask(shard: Shard) -> list[Hits]:
            return [shard.search(one, count, options, seconds) for one in asked]

        return self.answers({n: partial(ask, one) for n, one in self._shards.items()}, seconds)

    def answers(
        self, calls: Mapping[str, Callable[[], _Answer]], seconds: float | None
    ) -> Answers[_Answer]:
        """What shards answer; those that are missing are told of.

        Raises:
            StoreError: Nobody answered.
        """
        found = self._asking.all(calls, seconds)
        if not found.answers:
            raise StoreError(f"no shard answered: {in_words(found.missing)}")
        if found.missing:
            _log.warning("the hits are not of all shards: %s", in_words(found.missing))
        return found

    def _settled(
        self,
        question: Question,
        found: Answers[Hits],
        k: int,
        options: SearchOptions,
        end: float | None,
    ) -> Hits:
        """One query's hits; asked again by vectors alone, where words cannot count everywhere."""
        why = uncounted(found.answers) if options.hybrid else ""
        hybrid = [name for name, hits in found.answers.items() if hits.scoring == "hybrid"]
        if not why or not hybrid:
            if len(found.answers) > 1 and hybrid:
                found = self._recounted(question, found, options, end)
            return self.merged(question, found, k, options)
        alone = replace(options, hybrid=False)
        again = self._ask([question], k, alone, _left(end))
        answers = {name: each[0] for name, each in again.answers.items()}
        hits = self.merged(question, Answers(answers, again.missing), k, alone)
        if hits.plan is not None:
            hits.plan = replace(hits.plan, words=why)
        return hits

    def _recounted(
        self, question: Question, found: Answers[Hits], options: SearchOptions, end: float | None
    ) -> Answers[Hits]:
        """The hits with words as rare as they are among the pages of all shards.

        As each shard has counted them, where one does not say, or not in time.
        """
        shards = {name: self._shards[name] for name in found.answers}
        said = self._asking.all(
            {name: partial(one.query_words, question.text) for name, one in shards.items()},
            _left(end),
        )
        counts = [one for one in said.answers.values() if one is not None]
        alike = len({one.languages for one in counts}) == 1
        if said.missing or len(counts) < len(shards) or not alike:
            return found
        among = reduce(operator.add, counts)
        again = self._asking.all(
            {
                name: partial(one.recounted, question.text, found.answers[name], among, options)
                for name, one in shards.items()
                if found.answers[name].scoring == "hybrid"
            },
            _left(end),
        )
        return (
            found if again.missing else replace(found, answers={**found.answers, **again.answers})
        )

    def merged(
        self, question: Question, found: Answers[Hits], k: int, options: SearchOptions
    ) -> Hits:
        """The merged hits of one query."""
        answers = found.answers
        first = next(iter(answers.values()))
        hybrid = any(hits.scoring == "hybrid" for hits in answers.values())
        best = merged(answers, k, options, self._served)
        notes = [hits.note for hits in answers.values() if hits.note and not best]
        if notes and options.where is not None:
            log_unmatched(notes[0], options.where)
        hits = Hits(
            best,
            question.query,
            first.budget,
            0.0,
            "hybrid" if hybrid else "maxsim",
            merged_plan(answers, words_of(answers, options)),
            notes[0] if notes else "",
        )
        hits.missing = tuple(MissingShard(*one) for one in found.missing.items())
        return hits

    def _add_snippets(self, question: Question, hits: Hits, end: float | None) -> None:
        """The passages that matched, as far as they are found in time."""

        def of_shard(name: str) -> dict[int, str | None]:
            shard = self._shards[name]
            mine = [hit for hit in hits if hit.shard == name]
            return {hit.rank: shard.snippet(question, hit, hits.budget) for hit in mine}

        names = dict.fromkeys(hit.shard for hit in hits if hit.shard is not None)
        found = self._asking.all({name: partial(of_shard, name) for name in names}, _left(end))
        if found.missing:
            _log.warning("snippets are missing: %s", in_words(found.missing))
        snippets = {rank: one for each in found.answers.values() for rank, one in each.items()}
        hits[:] = [replace(hit, snippet=snippets.get(hit.rank)) for hit in hits]

    def _add_pictures(self, hits: Hits, folder: Path, end: float | None) -> None:
        """The paths of the pictures of servers' hits, as far as they come in time."""

        def of_shard(name: str) -> dict[int, Page]:
            mine = [hit for hit in hits if hit.shard == name]
            return {hit.rank: self._shards[name].with_picture(hit.page, folder) for hit in mine}

        names = {hit.shard for hit in hits if hit.shard in self._served}
        found = self._asking.all(
            {str(name): partial(of_shard, str(name)) for name in names}, _left(end)
        )
        if found.missing:
            _log.warning("pictures are missing: %s", in_words(found.missing))
        pages = {rank: page for each in found.answers.values() for rank, page in each.items()}
        hits[:] = [replace(hit, page=pages.get(hit.rank, hit.page)) for hit in hits]


def _left(end: float | None) -> float | None:
    """Seconds until the end."""
    return None if end is None else max(0.0, end - time.monotonic())
