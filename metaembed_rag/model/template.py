"""What stands around an input: the backbone's chat template, rendered once and kept as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from metaembed_rag.errors import CheckpointError

_MARK = "{text}"
_SENTINEL = "metaembedtexthere"


@dataclass(frozen=True)
class Template:
    """Three strings, one for each modality; ``{text}`` stands where the text goes.

    The strings for ``image`` and ``fused`` hold the backbone's image placeholder, which its
    processor replaces with as many tokens as the image needs. Meta Tokens are not part of a
    template: they follow its end. A template is stored as plain text beside the weights, so an
    encoder never depends on a chat template that changes upstream.
    """

    text: str
    image: str = ""
    fused: str = ""

    def __post_init__(self) -> None:
        if self.text.count(_MARK) != 1 or (self.fused and self.fused.count(_MARK) != 1):
            raise CheckpointError(
                f"a template needs {_MARK} exactly once in `text` and in `fused`; got {self}"
            )

    def render(self, modality: str, text: str) -> str:
        """The whole prompt of one input."""
        return str(getattr(self, modality)).replace(_MARK, text)

    def to_dict(self) -> dict[str, str]:
        """The three strings, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, str]) -> Template:
        """The inverse of :meth:`to_dict`."""
        return cls(**values)


def template_of(processor: Any, tokenizer: Any, model_type: str) -> Template | None:
    """The template that a backbone brings along.

    Returns:
        Its chat template rendered for one user turn, without a generation prompt; a plain one
        around the image placeholder where a vision-language backbone has no chat template;
        None for a text-only one without: its tokenizer's own special tokens then frame the text.

    Raises:
        CheckpointError: The chat template drops or repeats the text.
    """
    images = hasattr(processor, "image_processor")
    source = processor if getattr(processor, "chat_template", None) else tokenizer
    if not getattr(source, "chat_template", None):
        return _plain(processor, tokenizer, model_type) if images else None

    def render(*content: dict[str, str]) -> str:
        message = {"role": "user", "content": list(content) if images else _SENTINEL}
        return str(source.apply_chat_template([message], tokenize=False))

    picture, words = {"type": "image"}, {"type": "text", "text": _SENTINEL}
    if not images:
        return Template(_mark(render(words)))
    return Template(_mark(render(words)), render(picture), _mark(render(picture, words)))


def _plain(processor: Any, tokenizer: Any, model_type: str) -> Template:
    placeholder = str(getattr(processor, "image_token", ""))
    if not placeholder:
        raise CheckpointError(
            f"the backbone ({model_type}) has neither a chat template nor a known image token; "
            f"give one: from_backbone(..., template=Template(text=..., image=..., fused=...))"
        )
    if model_type == "paligemma":  # its processor adds bos and newline, but only beside an image
        return Template(f"{tokenizer.bos_token}{_MARK}\n", placeholder, placeholder + _MARK)
    return Template(_MARK, placeholder, placeholder + _MARK)


def _mark(rendered: str) -> str:
    if rendered.count(_SENTINEL) != 1:
        raise CheckpointError(
            "the backbone's chat template does not show the text of a user turn exactly once; "
            "give a template of your own: from_backbone(..., template=Template(text='{text}', ...))"
        )
    return rendered.replace(_SENTINEL, _MARK)


def token_pattern(tokens: list[str]) -> re.Pattern[str]:
    """What matches any of these control tokens, the longest first."""
    ordered = sorted((token for token in tokens if len(token) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) or r"(?!)")


def break_tokens(pattern: re.Pattern[str], text: str) -> str:
    """Make control tokens inside users' text harmless: a space goes after the first character.

    The words ``<|image_pad|>`` or ``[SEP]`` on a page would otherwise be read as that token.
    """
    return pattern.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
