"""Ray Data: pages encoded by many workers, CPU or GPU, and written by one process.

::

    encoder.py  PageEncoder: a batch of files or pages -> rows, the class for map_batches
    reading.py  what a worker is given, as pages
    columns.py  rows as tables of Arrow
    files.py    files of a folder or an object store -> rows, by a Ray cluster
    cluster.py  a cluster is joined or started; what fails there becomes one sentence

:class:`PageEncoder` works without Ray, too. A cluster needs the extra ``ray``.
"""

from metaembed_rag.ray.cluster import RayOptions
from metaembed_rag.ray.encoder import EncodingKeywords, PageEncoder
from metaembed_rag.ray.files import sync_files

__all__ = ["EncodingKeywords", "PageEncoder", "RayOptions", "sync_files"]
