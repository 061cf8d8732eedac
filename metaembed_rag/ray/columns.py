"""The columns of rows as tables of Arrow, so that every block of a dataset has the same types."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

from metaembed_rag.errors import require
from metaembed_rag.ingest.encoded_rows import EMPTY_ROW

_JPEG_QUALITY = 95
"""Of pictures on their way: the index makes its own of them."""
_WHOLE = ("number", "page_count", "dimension", "unread_tokens", "turned")


def table(rows: Sequence[dict[str, Any]], *, pictures_by_url: bool) -> Any:
    """Rows with all columns of :data:`.EMPTY_ROW` as a ``pyarrow.Table``.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    arrow = require("pyarrow")
    kinds = {str: arrow.large_string(), bytes: arrow.large_binary(), bool: arrow.bool_()}
    types = {name: kinds.get(type(value)) for name, value in EMPTY_ROW.items()}
    types |= dict.fromkeys(_WHOLE, arrow.int64())
    types["picture"] = kinds[str if pictures_by_url else bytes]
    return arrow.Table.from_pylist(rows, schema=arrow.schema(types.items()))


def as_bytes(image: Image.Image) -> bytes:
    """A picture as a JPEG file that is near to its pixels."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return file.getvalue()
