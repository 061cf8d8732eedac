"""Environment variables that several commands share."""

from __future__ import annotations

from metaembed_rag.federation import TOKEN as TOKEN

SERVER = "METAEMBED_SERVER"
"""The address of a server, for commands that can ask one."""

CHROMA_TOKEN = "METAEMBED_CHROMA_TOKEN"  # nosec B105
CHROMA_AUTH = "METAEMBED_CHROMA_AUTH"
CHROMA_HEADERS = "METAEMBED_CHROMA_HEADERS"
"""What a Chroma server wants to see, as :mod:`metaembed_rag.store.access` reads it."""
PICTURES = "METAEMBED_PICTURES"
"""Where pictures of pages are kept, where ``--pictures`` does not say."""
