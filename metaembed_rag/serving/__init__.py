"""One warm process: an index behind HTTP, with a page to search it (extra ``server``).

:func:`create_app` gives what any ASGI server runs, :func:`serve` runs it, as ``metaembed serve``
does::

    from metaembed_rag import PageIndex
    from metaembed_rag.serving import ServerSettings, serve

    with PageIndex.open("my_index", create=False) as index:
        serve(index, ServerSettings(port=8000))

:func:`create_encoder_app` and :func:`serve_encoder` do the same for a model without an index, which
machines without torch ask for vectors.
"""

from __future__ import annotations

from metaembed_rag.errors import require

for _module in ("fastapi", "uvicorn", "python_multipart"):
    require(_module)

from metaembed_rag.serving.app import create_app  # noqa: E402
from metaembed_rag.serving.encoder_app import create_encoder_app  # noqa: E402
from metaembed_rag.serving.running import serve, serve_encoder  # noqa: E402
from metaembed_rag.serving.settings import ServerSettings  # noqa: E402

__all__ = ["ServerSettings", "create_app", "create_encoder_app", "serve", "serve_encoder"]
