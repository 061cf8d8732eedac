"""Many indexes searched as one: folders, Chroma servers and servers of this package.

``client`` speaks to a running ``metaembed serve`` and imports the standard library alone, for the
command line too; ``shards`` are what is asked, ``asking`` asks all of them at once, ``merging``
makes one answer of many, ``words`` measures what that loses, ``federated`` is the facade.
"""

from __future__ import annotations

TOKEN = "METAEMBED_TOKEN"  # nosec B105
"""The environment variable of what a server wants to be shown."""
