"""A retrieval task of hand-written questions in everyday words, to choose settings on.

The questions (``questions.jsonl``) and the list of the pages searched (``corpus.json``) are here;
the pages' text comes from Debian packages and is not: :mod:`build` adds it. Training leaves out
every document of the task: see :func:`validation_documents` and :func:`without_validation`.
"""

from recipes.minilm.validation.exclusion import (
    is_validation,
    validation_documents,
    without_validation,
)
from recipes.minilm.validation.questions import (
    Document,
    Question,
    heading_words,
    read_documents,
    read_questions,
)

__all__ = [
    "Document",
    "Question",
    "heading_words",
    "is_validation",
    "read_documents",
    "read_questions",
    "validation_documents",
    "without_validation",
]
