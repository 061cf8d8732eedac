"""What an index has for whoever asks why a page matched."""

from __future__ import annotations

from metaembed_rag.budget import BudgetLike
from metaembed_rag.explaining.explainer import Asked, Explainer
from metaembed_rag.explanation import Explanation
from metaembed_rag.hits import Hit, Hits
from metaembed_rag.model.inputs import Query, read_query
from metaembed_rag.options import page_ids
from metaembed_rag.pages import Page


class ExplainedIndex:
    """The part of :class:`metaembed_rag.PageIndex` that explains."""

    _explainer: Explainer

    def explain(
        self,
        query: Query,
        page: str | Page | Hit,
        *,
        budget: BudgetLike | None = None,
        ocr: bool = True,
    ) -> Explanation:
        """Say why a page has its score: which vectors, which passages, which words.

        Pieces of the page are scored as pages of their own, by the same model at the same budget,
        coarse to fine: some 70 of the text of a page, 14 parts of a picture that the model reads
        (see ``docs/explain.md``).

        Args:
            query: As for :meth:`search`.
            page: A stored page, by its id, or as a search gave it.
            budget: As for :meth:`search`; ``"auto"`` stands for all vectors here.
            ocr: Where it is not known where the page's lines stand (an index of an earlier
                version), read its kept picture by OCR, 1 to 3 seconds; else there are no boxes.

        Returns:
            All of it of one version of the page: as the index has it now. Words are those of the
            BM25 part: of a hit where they counted, of a page where the index counts words and the
            extra ``hybrid`` is installed.

        Raises:
            StoreError: There is no such page, or what was given names none.
            BudgetError: The budget asks for more vectors than there are.
        """
        asked = Asked.of(read_query(query))
        if isinstance(page, Hit):
            return self._explainer.explain(
                asked, page.page.id, budget, hybrid=page.bm25 is not None, ocr=ocr
            )
        [id] = page_ids([page.id if isinstance(page, Page) else page])
        return self._explainer.explain(asked, id, budget, ocr=ocr)

    def _complete(self, hits: Hits) -> None:
        """Let the hits of a query explain themselves."""
        self._explainer.complete(hits, Asked.of(hits.query), snippets=None)
