"""How good a model is at each retrieval budget, on sets in BEIR layout.

::

    datasets.py   folders in BEIR layout -> pages, queries, judgements
    reading.py    pages -> what an encoder is given, OCR texts kept between runs
    metrics.py    rankings -> nDCG, recall, MRR, precision, by ir-measures; bootstrap intervals
    curves.py     evaluate(): a model at several budgets, as its users would meet it
    questions.py  a user's own questions and the pages that answer them, from a CSV file
    own_index.py  evaluate_index(): an index as it stands on such questions, BM25 beside it
    report_page.py  that as HTML: the budget curve, the pages that came instead
"""

from metaembed_rag.evaluation.curves import (
    BudgetResult,
    EvaluationReport,
    evaluate,
    exhaustive_scores,
)
from metaembed_rag.evaluation.datasets import Dataset, Query, read_dataset
from metaembed_rag.evaluation.metrics import METRICS, bootstrap_interval, measure, top_pages
from metaembed_rag.evaluation.own_index import Failure, IndexReport, SystemResult, evaluate_index
from metaembed_rag.evaluation.questions import Questions, read_rows
from metaembed_rag.evaluation.report_page import report_page
from metaembed_rag.store.ocr_texts import ocr_text

__all__ = [
    "METRICS",
    "BudgetResult",
    "Dataset",
    "EvaluationReport",
    "Failure",
    "IndexReport",
    "Query",
    "Questions",
    "SystemResult",
    "bootstrap_interval",
    "evaluate",
    "evaluate_index",
    "exhaustive_scores",
    "measure",
    "ocr_text",
    "read_dataset",
    "read_rows",
    "report_page",
    "top_pages",
]
