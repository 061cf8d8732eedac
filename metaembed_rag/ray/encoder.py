"""``PageEncoder``: what one worker does, from files or pages to rows with packed vectors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import ModelMismatchError, PageError, StoreError
from metaembed_rag.index import PageIndex
from metaembed_rag.ingest import AddReport
from metaembed_rag.ingest.encoded_rows import EMPTY_ROW, UNCHANGED, page_columns
from metaembed_rag.ingest.encoding import encode_pages
from metaembed_rag.model.checkpoints import (
    DEFAULT_MODEL,
    name_of_version,
    shipped_checkpoints,
    split_name,
)
from metaembed_rag.model.inputs import Mode, check_mode, page_inputs
from metaembed_rag.model.looking import wants_ocr
from metaembed_rag.model.protocol import Encoder, dimensions
from metaembed_rag.opening import lasting_name, load_encoder
from metaembed_rag.pages import Limits, Page
from metaembed_rag.pages.reading import Ocr, ocr_policy
from metaembed_rag.ray.columns import as_bytes, table
from metaembed_rag.ray.pictures import SharedPictures
from metaembed_rag.ray.reading import ItemReader, Unchanged
from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.vectors.formats import DEFAULT, pack_bytes, vector_format

_AT_ONCE = 32
_LOADING = ("password", "max_side", "limits")


class EncodingKeywords(TypedDict, total=False):
    """What a :class:`PageEncoder` may be told beside model, mode and OCR.

    Attributes:
        vectors: Vectors stored a page, as the index says; all that the model makes by default.
        format: How they are stored: ``"int8"`` by default.
        dimension: Values stored a vector; all by default.
        fingerprint: Of the model that made the index. A worker that loads another one stops with
            :class:`metaembed_rag.errors.ModelMismatchError`.
        device: Where the model runs; the best there is by default.
        max_passes: The most passes over the text of one page.
        pictures: The folder in which the index keeps its pictures, if the workers share it, or the
            address of its collection's pictures in an object store
            (``s3://bucket/pictures/<id of the collection>``): they write them there themselves, and
            rows name them. Without it rows hold their bytes.
        picture_options: What fsspec's file system of such a store is made with.
        password: As for :func:`metaembed_rag.load_pages`, and so are the next two.
        max_side: Longest side of a page's picture in pixels.
        limits: Sizes above which a file is refused.
        prefix: Put before each path, where paths lack the protocol of a store (``"s3://"``).
        folders: The folders that were named, where files are from folders: names below them are
            words of a picture.
        unchanged: Digests of files that are in the index already, by their sources; a file that has
            its own there gives one row and is not read.
        blank: Digests of files that have only blank pages.
        moved: Digests of files that have gone and whose pages are in the index.
        digests: Of files whose store says what changes with their content, by their sources.
    """

    vectors: int | None
    format: str | None
    dimension: int | None
    fingerprint: str
    device: str | None
    max_passes: int | None
    pictures: str | os.PathLike[str] | None
    picture_options: Mapping[str, Any] | None
    password: str | None
    max_side: int
    limits: Limits
    prefix: str
    folders: Sequence[str]
    unchanged: Mapping[str, str]
    blank: Sequence[str]
    moved: Sequence[str]
    digests: Mapping[str, str]


class PageEncoder:
    """Encodes pages where there is no index: a class for ``map_batches`` of Ray Data.

    The model is loaded once, when it is made. Each call is on its own, so a batch that is computed
    again, after a worker was lost, gives the same rows with the same ids.

    Args:
        model: A name that each worker can load (shipped, a folder that all see, a hub id, an
            address), or an encoder.
        mode: What of a page is encoded; as for :meth:`metaembed_rag.PageIndex.add`, like ``ocr``.
        ocr: When pictures are read by OCR.
        **keywords: See :class:`EncodingKeywords`; :meth:`arguments` gives those of an index.

    Attributes:
        about: What an index says of such vectors.

    Raises:
        ModelMismatchError: The model that was loaded has another fingerprint than was asked for.
        StoreError: The model does not make such vectors.
        TypeError: Another keyword.
    """

    def __init__(
        self,
        model: str | Encoder = DEFAULT_MODEL,
        mode: Mode = "fused",
        ocr: bool | Ocr = True,
        **keywords: Unpack[EncodingKeywords],
    ) -> None:
        for name in keywords.keys() - EncodingKeywords.__annotations__.keys():
            raise TypeError(f"PageEncoder() got an unexpected keyword argument {name!r}")
        check_mode(mode)
        self._mode, self._ocr = mode, ocr_policy(ocr)
        self._encoder = _load(model, keywords) if isinstance(model, str) else model
        _check_fingerprint(self._encoder, keywords.get("fingerprint", ""))
        self.about = _about(self._encoder, keywords)
        self._reader = ItemReader(
            keywords.get("folders", ()),
            keywords.get("unchanged", {}),
            frozenset(keywords.get("blank", ())),
            {name: value for name, value in keywords.items() if name in _LOADING},
            keywords.get("prefix", ""),
            keywords.get("digests", {}),
            frozenset(keywords.get("moved", ())),
        )
        place = keywords.get("pictures")
        options = keywords.get("picture_options")
        self._pictures = None if place is None else SharedPictures(place, options)

    @staticmethod
    def arguments(
        index: PageIndex, model: str | None = None, **keywords: Unpack[EncodingKeywords]
    ) -> dict[str, Any]:
        """What a :class:`PageEncoder` is made with whose rows are for an index.

        Args:
            index: The index.
            model: The name by which workers load its model. By default the one that it records of a
                shipped checkpoint, else that of its encoder, which is loaded for it.
            **keywords: More of :class:`EncodingKeywords`.

        Returns:
            For ``PageEncoder(**arguments)``, or ``fn_constructor_kwargs`` of ``map_batches``.

        Raises:
            UnnamedModelError: You have not named the index's model on this machine.
        """
        info = index.info()
        if model is not None:
            model = lasting_name(model)  # workers have another working folder
        else:
            is_shipped = split_name(info["model"])[0] in shipped_checkpoints()
            model = info["model"] if is_shipped else lasting_name(index.encoder.name)
        return {
            "model": model,
            "fingerprint": info["fingerprint"],
            "vectors": info["vectors_per_page"],
            "format": info["vector_format"],
            "dimension": info["dimension"],
            **keywords,
        }

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> Iterator[Any]:
        """Encode a batch of Ray Data.

        Args:
            batch: Columns of equal length, as ``batch_format="numpy"`` gives them: ``bytes`` and
                ``path`` of files, as ``read_binary_files(…, include_paths=True)`` reads them; or
                ``path`` alone, of files that the worker can open; or one page a row: ``source`` or
                ``id``, ``text``, ``picture`` (bytes), ``number``, ``page_count`` and ``metadata``
                (a mapping, or JSON of one).

        Yields:
            Tables of Arrow, each of at most 32 rows with the columns of :meth:`rows`.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        columns = zip(*batch.values(), strict=True)
        rows = self.rows(dict(zip(batch, values, strict=True)) for values in columns)
        while some := list(islice(rows, _AT_ONCE)):
            yield table(some, pictures_by_url=self._pictures is not None)

    def rows(self, items: Iterable[Page | Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Encode pages and files, without Ray.

        Args:
            items: Pages, or rows as a batch of :meth:`__call__` has them.

        Yields:
            Rows for :meth:`metaembed_rag.PageIndex.add_encoded`, one a page, 32 pages encoded at a
            time; and one with ``error`` and ``reason`` for each page or file that cannot be read.
        """
        pages: list[Page] = []
        for found in self._reader.pages(items):
            if isinstance(found, Page):
                pages.append(found)
            elif isinstance(found, PageError):
                yield self._failed(found)
            else:
                yield self._unchanged(found)
            if len(pages) == _AT_ONCE:
                yield from self._encoded(pages)
                pages = []
        yield from self._encoded(pages)

    def _encoded(self, pages: Sequence[Page]) -> Iterator[dict[str, Any]]:
        """Rows of pages, and of those that cannot be read or encoded."""
        left_out: list[PageError] = []
        noted: list[PageError] = []
        readable, inputs = page_inputs(
            pages,
            self._mode,
            self._encoder.modalities,
            ocr=self._ocr,
            on_skip=left_out.append,
            on_note=noted.append,
        )
        if readable:
            report = AddReport(notes=noted)
            made = encode_pages(self._encoder, self.about, readable, inputs, report)
            yield from self._rows_of(*made, report)
            yield from map(self._failed, report.skipped)
        by_id = {page.id: page for page in pages}
        yield from (self._failed(error, by_id.get(error.source)) for error in left_out)

    def _rows_of(
        self, pages: Sequence[Page], vectors: NDArray[np.float32], report: AddReport
    ) -> Iterator[dict[str, Any]]:
        notes = {note.source: note.reason for note in report.notes}
        packed = pack_bytes(vector_format(self.about.format).encode(vectors))
        for page, payload, own in zip(pages, packed, vectors, strict=True):
            more = page.unread != "" and wants_ocr(page, self._mode, self._encoder.modalities)
            content_hash = page.content_hash(page.image_hash)
            yield {
                **self._row(page),
                "vectors": payload,
                "first": own[0].astype("<f4").tobytes(),
                "hash": content_hash,
                "picture": self._picture(page, content_hash),
                # A file that gave an incomplete page is not taken for unchanged by the next run.
                "source_digest": "" if more else page.source_digest,
                "incomplete": more,
                "note": notes.get(page.id, ""),
                "unread_tokens": report.cut.get(page.id, 0),
            }

    def _row(self, page: Page) -> dict[str, Any]:
        about = self.about
        return {
            **EMPTY_ROW,
            **page_columns(page),
            "fingerprint": about.fingerprint,
            "dimension": about.dimension,
            "format": about.format,
            "mode": self._mode,
        }

    def _failed(self, error: PageError, page: Page | None = None) -> dict[str, Any]:
        """The row of what cannot be read; the page where nothing can be read on it any more."""
        what = {"error": type(error).__name__, "reason": error.reason, "gone": page is not None}
        known = {**EMPTY_ROW, "id": error.source, "mode": self._mode}
        return {**(known if page is None else self._row(page)), **what}

    def _unchanged(self, file: Unchanged) -> dict[str, Any]:
        return {**EMPTY_ROW, "id": file.source, "error": UNCHANGED, "source_digest": file.digest}

    def _picture(self, page: Page, content_hash: str) -> bytes | str | None:
        """The picture as bytes; or kept by this worker, its address."""
        image = page.load_image()
        if image is None or self._pictures is None:
            return None if image is None else as_bytes(image)
        return self._pictures.save(image, page.id, content_hash)


def _load(name: str, keywords: EncodingKeywords) -> Encoder:
    """The model of that name, in the version that has the wanted fingerprint."""
    named = name_of_version(name, keywords.get("fingerprint", ""))
    encoder = load_encoder(named, keywords.get("device"))
    passes = keywords.get("max_passes")
    if passes is not None and hasattr(encoder, "max_passes"):
        encoder.max_passes = passes
    return encoder


def _check_fingerprint(encoder: Encoder, wanted: str) -> None:
    if wanted and encoder.fingerprint != wanted:
        raise ModelMismatchError(
            f"this worker's {encoder.name!r} is another model ({encoder.fingerprint[:12]}) than "
            f"that of the index ({wanted[:12]}): put the same checkpoint and the same version of "
            f"metaembed-rag on every worker, or name the model's folder or hub id by model="
        )


def _about(encoder: Encoder, keywords: EncodingKeywords) -> CollectionModel:
    """What an index says of such vectors.

    Raises:
        StoreError: The model makes none.
    """
    count = keywords.get("vectors") or encoder.document_vectors
    width = keywords.get("dimension") or encoder.dimension
    if count > encoder.document_vectors or width not in dimensions(encoder):
        raise StoreError(
            f"{encoder.name!r} makes {encoder.document_vectors} vectors a page of "
            f"{', '.join(map(str, dimensions(encoder)))} values, not {count} of {width}; take the "
            f"numbers of the index: PageEncoder(**PageEncoder.arguments(index))"
        )
    format = vector_format(keywords.get("format") or DEFAULT).name
    return CollectionModel(encoder.name, encoder.fingerprint, width, count, format)
