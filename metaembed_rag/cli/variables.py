"""Environment variables that a server and its clients share."""

from __future__ import annotations

from metaembed_rag.federation import TOKEN as TOKEN

SERVER = "METAEMBED_SERVER"
"""The address of a server, for commands that can ask one."""
