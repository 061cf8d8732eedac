"""What encoders that pool unordered token vectors have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaembed_rag.model.pooling import Pooling


class PooledEncoder:
    """The numbers that a :class:`~metaembed_rag.model.pooling.Pooling` fixes.

    Attributes:
        settings: How token vectors are pooled.
    """

    settings: Pooling
    if TYPE_CHECKING:

        @property
        def dimension(self) -> int:
            """D, the length of a vector; each encoder finds it in its own way."""

    @property
    def pooling(self) -> str:
        """The name of the pooling method."""
        return self.settings.method

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Numbers of leading values with which a vector works, ascending; the last one is D."""
        trained = sorted(set(self.settings.dimensions))
        return (*(one for one in trained if one < self.dimension), self.dimension)

    @property
    def query_vectors(self) -> int:
        """R_q, vectors of a query."""
        return self.settings.query_vectors

    @property
    def document_vectors(self) -> int:
        """R_c, vectors of a candidate."""
        return self.settings.document_vectors

    def _most(self, side: str) -> int:
        return self.query_vectors if side == "query" else self.document_vectors
