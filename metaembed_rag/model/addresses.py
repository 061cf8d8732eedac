"""What an address of a model leads to: ordered vectors, Meta Tokens, or tokens to be pooled."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from metaembed_rag.errors import CheckpointError
from metaembed_rag.model.base import OrderedEncoder
from metaembed_rag.model.meta_token_client import CHECKPOINT, MetaTokenEncoder
from metaembed_rag.model.model_server import named_model, read_address
from metaembed_rag.model.pooling import Pooling
from metaembed_rag.model.remote import RemoteEncoder
from metaembed_rag.model.served import ServedEncoder


def connect(
    address: str,
    *,
    pooling: Pooling | str | None = None,
    client: httpx.Client | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> OrderedEncoder:
    """The encoder behind an address.

    Args:
        address: ``http(s)://host:port#model?option=value&...``, as ``docs/remote.md`` explains it.
        pooling: How token vectors become ordered ones, where the server gives such.
        client: Of httpx, for certificates or proxies of one's own.
        sleep: Waits between two tries.

    Returns:
        A :class:`ServedEncoder` where the server is one of this package, a
        :class:`MetaTokenEncoder` where the address names a checkpoint, else a
        :class:`RemoteEncoder`.

    Raises:
        CheckpointError: The address or an option makes no sense, or there is no such model.
        ModelError: The server does not answer.
    """
    others = read_address(address)[3]
    if CHECKPOINT not in others:
        Pooling.chosen(pooling, others)  # refused before anybody is asked
    named = named_model(address, client, sleep)
    if not named.is_ours and CHECKPOINT not in others:
        return RemoteEncoder.of(named, pooling)
    if pooling is not None:
        raise CheckpointError(f"{named.place} makes ordered vectors itself: leave out pooling")
    return ServedEncoder.of(named) if named.is_ours else MetaTokenEncoder.of(named)
