"""The index that pages are written to: records, pictures and what OCR read, kept in step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metaembed_rag.errors import StoreError
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.pages import Page
from metaembed_rag.store import records
from metaembed_rag.store.changes import Change
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.pictures import PictureFolder, is_whole, own_picture, same_picture
from metaembed_rag.store.readings import Readings
from metaembed_rag.store.records import Record
from metaembed_rag.vectors.formats import Encoded, pack, vector_format


class EncodedVectors(NamedTuple):
    """Vectors of pages in the format of an index.

    Attributes:
        first: Of each page the first one, not rounded: float32, shape (pages, D).
        packed: All of them.
    """

    first: NDArray[np.float32]
    packed: Encoded


@dataclass(frozen=True)
class Target:
    """Where pages go. The writer lock is held by whoever calls a method.

    Attributes:
        store: Holds the records.
        pictures: Holds the pages' pictures.
        readings: Holds what OCR read and no record says.
        encoder: Gives the model; called only when there is something to encode.
        hand_over: Given what was changed, in order; says whether more is of use.
    """

    store: ChromaStore
    pictures: PictureFolder
    readings: Readings
    encoder: Callable[[], Encoder]
    hand_over: Callable[[Sequence[Change]], bool]

    def put(
        self,
        pages: Sequence[Page],
        mode: str,
        vectors: NDArray[np.float32],
        hashes: Mapping[str, str],
        replaced: Mapping[str, Record],
    ) -> Change:
        """Write pictures, then records, then remove pictures that no record names any more.

        Args:
            pages: Without repeats, each with its hash of what was encoded.
            mode: What of them was encoded.
            vectors: float32, shape (pages, R, dimension).
            hashes: Of what was encoded of each page, by id.
            replaced: The records that pages of the same ids have now, by id.
        """
        self.store.origin()  # pictures must not bring back the folder of an index that has gone
        kept = []
        for page in pages:
            image = page.load_image()
            if image is not None:  # kept as a file; the page goes on without its pixels
                name = self.keep_picture(image, page.id, hashes[page.id])
                page = replace(page, image=None, image_path=name)
            kept.append(page)
        encoded = vector_format(self.store.about.format).encode(vectors)
        return self.put_records(
            kept, mode, EncodedVectors(vectors[:, 0], encoded), hashes, replaced
        )

    def put_records(
        self,
        pages: Sequence[Page],
        mode: str,
        vectors: EncodedVectors,
        hashes: Mapping[str, str],
        replaced: Mapping[str, Record],
    ) -> Change:
        """Write the records of pages whose pictures are kept already, as :meth:`put` does."""
        metadatas: list[dict[str, Any]] = []
        old: set[str | None] = set()
        for page, payload in zip(pages, pack(vectors.packed), strict=True):
            metadata = records.to_metadata(Record(page, payload, hashes[page.id], mode))
            if page.id in replaced:
                metadata |= records.keys_gone(replaced[page.id], metadata)
                old.add(_picture(replaced[page.id]))
            elif damaged := self.store.unreadable.get(page.id):
                metadata |= dict.fromkeys(damaged.keys() - metadata.keys())
                old.add(_damaged_picture(page.id, damaged))
            metadatas.append(metadata)
        change = self.store.upsert([page.id for page in pages], vectors.first, metadatas)
        self.pictures.remove(old - {metadata.get(records.IMAGE) for metadata in metadatas})
        return replace(change, vectors=vectors.packed)

    def take_over(
        self,
        pages: Sequence[Page],
        donors: Sequence[Record],
        mode: str,
        replaced: Mapping[str, Record],
    ) -> Change:
        """Write pages with the vectors and pictures of others, byte for byte, as :meth:`put` does.

        Args:
            pages: Without repeats; where ``image`` holds the picture, it is of use only where that
                of the other page is lost.
            donors: For each the record of another page of the same content.
            mode: What of them was encoded.
            replaced: As for :meth:`put`.
        """
        self.store.origin()
        if any(donor.page.image_path is not None for donor in donors):
            self.pictures.prepare()
        stored = self.store.raw(list(dict.fromkeys(donor.page.id for donor in donors)))
        exact = {(one.id, one.metadata.get(records.HASH)): one.vector for one in stored}
        packed = self.store.about.unpack(donors)
        first = packed.first(1).decode()[:, 0]
        for number, donor in enumerate(donors):
            vector = exact.get((donor.page.id, donor.content_hash))
            if vector is not None:
                first[number] = vector
        hashes = {p.id: donor.content_hash for p, donor in zip(pages, donors, strict=True)}
        kept = [self._with_picture(*pair) for pair in zip(pages, donors, strict=True)]
        vectors = EncodedVectors(np.ascontiguousarray(first), packed)
        return self.put_records(kept, mode, vectors, hashes, replaced)

    def _with_picture(self, page: Page, donor: Record) -> Page:
        """A page with a copy of the picture of another one."""
        name = _picture(donor)
        data = None if name is None else self.pictures.read([name])[name]
        if name is not None and data is not None and is_whole(data):
            own = same_picture(name, page.id, donor.content_hash)
            with self._keeping(page.id):
                self.pictures.write(own, data)
        elif page.image is not None:
            own = self.keep_picture(page.image, page.id, donor.content_hash)
        else:
            return replace(page, image_path=None)
        return replace(page, image=None, image_path=own)

    def keep_picture(self, image: Image.Image, id: str, digest: str) -> str:
        """Keep the picture of a page; the name of its file.

        Raises:
            StoreError: The disk is full, or the folder cannot be written.
        """
        with self._keeping(id):
            return self.pictures.save(image, id, digest)

    @contextmanager
    def _keeping(self, id: str) -> Iterator[None]:
        """Say of a picture that cannot be kept what to do.

        Raises:
            StoreError: The disk is full, or the folder cannot be written.
        """
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"the picture of {id} cannot be kept in {self.pictures.folder}: "
                f"{error.strerror or error}; make room or mend the folder's permissions, and run "
                f"the same again"
            ) from error

    def has_picture(self, record: Record) -> bool:
        """Whether a page's own picture is there under its own name, or it has none."""
        if record.page.image_path is None:
            return True
        name = _picture(record)
        return name is not None and self.pictures.holds(name)

    def have_pictures(self, found: Sequence[Record]) -> bool:
        """Whether each of these pages has its own picture under its own name, or none."""
        names = [_picture(one) for one in found if one.page.image_path is not None]
        if None in names:
            return False
        wanted = {name for name in names if name is not None}
        return wanted <= self.pictures.held(wanted)

    def take_out(self, ids: Sequence[str]) -> Change:
        """Delete records, then pictures: a kill between leaves a stray file, no broken hit."""
        names = {_picture(record) for record in self.store.get(ids).values()}
        damaged = self.store.unreadable
        names |= {_damaged_picture(id, damaged[id]) for id in ids if id in damaged}
        change = self.store.delete(ids)
        self.pictures.remove(names)
        return change

    def remove(self, ids: Sequence[str]) -> None:
        """Take pages out, and hand that over."""
        if ids:  # else a write would be recorded, and everybody look for it
            self.hand_over([self.take_out(ids)])


def _picture(record: Record) -> str | None:
    return own_picture(record.page.image_path, record.page.id, record.content_hash)


def _damaged_picture(id: str, metadata: Mapping[str, Any]) -> str | None:
    return own_picture(records.picture_name(metadata), id, metadata.get(records.HASH))
