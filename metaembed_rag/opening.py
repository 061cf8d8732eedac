"""Opening an index: store, model and format are brought together and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import (
    IndexNotFoundError,
    ModelMismatchError,
    StoreError,
    UnnamedModelError,
)
from metaembed_rag.metadata.languages import language_name, remembered_as
from metaembed_rag.model.base import OrderedEncoder
from metaembed_rag.model.checkpoints import (
    DEFAULT_MODEL,
    MODEL_VARIABLE,
    former_versions,
    name_of_version,
)
from metaembed_rag.model.inputs import Input, query_input
from metaembed_rag.model.protocol import Encoder, checked_vectors, dimensions
from metaembed_rag.options import HYBRID_AUTO
from metaembed_rag.pages.folders import expanded
from metaembed_rag.store.access import ServerAccess
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.collection import CollectionModel
from metaembed_rag.store.connect import one_place
from metaembed_rag.store.named_models import named_model, remember_model
from metaembed_rag.store.pictures import PictureFolder
from metaembed_rag.store.places import MEMORY
from metaembed_rag.store.remote_pictures import PictureSettings, open_pictures
from metaembed_rag.vectors.formats import DEFAULT, cut_dimension, vector_format
from metaembed_rag.vectors.tensors import CPU
from metaembed_rag.vectors.tensors import VARIABLE as SCORING
from metaembed_rag.vectors.tensors import scoring_device as checked_device
from metaembed_rag.web import without_password


class ServerKeywords(TypedDict, total=False):
    """How a Chroma server is asked; each may be left out, which says the same as None.

    Attributes:
        tenant: Of a Chroma server; its default one without.
        database: Of that tenant; the default one without.
        headers: HTTP headers for a server or for the reverse proxy before it.
        token: What a server wants to see as ``Authorization: Bearer …``; without it and ``auth``
            the environment variables of ``docs/servers.md`` count.
        auth: User and password for ``Authorization: Basic …``.
        verify: How a server's certificate is checked: against the authorities that are trusted
            here (True, the default) or against those of a PEM file; False does not check it.
        timeout: Seconds that a server may keep silent before a request is given up; 60 by default.
    """

    tenant: str | None
    database: str | None
    headers: Mapping[str, str] | None
    token: str | None
    auth: tuple[str, str] | None
    verify: bool | str | Path | None
    timeout: float | None


class OpenSettings(ServerKeywords, total=False):
    """What :meth:`metaembed_rag.PageIndex.open` takes beside place, model and names.

    Each may be left out, which says the same as None. Those of :class:`ServerKeywords` are among
    them.

    Attributes:
        vectors: Vectors stored a page; all that the model makes by default. An existing index keeps
            its number.
        format: How a new index stores them: ``"fp16"``, ``"int8"`` (the default), ``"int4"`` or
            ``"bits"``; see ``docs/formats.md``. An existing index keeps its format.
        dimension: Values stored a vector, where the model was trained so that a prefix of its
            values works alone; all by default. An existing index keeps its number.
        language: How a hybrid search reads words: a language (``"german"``, ``"de"``), ``"auto"``
            for each page's own, or ``"none"`` for whole words; see ``docs/languages.md``. A new
            index remembers it; of an existing one it counts for this opening.
        pictures: Folder for page pictures, or the address of an object store for them
            (``"s3://bucket/folder"``, whatever fsspec knows; see ``docs/pictures.md``). By default
            where the index says; else beside a folder's index, in the user's cache folder for a
            server, in a temporary folder for memory.
        picture_options: What fsspec's file system of such a store is made with, such as ``key`` and
            ``secret``; better said in the environment. Never stored, never shown.
        picture_cache: Bytes that copies of a store's pictures may take on this machine, those of
            all indexes together; by default what ``METAEMBED_PICTURE_CACHE`` says, or 1 GiB.
        device: Where a model that the index loads itself runs (``"cpu"``, ``"cuda"``, ``"mps"``);
            the best there is by default.
        scoring_device: Where all pages are scored: ``"cpu"``, or ``"cuda"`` to hold them on a GPU
            (``"cuda:1"``: on that one); without it that of ``METAEMBED_SCORING_DEVICE``, or else
            the GPU on which the model runs. fp16 vectors are always scored on the CPU.
    """

    vectors: int | None
    format: str | None
    dimension: int | None
    language: str | None
    pictures: str | Path | None
    picture_options: Mapping[str, Any] | None
    picture_cache: int | None
    device: str | None
    scoring_device: str | None


SERVER = ServerKeywords.__optional_keys__
SETTINGS = OpenSettings.__optional_keys__
"""The names of both."""


@dataclass(frozen=True)
class Opened:
    """What an index is made of.

    Attributes:
        store: Holds the records; of the model's fingerprint, where a model was given.
        encoder: The model; None where the index loads it when it is first needed.
        pictures: Holds the pages' pictures.
        device: Where a model that the index loads itself runs; None for the best there is.
        scoring_device: Where all pages are scored; ``""`` for where the model runs.
        settings: What opens it again, with what a client of Chroma or an address said; not what
            the environment said.
    """

    store: ChromaStore
    encoder: Encoder | None
    pictures: PictureFolder
    device: str | None
    scoring_device: str
    settings: OpenSettings = field(default_factory=OpenSettings, repr=False)

    def load_encoder(self) -> Encoder:
        """The model that made the index, by the name that the user gave it or the index recorded.

        Raises:
            UnnamedModelError: It is on a server, would be downloaded or holds pickles, and the user
                has not named it for this index on this machine.
            ModelMismatchError: Another model has that name now.
        """
        about, named = self.store.about, _named_by_user(self.store)
        if named is None:
            _refuse_unnamed(self.store)
        name = name_of_version(named or about.model, about.fingerprint)
        encoder = load_encoder(name, self.device, named is None)
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
        made = encoder.encode_query(inputs)
        return self.cut(checked_vectors(encoder, "query", made, len(inputs)))

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


def open_parts(
    where: str | os.PathLike[str] | Any,
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
    _check_settings(settings)
    place, access = one_place(where, server_access(settings))
    device = settings.get("device")
    scoring = checked_device(settings.get("scoring_device") or os.environ.get(SCORING, ""))
    made_of = encoder
    said_of_pictures = _picture_settings(settings)

    def new() -> CollectionModel:
        nonlocal made_of
        made_of = encoder or load_encoder(DEFAULT_MODEL, device)
        return replace(_collection_model(made_of, settings), pictures=said_of_pictures.url)

    store = ChromaStore.open(place, new if create else None, collection=collection, access=access)
    with ExitStack() as undo:
        undo.callback(store.close)
        if made_of is not None:
            _check_model(store, made_of)
            _remember(store, made_of)
        _check_storage(store, settings)
        pictures = open_pictures(store, said_of_pictures)
        undo.pop_all()
    again = {**settings, **_said_by_place(store, settings, access)}
    return Opened(store, made_of, pictures, device, scoring, again)  # type: ignore[arg-type]


def server_access(settings: Mapping[str, Any]) -> ServerAccess:
    """How a server is asked, by the settings of an index.

    Args:
        settings: :class:`ServerKeywords`; others are left to those whose they are.

    Raises:
        StoreError: They have no meaning.
    """
    given = {name: settings.get(name) for name in SERVER}
    return ServerAccess(**{name: value for name, value in given.items() if value is not None})


def _said_by_place(
    store: ChromaStore, settings: OpenSettings, access: ServerAccess
) -> dict[str, Any]:
    """What a client of Chroma, an address or a key said of the server, as settings."""
    said: dict[str, Any] = {**store.places.tenancy}
    if access.headers and not settings.get("headers"):
        said["headers"] = access.headers
    if access.verify is not True:
        said["verify"] = access.verify
    return said


def _picture_settings(settings: OpenSettings) -> PictureSettings:
    return PictureSettings(
        settings.get("pictures"),
        settings.get("picture_options"),
        settings.get("picture_cache"),
        settings.get("timeout"),
    )


def _check_settings(settings: OpenSettings) -> None:
    """Refuse what is no setting."""
    for name in settings.keys() - SETTINGS:
        raise TypeError(f"PageIndex.open() got an unexpected keyword argument {name!r}")
    if (language := settings.get("language")) is not None:
        language_name(language)


def load_encoder(name: str, device: str | None = None, locally: bool = False) -> Encoder:
    """A model by its name, on a device or on the best there is.

    Args:
        name: A shipped name, a folder, a hub id or an address.
        device: As for :meth:`metaembed_rag.MetaEmbedEncoder.from_pretrained`.
        locally: Use no network, also where the name is a hub id.
    """
    from metaembed_rag.model import MetaEmbedEncoder
    from metaembed_rag.model.recorded import is_of_hub_or_folder

    if locally and is_of_hub_or_folder(name):
        return MetaEmbedEncoder.from_pretrained(name, device=device, local_files_only=True)
    return MetaEmbedEncoder.from_pretrained(name, device=device)


def name_for_index(
    name: str, where: str | os.PathLike[str] | Any, collection: str, **settings: Any
) -> str:
    """The name of the version of a shipped checkpoint that made an index, where a name is given.

    Args:
        name: What the user wrote: ``"small"`` is any version of it.
        where: As for :meth:`metaembed_rag.PageIndex.open`, like the others.
        collection: Of the index, which need not be there.
        **settings: ``tenant``, ``headers``, ``timeout``, … of a server.

    Returns:
        The name with that version, if a former one made the index; else the name as it is.

    Raises:
        StoreError: The index cannot be opened.
    """
    if not former_versions(name) or where == MEMORY:
        return name
    try:
        store = ChromaStore.open(where, None, collection=collection, access=server_access(settings))
    except IndexNotFoundError:
        return name
    with ExitStack() as undo:
        undo.callback(store.close)
        return name_of_version(name, store.about.fingerprint)


def _named_by_user(store: ChromaStore) -> str | None:
    """The name that the user gave the model of this index, once here or in the environment."""
    from metaembed_rag.model.recorded import leads_to_same

    recorded = store.about.model
    if leads_to_same(os.environ.get(MODEL_VARIABLE, ""), recorded):
        return recorded
    return named_model(store.collection_id)


def _refuse_unnamed(store: ChromaStore) -> None:
    """Let no index choose whom this machine asks, what it downloads and which code it reads."""
    from metaembed_rag.model.recorded import reason_to_ask

    if reason := reason_to_ask(store.about.model):
        name = without_password(store.about.model)
        raise UnnamedModelError(
            f"the index at {store.where} was made with {name!r}, {reason}; an index is not "
            f"believed in that. If you trust it, name it yourself, once on this machine: "
            f"PageIndex.open(…, encoder=MetaEmbedEncoder.from_pretrained({name!r})), or "
            f"--model or {MODEL_VARIABLE} with the same name on the command line"
        )


def _remember(store: ChromaStore, encoder: Encoder) -> None:
    """Keep which model the user named for an index, where it would have to be named again."""
    from metaembed_rag.model.recorded import has_to_be_named

    name = lasting_name(encoder.name)
    if store.where != MEMORY and isinstance(encoder, OrderedEncoder) and has_to_be_named(name):
        remember_model(store.collection_id, name)


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
    lasting = lasting_name(encoder.name)
    pooling = str(getattr(encoder, "pooling", ""))
    language = settings.get("language")
    return CollectionModel(
        *(lasting, encoder.fingerprint, width, count, name, pooling),
        hybrid=HYBRID_AUTO,
        language="" if language is None else remembered_as(language),
    )


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


def lasting_name(name: str) -> str:
    """The name of a model by which it is found from any working folder."""
    from metaembed_rag.model.checkpoints import join_name, shipped_checkpoints, split_name

    bare, options = split_name(name)
    folder = expanded(bare)
    if not folder.is_dir() or bare in shipped_checkpoints():
        return name
    return join_name(str(folder.resolve()), options)
