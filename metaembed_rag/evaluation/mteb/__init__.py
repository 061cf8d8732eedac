"""mteb (Massive Text Embedding Benchmark) as a judge, and its models on one's own pages.

::

    encoder.py   MTEBEncoder: the model at a budget; mteb keeps the vectors, MaxSim scores all
    index.py     MTEBIndex: the index at a budget, as its users search it (Chroma, int8, BM25)
    tasks.py     as_task: a set in BEIR layout as a task, for these models and any of mteb's
    inputs.py    mteb's batches of columns as pages and queries
    meta.py      what mteb records of a model

Needs the extra ``mteb``.
"""

from metaembed_rag.errors import require

require("mteb")

from metaembed_rag.evaluation.mteb.encoder import MTEBEncoder  # noqa: E402
from metaembed_rag.evaluation.mteb.index import MTEBIndex  # noqa: E402
from metaembed_rag.evaluation.mteb.tasks import as_task  # noqa: E402

__all__ = ["MTEBEncoder", "MTEBIndex", "as_task"]
