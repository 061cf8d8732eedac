"""The shards of a federated index: opened, named, and seen to belong together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import cast

from metaembed_rag.errors import ModelMismatchError, ServerError, StoreError, kind_of_value
from metaembed_rag.federation import TOKEN
from metaembed_rag.federation.client import Server
from metaembed_rag.federation.shards import LocalShard, ServedShard, Shard
from metaembed_rag.index import PageIndex
from metaembed_rag.model.protocol import Encoder
from metaembed_rag.opening import SERVER, OpenSettings
from metaembed_rag.store.given import ChromaClient
from metaembed_rag.store.places import is_server

ShardLike = PageIndex | str | os.PathLike[str] | ChromaClient
"""An open index, a folder, the address of a Chroma server or of a running `metaembed serve`, or an
open client of Chroma."""

_SILENCE = 30.0
"""Seconds for which a server of this package may keep silent, where nobody says otherwise."""


class ShardOpener:
    """Opens what a user names as a shard.

    Args:
        encoder: The model of all indexes that are opened here; None to let each load its own.
        collection: Name in Chroma of the indexes that are opened.
        token: What servers of this package want to be shown; None for that of the environment.
        settings: As :meth:`metaembed_rag.PageIndex.open` takes them. What is said of a Chroma
            server counts for shards that are on one, where there are such.
    """

    def __init__(
        self, encoder: Encoder | None, collection: str, token: str | None, settings: OpenSettings
    ) -> None:
        self._encoder, self._collection, self._settings = encoder, collection, settings
        self._token = os.environ.get(TOKEN, "") if token is None else token

    def open(self, given: ShardLike, beside_server: bool = False) -> Shard:
        """One shard.

        Args:
            given: What it is.
            beside_server: Whether one of all shards is at the address of a server.

        Raises:
            StoreError: It is no index and no place of one, or cannot be opened.
            ServerError: It is a server that does not say what it serves.
        """
        if isinstance(given, PageIndex):
            return LocalShard(given)
        if not isinstance(given, str | os.PathLike | ChromaClient):
            raise StoreError(
                f"a shard is an open PageIndex, a folder, the address of a server, or a client of "
                f"Chroma, not {kind_of_value(given)}"
            )
        if str(given).startswith(("http://", "https://")) and self._is_served(str(given)):
            return ServedShard(str(given), self._token, self._seconds)
        settings = self._settings
        if beside_server and not is_address(given):
            settings = _without_server(settings)
        index = PageIndex.open(
            given, self._encoder, collection=self._collection, create=False, **settings
        )
        return LocalShard(index, owned=True)

    @property
    def _seconds(self) -> float:
        return self._settings.get("timeout") or _SILENCE

    def _is_served(self, address: str) -> bool:
        """Whether a `metaembed serve` answers there, and no Chroma server."""
        try:
            said = Server(address, silence=self._seconds).get("/health")
        except ServerError:
            return False
        return said.get("status") == "ok"


def is_address(given: object) -> bool:
    """Whether a shard is named by the address of a server."""
    return isinstance(given, str) and is_server(given)


def _without_server(settings: OpenSettings) -> OpenSettings:
    """Settings without those of a Chroma server, but for its patience."""
    kept = {name: one for name, one in settings.items() if name not in SERVER - {"timeout"}}
    return cast(OpenSettings, kept)


def opened_shards(
    given: Iterable[ShardLike] | Mapping[str, ShardLike], opener: ShardOpener
) -> dict[str, Shard]:
    """All shards by their names: those that are given, or where each is.

    Raises:
        StoreError: There is none, or one cannot be opened; those before it are closed again.
        ModelMismatchError: Scores of two of them could not be compared.
    """
    if isinstance(given, str | bytes | PageIndex) or not isinstance(given, Iterable):
        raise StoreError(f"give a list of indexes, not {kind_of_value(given)}")
    named = list(given.items()) if isinstance(given, Mapping) else [("", one) for one in given]
    if not named:
        raise StoreError("a federated index needs at least one index; name some")
    shards: dict[str, Shard] = {}
    has_server = any(is_address(one) for _, one in named)
    with ExitStack() as undo:
        for name, one in named:
            shard = opener.open(one, has_server)
            undo.callback(shard.close)
            shards[_free(name or shard.where, shards)] = shard
        _check_alike(shards)
        undo.pop_all()
    return shards


def _check_alike(shards: Mapping[str, Shard]) -> None:
    """Refuse shards whose scores mean different things.

    Raises:
        ModelMismatchError: It names the two, and what differs.
    """
    (first, shard), *others = shards.items()
    for name, other in others:
        if difference := shard.model.difference(other.model):
            raise ModelMismatchError(
                f"{first} and {name} cannot be searched as one, because {difference}; index the "
                f"pages of one of them again as the other's, or search the two apart"
            )


def _free(name: str, taken: Mapping[str, Shard]) -> str:
    """The name, with a number behind it where it is taken."""
    number, found = 2, name
    while found in taken:
        found, number = f"{name} ({number})", number + 1
    return found
