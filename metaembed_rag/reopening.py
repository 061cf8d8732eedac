"""An index for another process: what is pickled of it, and how it is opened again."""

from __future__ import annotations

from dataclasses import dataclass, field

from metaembed_rag.errors import ModelMismatchError, StoreError
from metaembed_rag.model.checkpoints import name_of_version
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.opening import OpenSettings, lasting_name, load_encoder
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.places import MEMORY


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
        encoder = load_encoder(name_of_version(self.name, self.fingerprint), device)
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
        settings: As they were given; with them tenant, database, headers and credentials of a
            server, those of the environment left out.
        encoder: The model that was given, or its name; None where the index names it.
    """

    where: str
    collection: str
    stemmer: str | None
    settings: OpenSettings = field(repr=False)
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
    return NamedModel(lasting_name(encoder.name), encoder.fingerprint)
