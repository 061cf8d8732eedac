"""What an encoder is besides weights and vocabulary; stored as ``metaembed.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from metaembed_rag.errors import CheckpointError
from metaembed_rag.model.template import Template

SIDES = ("query", "document")

CAUSAL = frozenset(
    {"gemma2", "idefics3", "llama", "llava", "llava_next", "llava_onevision", "mistral", "mllama"}
    | {"qwen2", "qwen2_5_vl", "qwen2_vl", "qwen3", "qwen3_vl", "smollm3", "smolvlm"}
)
"""Model types of transformers in which a Meta Token never sees a later one."""

FORMAT = 1
"""Version of ``metaembed.json``; a reader refuses what is newer."""


@dataclass(frozen=True)
class Settings:
    """Numbers of vectors, lengths and template of one encoder.

    Args:
        query_vectors: R_q, Meta Tokens on the query side.
        document_vectors: R_c, Meta Tokens on the candidate side.
        max_query_tokens: Tokens of a query's text; the rest of a longer text is cut off.
        max_document_tokens: The same for a candidate.
        max_pixels: Larger images are scaled down to it. The default is 1,024 patches of
            28 × 28 pixels, the most visual tokens that MetaEmbed was trained with.
        template: What stands around an input; None leaves it to the tokenizer's special tokens.
        dimensions: Numbers of leading values with which a vector was trained to work too,
            ascending; empty where only the whole vector was.

    Raises:
        CheckpointError: A number is not a whole number of at least 1.
    """

    query_vectors: int = 16
    document_vectors: int = 64
    max_query_tokens: int = 128
    max_document_tokens: int = 512
    max_pixels: int = 1024 * 28 * 28
    template: Template | None = None
    dimensions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            number = name not in ("template", "dimensions")
            if number and (type(value) is not int or value < 1):
                raise CheckpointError(f"{name} must be a whole number of at least 1, not {value!r}")
        whole = all(type(value) is int and value > 0 for value in self.dimensions)
        if not whole or list(self.dimensions) != sorted(set(self.dimensions)):
            raise CheckpointError(
                f"dimensions must be ascending whole numbers, not {list(self.dimensions)!r}"
            )

    def vectors(self, side: str) -> int:
        """R_q for ``"query"``, R_c for ``"document"``."""
        return self.query_vectors if side == "query" else self.document_vectors

    def max_tokens(self, side: str) -> int:
        """The longest text of a side, in tokens."""
        return self.max_query_tokens if side == "query" else self.max_document_tokens

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        values = {"format": FORMAT, **asdict(self), "dimensions": list(self.dimensions)}
        if not self.dimensions:
            del values["dimensions"]  # so that files are as they were before there were any
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The inverse of :meth:`to_dict`.

        Raises:
            CheckpointError: A newer format, or keys that are not known.
        """
        known = dict(values)
        if known.pop("format", None) != FORMAT:
            raise CheckpointError(
                f"metaembed.json has format {values.get('format')!r}, this version reads {FORMAT}; "
                f"upgrade metaembed-rag"
            )
        template = known.pop("template", None)
        if unknown := sorted(set(known) - set(cls.__dataclass_fields__)):
            raise CheckpointError(f"metaembed.json has unknown keys: {', '.join(unknown)}")
        known["dimensions"] = tuple(known.get("dimensions", ()))
        return cls(**known, template=Template.from_dict(template) if template else None)


def meta_token_names(side: str, count: int) -> list[str]:
    """The vocabulary names of one side's Meta Tokens, in order: ``<|meta_query_0|>``, ..."""
    return [f"<|meta_{side}_{i}|>" for i in range(count)]
