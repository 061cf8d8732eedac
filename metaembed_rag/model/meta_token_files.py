"""The files of a MetaEmbed checkpoint that a client needs: settings and vocabulary, no weights.

They make of an input what :class:`~metaembed_rag.model.backbones.Backbone` makes of it, without
torch and transformers: the same token ids, Meta Tokens at the end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from re import Pattern
from typing import Any

from metaembed_rag.errors import CheckpointError, require
from metaembed_rag.model.checkpoints import CONFIG, SHIPPED, read_json, shipped_checkpoints
from metaembed_rag.model.settings import CAUSAL, SIDES, Settings, meta_token_names
from metaembed_rag.model.template import break_tokens, token_pattern
from metaembed_rag.pages.folders import expanded

_TOKENIZER = "tokenizer.json"
_NEEDED = (CONFIG, "config.json", _TOKENIZER)
_MARK = "{text}"


class Vocabulary:
    """A tokenizer of the library ``tokenizers``, called as transformers' are.

    Args:
        file: ``tokenizer.json``.
    """

    is_fast = True

    def __init__(self, file: Path) -> None:
        library: Any = require("tokenizers")
        if "model" not in read_json(file):  # for whose lack its Rust raises a plain Exception
            raise CheckpointError(f"{file} is no tokenizer; copy or download it again")
        self._tokenizer = library.Tokenizer.from_file(str(file))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def __call__(self, text: str, **options: Any) -> dict[str, Any]:
        """Ids and places of the tokens of a text; options other than special tokens do nothing."""
        found = self._tokenizer.encode(
            text, add_special_tokens=options.get("add_special_tokens", True)
        )
        return {"input_ids": list(found.ids), "offset_mapping": list(found.offsets)}

    def id_of(self, token: str) -> int | None:
        """The id of a token; None where there is none."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    @property
    def special_tokens(self) -> list[str]:
        """What must not be read as such in a text."""
        added = self._tokenizer.get_added_tokens_decoder().values()
        return [token.content for token in added if token.special]

    def framed(self, ids: Sequence[int]) -> list[int]:
        """Ids of a text with the special tokens around it."""
        around = self("", add_special_tokens=True)["input_ids"]
        text = self("a", add_special_tokens=False)["input_ids"]
        whole = self("a", add_special_tokens=True)["input_ids"]
        if not around:
            return list(ids)
        first = next(i for i in range(len(whole)) if whole[i : i + len(text)] == text)
        return [*whole[:first], *ids, *whole[first + len(text) :]]


