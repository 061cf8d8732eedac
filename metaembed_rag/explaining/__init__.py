"""Explaining hits: pieces of a page scored by the model that scored the page, coarse to fine.

::

    pieces.py   a text cut into lines and sentences, and windows of them
    crops.py    a picture cut into overlapping parts
    passages.py the pieces that match best, found coarse to fine, and their shares of the score
    explainer.py   a record, a query and a budget -> Explanation; hits that can be asked
    of_index.py the method of an index
"""

from metaembed_rag.explaining.explainer import Asked, Explainer
from metaembed_rag.explaining.of_index import ExplainedIndex

__all__ = ["Asked", "ExplainedIndex", "Explainer"]
