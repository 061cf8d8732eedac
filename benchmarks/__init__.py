"""Benchmarks by claim; each is a command, ``python -m benchmarks.search.kernels``.

- ``quality``: what the shipped checkpoint finds, at each budget and format, beside BM25.
- ``search``: kernels, searches, indexing, disk.
- ``peers``: beside other libraries (``make bench``).
- ``pooling``: token vectors of other models into ordered ones.
- ``dense``: windows of a model of one vector a text.
- ``comparison``: Meta Tokens against one vector and pooling, trained alike.
- ``data``: sets and vectors that the others read.

With ``--json results/NAME.json`` a benchmark writes the record (:mod:`benchmarks.results`) that
``make docs`` (:mod:`benchmarks.tables`) fills the documents from.
"""
