"""What the server answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Milliseconds(BaseModel):
    """Where the time of a search went."""

    encode: float = Field(description="the question into vectors; 0 where it was asked before")
    search: float
    total: float


class HitAnswer(BaseModel):
    """A page that a search found."""

    rank: int
    score: float
    id: str = Field(description="of the page, for /pages/{id}")
    source: str = Field(description="name of the file, with folders only where names are alike")
    page: int = Field(description="counts from 1")
    pages: int | None = Field(description="pages of the file, where known")
    text: str
    image: str | None = Field(description="path of the picture on this server")
    metadata: dict[str, Any]
    text_from: str | None = None
    maxsim: float | None = Field(
        default=None, description="in a hybrid search, the score of the vectors"
    )
    bm25: float | None = Field(
        default=None, description="in a hybrid search, the score of the words"
    )
    found: float | None = Field(
        default=None, description="in a hybrid search, how much of the words the page has"
    )
    snippet: str | None = Field(default=None, description="what matched, where it was asked for")
    confidence: float | None = Field(default=None, description="by the calibration; in [0, 1]")


class SearchAnswer(BaseModel):
    """Hits, best first, and what the search cost."""

    query: str
    budget: tuple[int, int]
    seconds: float
    milliseconds: Milliseconds
    scoring: str
    vectors_per_page: int = Field(description="that took part")
    bytes_per_page: int = Field(description="that these vectors have in the index")
    pages: int = Field(description="of the index")
    plan: dict[str, Any] | None
    words: str | None = Field(default=None, description="how words counted, or why not")
    note: str | None = Field(default=None, description="why there are no hits, where that is known")
    spread: dict[str, float] | None = Field(
        default=None, description="in a hybrid search, between what the fused scores lay"
    )
    hits: list[HitAnswer]


class PageAnswer(BaseModel):
    """A page, and its neighbours in the same file."""

    id: str
    source: str
    page: int
    pages: int | None
    text: str
    image: str | None
    metadata: dict[str, Any]
    text_from: str | None = None
    previous: str | None
    next: str | None
    upload: bool = Field(description="whether its file was uploaded here")


class SourceAnswer(BaseModel):
    """A file of the index."""

    source: str
    pages: int
    first: str = Field(description="id of its first page")
    upload: bool = Field(description="whether it was uploaded here")


class SourcesAnswer(BaseModel):
    """The files of an index."""

    pages: int
    total: int = Field(description="files")
    sources: list[SourceAnswer]


class BudgetAnswer(BaseModel):
    """A point of the budget slider."""

    budget: tuple[int, int]
    name: str | None = Field(description="fast, balanced, full, where it has one")
    bytes_per_page: int
    recall: float | None = Field(description="expected, by the calibration; None without one")
    recall_at_most: float | None = Field(description="where it lies between two measured budgets")
    ms: float | None = Field(description="expected, by the calibration")


class InfoAnswer(BaseModel):
    """What is served."""

    index: str = Field(description="name of its folder")
    collection: str
    model: str
    fingerprint: str
    pooling: str
    pages: int
    sources: int
    vectors_per_page: int
    query_vectors: int
    dimension: int
    vector_format: str
    bytes_per_page: int
    hybrid: str
    version: str
    uploads: bool = Field(description="whether files can be uploaded")
    writable: bool
    explains: bool = Field(description="whether /explain answers")
    max_upload_bytes: int
    suffixes: list[str] = Field(description="of files that are read")
    calibrated_pages: int | None = Field(description="pages when it was calibrated; None: never")
    budgets: list[BudgetAnswer]


class Skipped(BaseModel):
    """A file or page that is not in the index, or not with all that it shows."""

    source: str
    reason: str


class UploadAnswer(BaseModel):
    """What became of uploaded files; what is counted here is stored."""

    files: list[str]
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    blank: int = Field(default=0, description="pages with nothing to read")
    skipped: list[Skipped] = Field(default_factory=list)
    notes: list[Skipped] = Field(default_factory=list)
    pages: int = Field(default=0, description="of the index now")


class DeleteAnswer(BaseModel):
    """What was deleted."""

    deleted: int
    files: int = Field(description="uploaded files that were removed")
    pages: int = Field(description="of the index now")


class HealthAnswer(BaseModel):
    """That the server answers."""

    status: str


class ErrorAnswer(BaseModel):
    """What went wrong and what to do, in a sentence."""

    error: str