@dataclass(frozen=True)
class CheckpointFiles:
    """Settings and vocabulary of a checkpoint.

    Attributes:
        folder: Where they lie.
        settings: Numbers of vectors, lengths and template.
        vocabulary: Its tokenizer.
        meta_ids: Of each side the ids of its Meta Tokens, in order.
        dimension: D, the hidden size of the language model.
        is_causal: Whether a Meta Token never sees a later token.
        bos: What a prompt that needs no special tokens begins with; empty for none.
        harmful: Matches control tokens in users' texts.
    """

    folder: Path
    settings: Settings
    vocabulary: Vocabulary
    meta_ids: Mapping[str, list[int]]
    dimension: int
    is_causal: bool
    bos: str
    harmful: Pattern[str]

    @classmethod
    def read(cls, name: str) -> CheckpointFiles:
        """Read them.

        Args:
            name: A shipped name, or a folder with ``metaembed.json``, ``config.json``,
                ``tokenizer.json`` and, where there is one, ``tokenizer_config.json``.

        Raises:
            CheckpointError: They are not there, or damaged.
            MissingExtraError: The library ``tokenizers`` is not installed.
        """
        folder = SHIPPED / name if name in shipped_checkpoints() else expanded(name)
        if missing := [one for one in _NEEDED if not (folder / one).is_file()]:
            raise CheckpointError(
                f"the checkpoint {name!r} has no {missing[0]} on this machine: copy its JSON files "
                f"({', '.join(_NEEDED)}, tokenizer_config.json) into a folder and name that; its "
                f"weights are not needed"
            )
        config = read_json(folder / "config.json")
        settings = Settings.from_dict(read_json(folder / CONFIG))
        vocabulary = Vocabulary(folder / _TOKENIZER)
        ids = {side: _meta_ids(vocabulary, side, settings.vectors(side)) for side in SIDES}
        kind = str(config.get("model_type", ""))
        return cls(
            *(folder, settings, vocabulary, ids),
            dimension=_hidden_size(config, folder),
            is_causal=kind in CAUSAL,
            bos=_bos(read_json(folder / "tokenizer_config.json")),
            harmful=token_pattern(vocabulary.special_tokens),
        )

    @property
    def reads_pictures(self) -> bool:
        """Whether pictures can be sent: only a causal model ignores what a chat adds at its end."""
        template = self.settings.template
        if template is None or not template.image or not self.is_causal:
            return False
        return bool(self.ending) and template.image.endswith(self.ending)

    @property
    def ending(self) -> str:
        """What the template puts after the text of an input."""
        template = self.settings.template
        return "" if template is None else template.fused.partition(_MARK)[2]

    @property
    def ending_tokens(self) -> int:
        """Tokens of :attr:`ending`."""
        return len(self.vocabulary(self.ending, add_special_tokens=False)["input_ids"])

    def harmless(self, text: str) -> str:
        """A text in which no control token is read as such."""
        return break_tokens(self.harmful, text)

    def token_ids(self, text: str, side: str, count: int) -> list[int]:
        """The whole prompt of a text: what stands around it, and ``count`` Meta Tokens."""
        limit, template = self.settings.max_tokens(side), self.settings.template
        if template is None:
            found = self.vocabulary(self.harmless(text), add_special_tokens=False)["input_ids"]
            framed = self.vocabulary.framed(found[:limit])
        else:
            prompt = template.render("text", self.cut(text, side))
            special = not (self.bos and prompt.startswith(self.bos))
            framed = self.vocabulary(prompt, add_special_tokens=special)["input_ids"]
        return [*framed, *self.meta_ids[side][:count]]

    def cut(self, text: str, side: str) -> str:
        """The first tokens of a text, as many as the model reads on a side, as text."""
        limit, harmless = self.settings.max_tokens(side), self.harmless(text)
        if len(harmless.encode()) <= limit:  # a token covers at least one byte
            return harmless
        offsets = self.vocabulary(harmless, add_special_tokens=False)["offset_mapping"][:limit]
        return harmless[: offsets[-1][1]] if len(offsets) == limit else harmless

    def chat_text(self, text: str, side: str, count: int) -> str:
        """What a chat's message says beside a picture: text, end of turn, Meta Tokens."""
        said = self.cut(text, side) if text else ""
        return said + self.ending + "".join(meta_token_names(side, count))

    def digest(self) -> str:
        """A name of settings and vocabulary."""
        parts = [hashlib.sha256((self.folder / _TOKENIZER).read_bytes()).hexdigest()]
        parts.append(json.dumps(self.settings.to_dict(), sort_keys=True))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _meta_ids(vocabulary: Vocabulary, side: str, count: int) -> list[int]:
    ids = [vocabulary.id_of(name) for name in meta_token_names(side, count)]
    known = [one for one in ids if one is not None]
    if len(known) < count:
        raise CheckpointError(
            f"the tokenizer lacks {count - len(known)} of {count} {side} Meta Tokens; make a "
            f"checkpoint with MetaEmbedEncoder.from_backbone"
        )
    return known


def _hidden_size(config: Mapping[str, Any], folder: Path) -> int:
    text = config.get("text_config")
    size = (text if isinstance(text, Mapping) else config).get("hidden_size")
    if not isinstance(size, int):
        raise CheckpointError(f"{folder / 'config.json'} does not say the model's hidden_size")
    return size


def _bos(config: Mapping[str, Any]) -> str:
    told = config.get("bos_token") or ""
    return str(told.get("content", "")) if isinstance(told, Mapping) else str(told)
