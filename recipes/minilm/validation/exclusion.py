"""What training leaves out so that the questions stay a fair task."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from metaembed_rag.evaluation import Dataset
from recipes.mini.data.corpora import TextSources, tex_package
from recipes.mini.data.leaks import LeakCheck
from recipes.minilm.validation.questions import read_documents

_PAGES = ("tex", "handbooks")


@cache
def validation_documents() -> frozenset[str]:
    """What training must not read: documents, whole TeX packages, and described Debian packages.

    Paths of documents (``"/usr/share/doc/nut-doc/html/FAQ/ar01s01.html"``), TeX packages as
    :func:`tex_package` names them (``"latex/wrapfig"``), and names of packages whose descriptions
    are searched (``"gdebi"``).
    """
    documents = read_documents()
    tex = {tex_package(one.path) for one in documents if "/texlive-doc/" in one.path}
    return frozenset({one.path for one in documents} | tex)


def is_validation(path: str) -> bool:
    """Whether training must not read a document: of the task, or of a TeX package of its name.

    Args:
        path: Of a TeX document or a handbook as the extracted rows have it; or the ``id`` of a row
            of Debian descriptions.
    """
    if path in validation_documents():
        return True
    return "/texlive-doc/" in path and PurePosixPath(tex_package(path)).name in _tex_names()


@cache
def _tex_names() -> frozenset[str]:
    """Names of the TeX packages, without their folder: ``latex-dev`` repeats what ``latex`` has."""
    tex = {one.path for one in read_documents() if "/texlive-doc/" in one.path}
    return frozenset(PurePosixPath(tex_package(path)).name for path in tex)


def without_validation(sources: TextSources, dataset: Dataset) -> TextSources:
    """The sources without the task's documents and without near-duplicates of its pages.

    Args:
        sources: The training part.
        dataset: The task, as :func:`build.read_task` makes it.
    """
    check = LeakCheck(
        {page.id: page.text for page in dataset.pages},
        {query.id: query.text for query in dataset.queries},
    )
    kept: dict[str, Any] = {}
    for source in fields(sources):
        held = getattr(sources, source.name)
        if source.name in _PAGES:
            kept[source.name] = [
                page for page in held if not is_validation(page.path) and not check.text(page.text)
            ]
        else:
            kept[source.name] = [
                (query, text)
                for query, text in held
                if not (check.query(query) or check.text(text))
            ]
    return TextSources(**kept)
