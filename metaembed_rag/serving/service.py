"""One open index for many clients: what is asked of it, in words that name no place here."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag import __version__
from metaembed_rag.budget import RetrievalBudget
from metaembed_rag.errors import PageError, ServerError
from metaembed_rag.hits import Hit, Hits
from metaembed_rag.index import PageIndex
from metaembed_rag.ingest import AddReport
from metaembed_rag.options import SearchOptions
from metaembed_rag.pages import KINDS, Limits, Page, load_pages
from metaembed_rag.serving.answers import (
    DeleteAnswer,
    HitAnswer,
    InfoAnswer,
    Milliseconds,
    PageAnswer,
    SearchAnswer,
    Skipped,
    SourceAnswer,
    SourcesAnswer,
    UploadAnswer,
)
from metaembed_rag.serving.budgets import ladder, points
from metaembed_rag.serving.filtering import local_where
from metaembed_rag.serving.naming import (
    Catalog,
    NotFoundError,
    public_id,
    public_metadata,
    without_folders,
)
from metaembed_rag.serving.requests import ExplainRequest, SearchRequest
from metaembed_rag.serving.settings import ServerSettings
from metaembed_rag.serving.uploads import Received, UploadFolder, pages_of
from metaembed_rag.serving.work import Job

_REMEMBERED = 512
"""Questions whose vectors are kept, 16 x 384 float32 or 24 KB each."""
_PATIENCE = 60.0
"""Seconds to wait for another process that writes to the index."""
_QUERY = "the picture of the query"


class CannotExplainError(ServerError):
    """The index has no explanations."""


class ReadOnlyError(ServerError):
    """The server takes no uploads, or no writes at all."""


class IndexService:
    """Answers requests from one index; threads may share it.

    Args:
        index: Open, and left open.
        settings: What is allowed.
    """

    def __init__(self, index: PageIndex, settings: ServerSettings) -> None:
        self.index, self.settings = index, settings
        self.catalog = Catalog(index)
        self.uploads = None if settings.uploads is None else UploadFolder(Path(settings.uploads))
        self._asked: OrderedDict[bytes, tuple[NDArray[np.float32], str]] = OrderedDict()
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Load the model and map the vectors, so that nobody waits for it later."""
        if self.uploads is not None and self._can_write:
            self.uploads.tidy()
        self.index.encoder  # noqa: B018  # loaded by being asked for
        self.index.search("warm", 1)
        self.catalog.listed()

    # -- asking ----------------------------------------------------------------------------

    def search(self, asked: SearchRequest, picture: bytes | None = None) -> SearchAnswer:
        """The pages that answer.

        Raises:
            ServerError: There is nothing to search for, or an option makes no sense.
            MetaEmbedError: As :meth:`PageIndex.search`.
        """
        where = local_where(asked.where, asked.source, self.catalog)
        keywords = asked.keywords(where)
        SearchOptions.of(keywords, asked.k)  # refused before a query is encoded
        start = time.perf_counter()
        vectors, text = self._encoded(asked.query, picture)
        encoded = time.perf_counter()
        hits = self.index.search_vectors(vectors, asked.k, text=text, **keywords)
        times = encoded - start, time.perf_counter() - encoded
        return self._answer(asked.query, hits, times)

    def explain(self, asked: ExplainRequest, picture: bytes | None = None) -> dict[str, Any]:
        """Why a page has its score.

        Raises:
            CannotExplainError: This version of the index does not say.
            NotFoundError: There is no such page.
            ServerError: There is no question, or an option makes no sense.
        """
        explain = getattr(self.index, "explain", None)
        if explain is None:
            raise CannotExplainError("this version of the index explains no hits; update it")
        _check_question(asked.query, picture)
        id = self.catalog.id_of(asked.id)
        options = SearchOptions(budget=asked.budget, r_q=asked.r_q, r_c=asked.r_c)
        budget = options.unchosen(self._most())
        query = _query(asked.query, None if picture is None else _picture(picture))
        found: dict[str, Any] = explain(query, id, budget=budget).to_dict()
        source = self.catalog.name_of(found["source"])
        if asked.hybrid is False:
            found["words"] = []
        return {**found, "query": asked.query, "id": asked.id, "source": source}

    def page(self, public: str) -> PageAnswer:
        """A page.

        Raises:
            NotFoundError: There is no such page.
        """
        page = self._page(public)
        before, after = self.catalog.neighbours(page)
        return PageAnswer(
            **self._fields(page), previous=before, next=after, upload=self._is_upload(page.source)
        )

    def picture(self, public: str) -> Path:
        """The file of a page's picture, inside the index's own folder of pictures.

        Raises:
            NotFoundError: There is no such page, or it has no picture.
        """
        page = self._page(public)
        if page.image_path is None or not Path(page.image_path).is_file():
            raise NotFoundError(self.catalog.name_of(page.source), "this page has no picture")
        return Path(page.image_path)

    def sources(self, offset: int, limit: int, containing: str) -> SourcesAnswer:
        """The files of the index whose names contain some letters, by name."""
        listed = self.catalog.listed()
        wanted = containing.casefold()
        names = sorted(name for name in listed.sources if wanted in name.casefold())
        some = [(name, listed.sources[name]) for name in names[offset : offset + limit]]
        found = [
            SourceAnswer(
                source=name,
                pages=len(listed.pages[source]),
                first=public_id(listed.pages[source][0][1]),
                upload=self._is_upload(source),
            )
            for name, source in some
        ]
        return SourcesAnswer(pages=len(listed.ids), total=len(names), sources=found)

    def info(self) -> InfoAnswer:
        """What is served."""
        info = self.index.info()
        most = self._most()
        calibration = self.index.retrieval.calibration()
        per_vector = info["bytes_per_page"] / info["vectors_per_page"]
        named = Path(info["index"]).name or info["index"]
        same = (
            *("collection", "model", "fingerprint", "pooling", "pages", "vectors_per_page"),
            *("dimension", "vector_format", "bytes_per_page", "hybrid"),
        )
        return InfoAnswer(
            **{name: info[name] for name in same} | {"model": _model_name(info["model"])},
            index=named,
            sources=len(self.catalog.listed().names),
            query_vectors=most.r_q,
            version=__version__,
            uploads=self.uploads is not None and self._can_write,
            writable=self._can_write,
            explains=hasattr(self.index, "explain"),
            max_upload_bytes=self.settings.max_upload_bytes,
            suffixes=sorted(KINDS),
            calibrated_pages=None if calibration is None else calibration.pages,
            budgets=points(ladder(most.r_q, most.r_c), per_vector, calibration, info["pages"]),
        )

    # -- writing ---------------------------------------------------------------------------

    def check_writable(self) -> None:
        """Refuse to write where nothing may be written.

        Raises:
            ReadOnlyError: It says so.
        """
        if not self._can_write:
            raise ReadOnlyError("this server is read-only: it takes no uploads and no deletions")

    def upload_folder(self) -> UploadFolder:
        """Where uploads go.

        Raises:
            ReadOnlyError: The server takes none.
        """
        self.check_writable()
        if self.uploads is None:
            raise ReadOnlyError("this server takes no uploads: start it with --uploads DIR")
        return self.uploads

    def index_received(
        self,
        job: Job,
        received: Sequence[Received],
        refused: Sequence[PageError],
        check: Callable[[], None],
    ) -> UploadAnswer:
        """Put files that have arrived into the index, one after the other, and tell of each batch.

        Args:
            job: Is told of events ``file`` and ``progress``.
            received: What has arrived.
            refused: What was sent and could not be taken.
            check: Called after each batch; may raise to stop there.
        """
        folder = self.upload_folder()
        answer = UploadAnswer(files=[one.name for one in received])
        answer.skipped = [self._said(error) for error in refused]
        limits = Limits(max_file_bytes=self.settings.max_upload_bytes)
        for one in received:
            job.tell("file", file=one.name, pages=pages_of(one))
            done = 0

            def progress(pages: int, name: str = one.name) -> None:
                nonlocal done
                done += pages
                job.tell("progress", file=name, done=done)
                check()

            try:
                report = folder.index(one, self.index, progress, limits, _PATIENCE)
            finally:
                self.catalog.forget()
            self._count(answer, report)
        answer.pages = len(self.index)
        return answer

    def delete(self, ids: Sequence[str] = (), source: str | None = None) -> DeleteAnswer:
        """Delete pages by what the server calls them, or all of a file.

        A file that was uploaded goes too when it is named; files of the user's own are never
        touched.

        Raises:
            NotFoundError: There is no such page or file.
        """
        self.check_writable()
        files = 0
        if source is None:
            local = [self.catalog.id_of(id) for id in ids]
            deleted = self.index.delete(local, lock_timeout=_PATIENCE) if local else 0
        else:
            named = self.catalog.source_of(source)
            if named is None:
                raise NotFoundError(source, "is no file of the index")
            # By a filter: a name with a * in it is no pattern, also where its pages have just gone.
            deleted = self.index.delete(where={"source": named}, lock_timeout=_PATIENCE)
            files = 0 if self.uploads is None else self.uploads.remove([named])
        self.catalog.forget()
        return DeleteAnswer(deleted=deleted, files=files, pages=len(self.index))

    # -- parts -----------------------------------------------------------------------------

    @property
    def _can_write(self) -> bool:
        return not self.settings.read_only

    def _most(self) -> RetrievalBudget:
        return RetrievalBudget(self.index.encoder.query_vectors, self.index.vectors_per_page)

    def _encoded(self, text: str, picture: bytes | None) -> tuple[NDArray[np.float32], str]:
        """A question's vectors, which the slider asks for at many budgets, and its words.

        Raises:
            ServerError: There is neither text nor picture.
            PageError: The picture cannot be read.
        """
        _check_question(text, picture)
        # No question is taken for another: the length of the text stands before both.
        key = blake2b(f"{len(text)} {text}".encode("utf-8", "surrogatepass") + (picture or b"\0"))
        digest = key.digest()
        with self._lock:
            if digest in self._asked:
                self._asked.move_to_end(digest)
                return self._asked[digest]
        image = None if picture is None else _picture(picture)
        made = self.index.retrieval.encode(_query(text, image))
        with self._lock:
            self._asked[digest] = made
            if len(self._asked) > _REMEMBERED:
                self._asked.popitem(last=False)
        return made

    def _answer(self, query: str, hits: Hits, times: tuple[float, float]) -> SearchAnswer:
        info = self.index.info()
        per_vector = info["bytes_per_page"] / info["vectors_per_page"]
        budget, plan = hits.budget, hits.plan
        encode, search = (round(1000 * seconds, 3) for seconds in times)
        return SearchAnswer(
            query=query,
            budget=(budget.r_q, budget.r_c),
            seconds=round(sum(times), 6),
            milliseconds=Milliseconds(
                encode=encode, search=search, total=round(encode + search, 3)
            ),
            scoring=hits.scoring,
            vectors_per_page=budget.r_c,
            bytes_per_page=round(per_vector * budget.r_c),
            pages=info["pages"],
            plan=None if plan is None else plan.to_dict(),
            words=None if plan is None or not plan.words else plan.words,
            note=without_folders(hits.note) or None,
            spread=None if hits.spread is None else vars(hits.spread),
            hits=[self._hit(hit) for hit in hits],
        )

    def _hit(self, hit: Hit) -> HitAnswer:
        return HitAnswer(
            **self._fields(hit.page),
            rank=hit.rank,
            score=round(hit.score, 6),
            maxsim=None if hit.maxsim is None else round(hit.maxsim, 6),
            bm25=None if hit.bm25 is None else round(hit.bm25, 6),
            found=None if hit.found is None else round(hit.found, 6),
            snippet=getattr(hit, "snippet", None),
            confidence=getattr(hit, "confidence", None),
        )

    def _fields(self, page: Page) -> dict[str, Any]:
        """What is said of a page wherever it is named."""
        public = public_id(page.id)
        picture = f"/pages/{public}/picture?v={page.content_hash()[:16]}"
        return {
            "id": public,
            "source": self.catalog.name_of(page.source),
            "page": page.number,
            "pages": page.page_count,
            "text": page.text,
            "image": None if page.image_path is None else picture,
            "metadata": public_metadata(page),
            "text_from": page.text_from or None,
        }

    def _page(self, public: str) -> Page:
        found = self.index.get([self.catalog.id_of(public)])
        if not found:
            self.catalog.forget()
            raise NotFoundError("this page", "is not in the index any more; search again")
        return found[0]

    def _is_upload(self, source: str) -> bool:
        return self.uploads is not None and self.uploads.holds(source)

    def _said(self, error: PageError) -> Skipped:
        """What could not be read, without the folders where it lies."""
        return Skipped(source=without_folders(error.source), reason=without_folders(error.reason))

    def _count(self, answer: UploadAnswer, report: AddReport) -> None:
        for name in ("added", "updated", "unchanged", "removed"):
            setattr(answer, name, getattr(answer, name) + getattr(report, name))
        answer.blank += len(report.blank)
        answer.skipped += [self._said(error) for error in report.skipped]
        answer.notes += [self._said(error) for error in report.notes]


def _check_question(text: str, picture: bytes | None) -> None:
    """Raises ServerError: There is neither text nor picture."""
    if not text.strip() and picture is None:
        raise ServerError("give a query, a picture, or both")


def _query(text: str, image: Any) -> Any:
    """What the index is asked."""
    if image is None:
        return text
    return {"text": text, "image": image} if text.strip() else image


def _picture(data: bytes) -> Any:
    """The picture of a query, read as any file of a stranger: in a process with limits.

    Raises:
        PageError: It is no picture and no PDF.
    """
    found = next(iter(load_pages(data, source=_QUERY)), None)
    if found is None or found.image is None:
        raise PageError(_QUERY, "is no image and no PDF")
    return found.image


def _model_name(model: str) -> str:
    """The name of a model; of a folder its last part."""
    return Path(model).name if Path(model).is_absolute() else model
