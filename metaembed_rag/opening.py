"""Opening an index: store, model and format are brought together and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import ModelMismatchError, StoreError
from metaembed_rag.model.base import Encoder, dimensions
from metaembed_rag.model.inputs import Input, query_input
from metaembed_rag.store.chroma import ChromaStore, CollectionModel
from metaembed_rag.store.pictures import PictureFolder
from metaembed_rag.store.places import MEMORY
from metaembed_rag.vectors.formats import DEFAULT, cut_dimension, vector_format
from metaembed_rag.vectors.tensors import CPU
from metaembed_rag.vectors.tensors import VARIABLE as SCORING
from metaembed_rag.vectors.tensors import scoring_device as checked_device

DEFAULT_MODEL = "mini"


class OpenSettings(TypedDict, total=False):
    """What :meth:`metaembed_rag.PageIndex.open` takes beside place, model and names.

    Each may be left out, which says the same as None.

    Attributes:
        vectors: Vectors stored a page; all that the model makes by default. An existing index keeps
            its number.
        format: How a new index stores them: ``"fp16"``, ``"int8"`` (the default), ``"int4"`` or
            ``"bits"``; see ``docs/formats.md``. An existing index keeps its format.
        dimension: Values stored a vector, where the model was trained so that a prefix of its
            values works alone; all by default. An existing index keeps its number.
        pictures: Folder for page pictures; beside a folder's index by default, in the user's cache
            folder for a server, in a temporary folder for memory.
        headers: HTTP headers for a server behind a reverse proxy.
        device: Where a model that the index loads itself runs (``"cpu"``, ``"cuda"``, ``"mps"``);
            the best there is by default.
        scoring_device: Where all pages are scored: ``"cpu"``, or ``"cuda"`` to hold them on a GPU
            (``"cuda:1"``: on that one); without it that of ``METAEMBED_SCORING_DEVICE``, or else
            the GPU on which the model runs. fp16 vectors are always scored on the CPU.
    """

    vectors: int | None
    format: str | None
    dimension: int | None
    pictures: str | Path | None
    headers: Mapping[str, str] | None
    device: str | None
    scoring_device: str | None


@dataclass(frozen=True)
class Opened:
    """What an index is made of.

    Attributes:
        store: Holds the records; of the model's fingerprint, where a model was given.
        encoder: The model; None where the index loads it when it is first needed.
        pictures: Holds the pages' pictures.
        device: Where a model that the index loads itself runs; None for the best there is.
        scoring_device: Where all pages are scored; ``""`` for where the model runs.
    """

    store: ChromaStore
    encoder: Encoder | None
    pictures: PictureFolder
    device: str | None
    scoring_device: str

    def load_encoder(self) -> Encoder:
        """The model whose name the index recorded.

        Raises:
            ModelMismatchError: Another model has that name now.
        """
        encoder = load_encoder(self.store.about.model, self.device)
        _check_model(self.store, encoder)
        return encoder


class IndexModel:
    """The model of an index, loaded when it is first asked for.

    Args:
        opened: Says which model it is, or how it is loaded.

    Attributes:
        loaded: The encoder; None before it is loaded.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self.loaded = opened.encoder

    def encoder(self) -> Encoder:
        """The encoder."""
        if self.loaded is None:
            self.loaded = self._opened.load_encoder()
        return self.loaded

    def scoring_device(self) -> str:
        """Where pages are scored: as asked for, or beside the model on its GPU."""
        device = getattr(self.loaded, "device", None)
        beside = str(device) if getattr(device, "type", "") == "cuda" else CPU
        return self._opened.scoring_device or beside

    def query_vectors(self, queries: Sequence[Input]) -> NDArray[np.float32]:
        """Float32 unit vectors as long as the stored ones, shape (queries, R_q, dimension).

        Raises:
            IndexClosedError: Before a model is loaded in vain, or waits for threads that a fork
                has left behind.
        """
        self._opened.store.check_open()
        encoder = self.encoder()
        inputs = [query_input(query, encoder.modalities) for query in queries]
        return self.cut(encoder.encode_query(inputs))

    def cut(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The model's vectors at the dimension that is stored; shape (…, dimension).

        Raises:
            StoreError: They are of another model.
        """
        about, width = self._opened.store.about, vectors.shape[-1]
        if width != about.dimension and width != self.encoder().dimension:
            raise StoreError(
                f"the query's vectors have {width} values, those of the index {about.dimension}; "
                f"encode the query with the model {about.model!r}"
            )
        return cut_dimension(vectors, about.dimension)


@dataclass(frozen=True)
class NamedModel:
    """A model that was loaded by its name, for another process to load.

    Attributes:
        name: What loads it.
        fingerprint: What it has to be.
    """

    name: str
    fingerprint: str

    def load(self, device: str | None = None) -> Encoder:
        """The encoder.

        Raises:
            ModelMismatchError: Another model has that name there.
        """
        encoder = load_encoder(self.name, device)
        if encoder.fingerprint != self.fingerprint:
            raise ModelMismatchError(
                f"{self.name!r} loads another model here ({encoder.fingerprint[:12]}) than where "
                f"the index was pickled ({self.fingerprint[:12]}): open the index here, with "
                f"PageIndex.open(where, encoder)"
            )
        return encoder


@dataclass(frozen=True)
class Reopening:
    """All that opens an index again, in this process or in another one, where it is pickled.

    Attributes:
        where: An absolute folder, or the address of a server.
        collection: Name of the collection.
        stemmer: As it was given.
        settings: As they were given; with them the headers of a server.
        encoder: The model that was given, or its name; None where the index names it.
    """

    where: str
    collection: str
    stemmer: str | None
    settings: OpenSettings
    encoder: Encoder | NamedModel | None = None

    @classmethod
    def of(
        cls,
        store: ChromaStore,
        stemmer: str | None,
        settings: OpenSettings,
        encoder: Encoder | NamedModel | None,
    ) -> Reopening:
        """How a store's index is opened again.

        Raises:
            StoreError: It is in memory.
        """
        places = store.places
        if places.where == MEMORY:
            raise StoreError(
                "an index in memory cannot be copied or pickled, since it lives only in this "
                "process: open it in a folder, which other processes can open too"
            )
        where = str(places.folder or places.where)
        return cls(where, places.collection, stemmer, settings, encoder)

    def load_encoder(self) -> Encoder | None:
        """The model, loaded if only its name is known; None where the index names it."""
        model = self.encoder
        return model.load(self.settings.get("device")) if isinstance(model, NamedModel) else model


def portable(encoder: Encoder | None) -> Encoder | NamedModel | None:
    """What is pickled of a model: its name where it was loaded by one.

    An encoder of the user's own kind is left as it is, for pickle to judge.

    Raises:
        StoreError: It is of this package and was not loaded by a name: nobody else can load it.
    """
    by_name = getattr(encoder, "loaded_by_name", None)
    if encoder is None or by_name is None:
        return encoder
    if not by_name:
        raise StoreError(
            f"the encoder {encoder.name!r}, and an index with it, cannot be pickled: no name alone "
            f"loads it; save it and use MetaEmbedEncoder.from_pretrained(folder), or open the "
            f"index where it is needed"
        )
    return NamedModel(_lasting_name(encoder.name), encoder.fingerprint)


def open_parts(
    where: str | Path,
    encoder: Encoder | None,
    collection: str,
    create: bool,
    settings: OpenSettings,
) -> Opened:
    """Open the store, make it when it may be made, and check that all parts belong together.

    Raises:
        TypeError: There is no such setting.
        IndexNotFoundError: There is no index and ``create`` is false.
        ModelMismatchError: The index was made with another model, or stores its vectors otherwise.
        StoreError: It cannot be opened.
    """
    for name in settings.keys() - OpenSettings.__annotations__.keys():
        raise TypeError(f"PageIndex.open() got an unexpected keyword argument {name!r}")
    device = settings.get("device")
    scoring = checked_device(settings.get("scoring_device") or os.environ.get(SCORING, ""))
    made_of = encoder

    def new() -> CollectionModel:
        nonlocal made_of
        made_of = encoder or load_encoder(DEFAULT_MODEL, device)
        return _collection_model(made_of, settings)

    may_make, headers = new if create else None, settings.get("headers")
    store = ChromaStore.open(where, may_make, collection=collection, headers=headers)
    with ExitStack() as undo:
        undo.callback(store.close)
        if made_of is not None:
            _check_model(store, made_of)
        _check_storage(store, settings)
        pictures = PictureFolder.of(store.places, settings.get("pictures"))
        undo.pop_all()
    return Opened(store, made_of, pictures, device, scoring)


def load_encoder(name: str, device: str | None = None) -> Encoder:
    """A model by its name, on a device or on the best there is."""
    from metaembed_rag.model import MetaEmbedEncoder

    return MetaEmbedEncoder.from_pretrained(name, device=device)


def _collection_model(encoder: Encoder, settings: OpenSettings) -> CollectionModel:
    """What a new collection records of its vectors."""
    vectors, dimension = settings.get("vectors"), settings.get("dimension")
    count = encoder.document_vectors if vectors is None else vectors
    if not 1 <= count <= encoder.document_vectors:
        raise StoreError(
            f"{count} vectors a page cannot be stored: the model makes {encoder.document_vectors}"
        )
    name = vector_format(settings.get("format") or DEFAULT).name
    width = encoder.dimension if dimension is None else dimension
    trained = dimensions(encoder)
    if width not in trained:
        raise StoreError(
            f"vectors of {encoder.name!r} cannot be cut to {width} values: it was trained for "
            f"{', '.join(map(str, trained))}; use one of these, or leave the dimension out"
        )
    lasting = _lasting_name(encoder.name)
    pooling = str(getattr(encoder, "pooling", ""))
    return CollectionModel(lasting, encoder.fingerprint, width, count, name, pooling)


def _check_storage(store: ChromaStore, settings: OpenSettings) -> None:
    """Refuse to open an index as if it stored its vectors otherwise than it does."""
    spoken = {"vectors": "vectors a page", "format": "vectors", "dimension": "values a vector"}
    for name, words in spoken.items():
        value, stored = dict(settings).get(name), getattr(store.about, name)
        if value not in (None, stored):
            raise ModelMismatchError(
                f"the index at {store.where} stores {stored} {words}, not {value}; open it "
                f"without {name}=, or index again into another folder"
            )


def _check_model(store: ChromaStore, encoder: Encoder) -> None:
    if encoder.fingerprint != store.about.fingerprint:
        raise ModelMismatchError(
            f"the index at {store.where} was made with the model {store.about.model!r} "
            f"(fingerprint {store.about.fingerprint[:12]}), not with {encoder.name!r} "
            f"({encoder.fingerprint[:12]}): open it with that model, or index the files again "
            f"into another folder"
        )


def _lasting_name(name: str) -> str:
    """The name of a model by which it is found from any working folder."""
    from metaembed_rag.model.checkpoints import join_name, shipped_checkpoints, split_name

    bare, options = split_name(name)
    folder = Path(bare).expanduser()
    if not folder.is_dir() or bare in shipped_checkpoints():
        return name
    return join_name(str(folder.resolve()), options)
