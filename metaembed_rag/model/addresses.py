"""What an address of a model leads to: ordered vectors, Meta Tokens, or tokens to be pooled."""

from __future__ import annotations

from metaembed_rag.model.base import OrderedEncoder
from metaembed_rag.model.pooling import Pooling
from metaembed_rag.model.remote import RemoteEncoder


def connect(address: str, *, pooling: Pooling | str | None = None) -> OrderedEncoder:
    """The encoder behind an address.

    Args:
        address: As for :meth:`.RemoteEncoder.connect`.
        pooling: How token vectors become ordered ones, where the server gives such.

    Raises:
        CheckpointError: The address or an option makes no sense, or there is no such model.
        ModelError: The server does not answer.
    """
    return RemoteEncoder.connect(address, pooling=pooling)
