"""Components of LlamaIndex that are pickled with all that they hold."""

from __future__ import annotations

from typing import Any

from llama_index.core.callbacks import CallbackManager
from pydantic import BaseModel


class PickledWhole:
    """Before a component's class: pickled by pydantic, with its private attributes or not at all.

    LlamaIndex leaves out what cannot be pickled, and makes the object again of its public fields: a
    reranker would be without its index, a reader without its password, an index in memory empty.
    Callback handlers belong to a process and stay behind.
    """

    def __getstate__(self) -> dict[Any, Any]:
        state = BaseModel.__getstate__(self)  # type: ignore[arg-type]
        if "callback_manager" in state["__dict__"]:
            state["__dict__"] = {**state["__dict__"], "callback_manager": CallbackManager([])}
        return state

    def __setstate__(self, state: dict[Any, Any]) -> None:
        BaseModel.__setstate__(self, state)  # type: ignore[arg-type]
