"""``MetaTokenEncoder``: a MetaEmbed checkpoint behind vLLM's pooling API.

Meta Tokens are tokens of the vocabulary, so any server that gives a vector a token can run such a
checkpoint: this side puts them at the end of the prompt, takes the vectors at their places and
normalises them. Texts travel as token ids, pictures in a chat's message, whose own end of turn
comes after the Meta Tokens, where a causal model does not see it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from metaembed_rag.errors import CheckpointError, ModelError
from metaembed_rag.model.base import OrderedEncoder
from metaembed_rag.model.checkpoints import join_name
from metaembed_rag.model.inputs import Item
from metaembed_rag.model.meta_token_files import CheckpointFiles
from metaembed_rag.model.model_server import (
    ModelServer,
    NamedModel,
    in_requests,
    picture_part,
    text_part,
)
from metaembed_rag.model.passes import Passes, split_item
from metaembed_rag.model.pooling import Vectors
from metaembed_rag.model.remote import read_tokens
from metaembed_rag.model.settings import SIDES, meta_token_names

_T = TypeVar("_T")

CHECKPOINT = "checkpoint"
"""The option of an address that names the checkpoint whose vocabulary the server has."""
_ASKED = frozenset({"batch_size", "connections", "timeout", "tries"})


class MetaTokenEncoder(OrderedEncoder):
    """A checkpoint with Meta Tokens on a server of token vectors; threads may share it.

    Made by ``MetaEmbedEncoder.from_pretrained("http://host:port#model?checkpoint=FOLDER")``.

    Attributes:
        name: The address with its options: what connects again.
        model: The model's name on the server.
        files: Settings and vocabulary of the checkpoint.
        loaded_by_name: Whether the address alone connects again, without a client of one's own.
    """

    def __init__(
        self, server: ModelServer, model: str, files: CheckpointFiles, *, name: str, root: str
    ) -> None:
        """Use a model of a server, without asking it again; :meth:`of` makes one."""
        self.name, self.model, self.files = name, model, files
        self._server, self._root = server, root
        self.loaded_by_name = server.is_own_client

    @classmethod
    def of(cls, named: NamedModel) -> MetaTokenEncoder:
        """Use a model whose server has told of it, with the checkpoint that its address names.

        Raises:
            CheckpointError: The checkpoint's files are not here, an option is one of another kind
                of model, or the server's vocabulary is another one.
            ModelError: The server does not answer.
        """
        if wrong := sorted({*named.own, *named.others} - _ASKED - {CHECKPOINT}):
            raise CheckpointError(
                f"{', '.join(wrong)} stands in the checkpoint of {named.place}: leave it out"
            )
        files = CheckpointFiles.read(named.others[CHECKPOINT])
        model = str(named.card["id"])
        name = join_name(named.place, {**named.own, CHECKPOINT: named.others[CHECKPOINT]})
        root = str(named.card.get("root") or model)
        encoder = cls(named.server, model, files, name=name, root=root)
        encoder._check_vocabulary()
        return encoder

    @property
    def dimension(self) -> int:
        """D, the hidden size of the language model."""
        return self.files.dimension

    @property
    def query_vectors(self) -> int:
        """R_q, vectors of a query."""
        return self.files.settings.query_vectors

    @property
    def document_vectors(self) -> int:
        """R_c, vectors of a candidate."""
        return self.files.settings.document_vectors

    @property
    def modalities(self) -> frozenset[str]:
        """``{"text"}``, or ``{"text", "image", "fused"}`` of a causal vision-language model."""
        return frozenset({"text", "image", "fused"} if self.files.reads_pictures else {"text"})

    @property
    def fingerprint(self) -> str:
        """Hex digest of the model's name and path on the server, settings and vocabulary.

        A server does not show its weights: other weights under the same name go unnoticed.
        """
        described = ["meta-tokens", self.model, self._root, self.files.digest()]
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:32]

    def __repr__(self) -> str:
        return (
            f"MetaTokenEncoder({self.name!r}, {'/'.join(sorted(self.modalities))}, "
            f"r_q={self.query_vectors}, r_c={self.document_vectors}, D={self.dimension})"
        )

    @property
    def _trained_dimensions(self) -> Sequence[int]:
        return self.files.settings.dimensions

    @property
    def _pass_tokens(self) -> int:
        return self.files.settings.max_document_tokens

    def _passes(self, item: Item) -> Passes:
        text, window = self.files.harmless(item.text), self._pass_tokens
        return split_item(item, self.files.vocabulary, window, self.max_passes, text=text)

    def _batch_size(self, asked: int, modality: str) -> int:
        return self._server.remote.batch_size if modality == "text" else 1

    def _map(
        self, compute: Callable[[Sequence[Item]], _T], batches: Iterable[Sequence[Item]]
    ) -> Iterator[_T]:
        return self._server.side_by_side(compute, batches)

    def _encode_batch(self, items: Sequence[Item], side: str, count: int) -> Vectors:
        # A bidirectional model's first vectors depend on its last Meta Token.
        most = count if self.files.is_causal else self._vectors_of(side)
        if items[0].image is None:
            found = in_requests(lambda some: self._of_texts(some, side, most), items)
        else:
            found = [self._of_picture(item, side, most) for item in items]
        ordered = np.stack(found)[:, :count]  # (n, count, D)
        lengths = np.linalg.norm(ordered, axis=-1, keepdims=True)
        unit: Vectors = ordered / np.maximum(lengths, np.float32(1e-12))
        return unit

    def _of_texts(self, items: Sequence[Item], side: str, most: int) -> list[Vectors]:
        """The hidden states at the Meta Tokens of each text: (most, D)."""
        prompts = [self.files.token_ids(item.text, side, most) for item in items]
        found = self._asked({"input": prompts}, len(prompts))
        for prompt, tokens in zip(prompts, found, strict=True):
            if len(tokens) != len(prompt):
                raise ModelError(
                    f"{self._server.base} gave {len(tokens)} vectors for a prompt of {len(prompt)} "
                    f"tokens; start vLLM with --runner pooling and without chunked pooling"
                )
        return [tokens[-most:] for tokens in found]

    def _of_picture(self, item: Item, side: str, most: int) -> Vectors:
        """The hidden states at the Meta Tokens of a picture and its text: (most, D)."""
        image = item.prepare_image(self.files.settings.max_pixels)
        assert image is not None
        text = self.files.chat_text(item.text, side, most)
        message = {"role": "user", "content": [picture_part(image), text_part(text)]}
        (tokens,) = self._asked({"messages": [message], "add_generation_prompt": False}, 1)
        end = len(tokens) - self.files.ending_tokens
        if end <= most:
            raise ModelError(
                f"{self._server.base} gave {len(tokens)} vectors for a picture and {most} Meta "
                f"Tokens, which is too few: its model or its chat template is another one"
            )
        return tokens[end - most : end]

    def _asked(self, what: dict[str, Any], count: int) -> list[Vectors]:
        body = {"model": self.model, "task": "token_embed", "encoding_format": "float", **what}
        answer = self._server.ask("POST", "/pooling", body)
        return read_tokens(answer, count, self._server.base)

    def _check_vocabulary(self) -> None:
        """Compare the Meta Tokens' ids with the server's, where it tells (vLLM does)."""
        for side in SIDES:
            ids = self.files.meta_ids[side]
            prompt = "".join(meta_token_names(side, len(ids)))
            body = {"model": self.model, "prompt": prompt, "add_special_tokens": False}
            told = self._server.ask("POST", "/tokenize", body, otherwise={"tokens": ids})
            if told.get("tokens") != ids:
                raise CheckpointError(
                    f"{self.model} at {self._server.base} reads the {side} Meta Tokens of "
                    f"{self.files.folder.name} as other tokens: it serves another checkpoint"
                )
