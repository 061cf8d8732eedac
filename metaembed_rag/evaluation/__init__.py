"""How good a model is at each retrieval budget, on sets in BEIR layout.

::

    datasets.py   folders in BEIR layout -> pages, queries, judgements
    reading.py    pages -> what an encoder is given, OCR texts kept between runs
    metrics.py    rankings -> nDCG, recall, MRR, precision, by ir-measures; bootstrap intervals
    curves.py     evaluate(): a model at several budgets, as its users would meet it
"""

from metaembed_rag.evaluation.curves import (
    BudgetResult,
    EvaluationReport,
    evaluate,
    exhaustive_scores,
)
from metaembed_rag.evaluation.datasets import Dataset, Query, read_dataset
from metaembed_rag.evaluation.metrics import METRICS, bootstrap_interval, measure, top_pages
from metaembed_rag.store.ocr_texts import ocr_text

__all__ = [
    "METRICS",
    "BudgetResult",
    "Dataset",
    "EvaluationReport",
    "Query",
    "bootstrap_interval",
    "evaluate",
    "exhaustive_scores",
    "measure",
    "ocr_text",
    "read_dataset",
    "top_pages",
]
