"""Pages into the index: what is new or changed is encoded, the rest is left alone.

::

    pages -> which are new or changed -> vectors -> records in Chroma -> the mapped vectors

The way goes in one direction: vectors that were made are handed over to the mapped copy, and not
read back out of Chroma.
"""

from metaembed_rag.ingest.following import FilesToEncode
from metaembed_rag.ingest.ingest import Ingest
from metaembed_rag.ingest.options import AddOptions, FollowKeywords
from metaembed_rag.ingest.pruning import PruneReport
from metaembed_rag.ingest.report import Acknowledged, AddReport

__all__ = [
    "Acknowledged",
    "AddOptions",
    "AddReport",
    "FilesToEncode",
    "FollowKeywords",
    "Ingest",
    "PruneReport",
]
