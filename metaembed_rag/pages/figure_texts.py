"""What OCR read of the figures inside a page: added to its text, and kept by their hashes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from metaembed_rag.pages.figures import Figure
from metaembed_rag.pages.lines import Box, Lettering, lines_of, located, packed, unpacked
from metaembed_rag.pages.page import Page
from metaembed_rag.pages.reading import merged, with_lines, with_part

SECONDS = 60.0
"""By the clock, after which no further figure of a page is begun."""


def texts_of(page: Page) -> dict[str, str]:
    """What OCR read of the page's figures, by their hashes, each with its lines."""
    if not page.figure_texts:
        return {}
    try:
        return {
            str(hash): _lettering(str(text), str(lines))
            for hash, text, lines in json.loads(page.figure_texts)
        }
    except (TypeError, ValueError):
        return {}  # damaged: they are read again when the page is


def unread_figures(page: Page) -> list[Figure]:
    """The page's figures that nobody has read yet."""
    known = texts_of(page) if page.figures else {}
    return [figure for figure in page.figures if figure.hash not in known]


def with_figure_texts(page: Page, texts: Mapping[str, str]) -> Page:
    """The page with what was read of its figures below its own text, nothing said twice.

    The content hash stays: what is read follows from the file.

    Args:
        page: With figures.
        texts: By their hashes; may be of some of them.
    """
    read = {
        figure.hash: texts[figure.hash] for figure in page.figures if figure.hash in texts
    } | texts_of(page)
    new = [figure for figure in unread_figures(page) if figure.hash in texts]
    whole = _on_page((figure, texts[figure.hash]) for figure in new)
    said = [[hash, str(text), packed(located(text, lines_of(text)))] for hash, text in read.items()]
    return replace(_completed(page, whole), figure_texts=json.dumps(said, ensure_ascii=False))


def _completed(page: Page, read: Lettering) -> Page:
    """The page with another text from its pixels below those that it has."""
    if page.parts:
        before = next((part.text for part in page.parts if part.origin == "ocr"), "")
        beside = "\n".join(part.text for part in page.parts if part.origin != "ocr")
        new = merged(beside, read)[len(beside) :].strip("\n") if beside else str(read)
        both = "\n".join(filter(None, [before, new]))
        found = replace(with_part(page, "ocr", both), unread=page.unread)
        return with_lines(found, page, read)
    text = merged(page.text, read)
    if text == page.text:
        return page
    layer = page.text_layer if page.text_from_ocr else page.text
    found = replace(page, text=text, text_from_ocr=True, text_layer=layer)
    return with_lines(found, page, read)


def _on_page(found: Iterable[tuple[Figure, str]]) -> Lettering:
    """What was read of several figures, with boxes on the page's picture."""
    texts, lines = [], []
    for figure, text in found:
        if text.strip():
            texts.append(str(text))
            lines += [(said, _placed(box, figure.box)) for said, box in lines_of(text)]
    return Lettering("\n".join(texts), lines)


def _placed(box: Box, within: Box) -> Box:
    """A box on a figure, as one on its page."""
    left, top, right, bottom = within
    width, height = right - left, bottom - top
    return (
        left + width * box[0],
        top + height * box[1],
        left + width * box[2],
        top + height * box[3],
    )


def _lettering(text: str, lines: str) -> Lettering:
    found = unpacked(lines, len(text))
    return Lettering(text, [(text[line.start : line.end], line.box) for line in found])
