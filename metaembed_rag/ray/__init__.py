"""Ray Data: pages encoded by many workers, CPU or GPU, and written by one process.

::

    encoder.py  PageEncoder: a batch of files or pages -> rows, the class for map_batches

:class:`PageEncoder` works without Ray, too. A cluster needs the extra ``ray``.
"""

from metaembed_rag.ray.encoder import EncodingKeywords, PageEncoder

__all__ = ["EncodingKeywords", "PageEncoder"]
