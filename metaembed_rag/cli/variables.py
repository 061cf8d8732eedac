"""Environment variables that several commands share."""

from __future__ import annotations

SERVER = "METAEMBED_SERVER"
"""The address of a server, for commands that can ask one."""
TOKEN = "METAEMBED_TOKEN"  # nosec B105
"""What a server wants to be shown."""
PICTURES = "METAEMBED_PICTURES"
"""Where pictures of pages are kept, where ``--pictures`` does not say."""
