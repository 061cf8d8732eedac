"""The encoder: a transformers backbone with Meta Tokens, behind two verbs.

``MetaEmbedEncoder.encode_query`` and ``MetaEmbedEncoder.encode_document`` turn text, images, or
both together into ordered unit vectors; ``from_pretrained`` also answers with encoders that pool
the token vectors of late-interaction checkpoints and of dense models, loaded here or on a server.
Names are resolved on first use, so importing this package loads neither torch nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# First of all, because transformers imports tqdm too: see there.
import metaembed_rag.progress  # noqa: F401

if TYPE_CHECKING:
    from metaembed_rag.model.backbones import Backbone as Backbone
    from metaembed_rag.model.base import OrderedEncoder as OrderedEncoder
    from metaembed_rag.model.checkpoints import shipped_checkpoints as shipped_checkpoints
    from metaembed_rag.model.dense import DenseEncoder as DenseEncoder
    from metaembed_rag.model.describing import Describer as Describer
    from metaembed_rag.model.encoder import MetaEmbedEncoder as MetaEmbedEncoder
    from metaembed_rag.model.inputs import Input as Input
    from metaembed_rag.model.late_interaction import (
        LateInteractionEncoder as LateInteractionEncoder,
    )
    from metaembed_rag.model.meta_token_client import MetaTokenEncoder as MetaTokenEncoder
    from metaembed_rag.model.meta_tokens import MetaTokens as MetaTokens
    from metaembed_rag.model.remote import RemoteEncoder as RemoteEncoder
    from metaembed_rag.model.served import ServedEncoder as ServedEncoder
    from metaembed_rag.model.template import Template as Template

_HOMES = {
    "Backbone": "backbones",
    "DenseEncoder": "dense",
    "Describer": "describing",
    "Input": "inputs",
    "LateInteractionEncoder": "late_interaction",
    "MetaEmbedEncoder": "encoder",
    "MetaTokenEncoder": "meta_token_client",
    "MetaTokens": "meta_tokens",
    "OrderedEncoder": "base",
    "RemoteEncoder": "remote",
    "ServedEncoder": "served",
    "Template": "template",
    "shipped_checkpoints": "checkpoints",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
