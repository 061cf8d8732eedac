"""``MetaEmbedEncoder``: text, images and both together into ordered unit vectors."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from metaembed_rag.errors import CheckpointError, MissingExtraError, install_line, is_installed
from metaembed_rag.model.base import OrderedEncoder
from metaembed_rag.model.checkpoints import (
    DEFAULT_MODEL,
    VERSION,
    find_checkpoint,
    is_address,
    is_dense,
    is_late_interaction,
    join_name,
    split_name,
)
from metaembed_rag.model.inputs import Item
from metaembed_rag.model.passes import MAX_PASSES, Passes
from metaembed_rag.model.pooling import Pooling, Vectors
from metaembed_rag.model.settings import Settings
from metaembed_rag.model.template import Template

if TYPE_CHECKING:
    import torch

    from metaembed_rag.model.backbones import Backbone
    from metaembed_rag.model.loading import DType
else:
    DType = Any  # the keywords below can be looked at without torch


class BackboneOptions(TypedDict, total=False):
    """What :meth:`MetaEmbedEncoder.from_backbone` leaves to the backbone and the machine.

    Attributes:
        device: As for :meth:`MetaEmbedEncoder.from_pretrained`, like ``dtype``.
        template: What stands around an input; None takes the backbone's chat template, and
            without one the tokenizer's special tokens (``[CLS] text [SEP]``).
    """

    device: str | None
    dtype: DType
    template: Template | Mapping[str, str] | None


class _Trusted(TypedDict):
    trust_remote_code: bool
    local_files_only: bool


class _Placed(TypedDict):
    """What a checkpoint is loaded with, whatever its kind."""

    device: str | None
    dtype: DType
    max_pixels: int | None


class MetaEmbedEncoder(OrderedEncoder):
    """A backbone with Meta Tokens, made by :meth:`from_pretrained` or :meth:`from_backbone`.

    It may be shared between threads: one lock lets one batch at a time onto the device.

    Attributes:
        model: The ``sentence_transformers.MultiVectorEncoder`` inside: backbone, Meta Tokens,
            normalisation. Train this; the encoder sees the new weights.
        backbone: Its first module: transformers model, processor, settings.
        name: The name that the user asked for.
        loaded_by_name: Whether the name alone loads it again.
    """

    loaded_by_name = False

    def __init__(
        self, backbone: Backbone, *, name: str, device: str | None = None, dtype: DType = None
    ) -> None:
        """Put a backbone with its Meta Tokens on a device, as :meth:`from_pretrained` does."""
        from metaembed_rag.model import computing

        self.backbone = backbone
        self.name = name
        self._lock = threading.RLock()
        self.model, self._fingerprint, self._fingerprint_of = computing.assembled(
            backbone, name, device, dtype
        )

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        device: str | None = None,
        dtype: DType = None,
        max_pixels: int | None = None,
        pooling: Pooling | str | None = None,
        max_passes: int = MAX_PASSES,
        trust_remote_code: bool = False,
        local_files_only: bool = False,
    ) -> OrderedEncoder:
        """Load a checkpoint: the one door for every kind of encoder.

        Args:
            name_or_path: A shipped name (``"small"``, the default, or ``"mini"``), a folder that
                :meth:`save_pretrained` wrote, or a hub id (``"owner/model"``). A folder never
                touches the network. It may also be a checkpoint of token-level late interaction
                (ColBERT, ColPali, ...), a model of one vector an input (bge, e5, CLIP, ...; see
                ``docs/dense.md``), or the address of a server (``"http://host:8000#model"``, see
                ``docs/remote.md``); these three take options after a question mark:
                ``"my-colbert?pooling=kmeans"``. ``"small?version=1b3f3a73"`` is the version of a
                checkpoint with this fingerprint, or one that begins so.
            device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; None takes the best there is.
            dtype: Of the weights, such as ``"bfloat16"``; None takes bfloat16 on CUDA and float32
                elsewhere.
            max_pixels: Scale larger images down to this instead of the checkpoint's own bound.
                It takes part in the fingerprint, because vectors depend on it.
            pooling: How token vectors become ordered ones, where the checkpoint gives one a
                token: a method of :mod:`metaembed_rag.model.pooling` or all its settings.
            max_passes: The most passes over the text of one document; what is longer is cut, and
                counted by :meth:`~metaembed_rag.model.base.OrderedEncoder.unread_tokens`.
            trust_remote_code: Run Python code that comes with a late-interaction or dense
                checkpoint.
            local_files_only: Use no network: of a hub id what was downloaded before, and no
                address of a server.

        Returns:
            A :class:`MetaEmbedEncoder`, or for other checkpoints a
            :class:`~metaembed_rag.model.late_interaction.LateInteractionEncoder`, a
            :class:`~metaembed_rag.model.dense.DenseEncoder`; for addresses a
            :class:`~metaembed_rag.model.served.ServedEncoder`, a
            :class:`~metaembed_rag.model.meta_token_client.MetaTokenEncoder` or a
            :class:`~metaembed_rag.model.remote.RemoteEncoder`: the same verbs and properties.

        Raises:
            CheckpointError: No usable checkpoint is there; the message says what was tried.
            MissingExtraError: The name is no address, and torch or what stands on it is missing.
        """
        if is_address(name_or_path):
            if local_files_only:
                raise CheckpointError(f"{os.fspath(name_or_path)} is no local file, but a server")
            from metaembed_rag.model.addresses import connect

            found: OrderedEncoder = connect(os.fspath(name_or_path), pooling=pooling)
        else:
            _check_installed(os.fspath(name_or_path))
            from metaembed_rag.model.loading import check_threads

            check_threads(os.fspath(name_or_path))
            on: _Placed = {"device": device, "dtype": dtype, "max_pixels": max_pixels}
            code: _Trusted = {
                "trust_remote_code": trust_remote_code,
                "local_files_only": local_files_only,
            }
            found = cls._from_files(name_or_path, pooling, code, **on)
        found.max_passes = max_passes
        return found

    @classmethod
    def _from_files(
        cls,
        name_or_path: str | os.PathLike[str],
        pooling: Pooling | str | None,
        code: _Trusted,
        **on: Unpack[_Placed],
    ) -> OrderedEncoder:
        bare, options = split_name(name_or_path)
        folder = find_checkpoint(bare, local_files_only=code["local_files_only"])
        if is_late_interaction(folder):
            from metaembed_rag.model.late_interaction import LateInteractionEncoder

            chosen = Pooling.chosen(pooling, options)
            return LateInteractionEncoder.load(
                folder, name=join_name(bare, chosen.options()), pooling=chosen, **code, **on
            )
        if is_dense(folder):
            from metaembed_rag.model.dense import DenseEncoder, DenseOptions

            asked = DenseOptions.chosen(pooling, options)
            return DenseEncoder.load(
                folder, name=join_name(bare, asked.options()), options=asked, **code, **on
            )
        version = options.pop(VERSION, None)
        if options or pooling:
            raise CheckpointError(
                f"{bare} makes ordered vectors itself, so there is nothing to pool; leave out "
                f"pooling and what stands after the question mark"
            )
        name = os.fspath(name_or_path)
        from metaembed_rag.model import computing

        backbone, whole = computing.loaded(folder, version)
        if version is not None:
            name = join_name(bare, {VERSION: whole})
        if on["max_pixels"] is not None:
            backbone.settings = replace(backbone.settings, max_pixels=on["max_pixels"])
        encoder = cls(backbone, name=name, device=on["device"], dtype=on["dtype"])
        encoder.loaded_by_name = on["max_pixels"] is None
        return encoder

    @classmethod
    def from_backbone(
        cls,
        name_or_path: str | os.PathLike[str],
        r_q: int = 16,
        r_c: int = 64,
        *,
        max_query_tokens: int = 128,
        max_document_tokens: int = 512,
        max_pixels: int = 1024 * 28 * 28,
        dimensions: Sequence[int] = (),
        seed: int = 0,
        **options: Unpack[BackboneOptions],
    ) -> MetaEmbedEncoder:
        """Put Meta Tokens on a backbone, to be trained afterwards.

        Meta Tokens that its tokenizer has already (``<|meta_query_0|>``, ...) are reused with
        their rows, so a backbone trained elsewhere becomes an encoder as it is.

        Args:
            name_or_path: A folder or hub id of a text-only or vision-language model.
            r_q: Meta Tokens for queries.
            r_c: Meta Tokens for candidates.
            max_query_tokens: Longest text of a query; more is cut off, Meta Tokens never.
            max_document_tokens: Longest text of a candidate.
            max_pixels: Larger images are scaled down to it.
            dimensions: Numbers of leading values that are to work alone too, ascending.
            seed: For the new embedding rows.
            **options: ``device``, ``dtype`` and ``template``: see :class:`BackboneOptions`.

        Raises:
            CheckpointError: The backbone cannot be loaded, or has no room for such inputs.
            TypeError: An unknown keyword.
        """
        limits = (max_query_tokens, max_document_tokens, max_pixels)
        settings = Settings(r_q, r_c, *limits, dimensions=tuple(dimensions))
        return cls._on_backbone(name_or_path, settings, seed, **options)

    @classmethod
    def _on_backbone(
        cls,
        name_or_path: str | os.PathLike[str],
        settings: Settings,
        seed: int,
        *,
        device: str | None = None,
        dtype: DType = None,
        template: Template | Mapping[str, str] | None = None,
    ) -> MetaEmbedEncoder:
        if isinstance(template, Mapping):
            template = Template.from_dict(template)
        name = os.fspath(name_or_path)
        bare, options = split_name(name)
        if options:
            raise CheckpointError(
                f"Meta Tokens are put on the model itself, {bare}; leave out what stands after the "
                f"question mark"
            )
        _check_installed(name)
        from metaembed_rag.model import computing

        backbone = computing.with_meta_tokens(name_or_path, settings, seed, template)
        return cls(backbone, name=name, device=device, dtype=dtype)

    def save_pretrained(self, folder: str | os.PathLike[str], *, dtype: DType = None) -> Path:
        """Write a folder for :meth:`from_pretrained`, in sentence-transformers' layout.

        The folder holds ``modules.json``, the stock transformers model with its tokenizer or
        processor, and ``metaembed.json``; an existing README.md is kept. Loading it gives the
        same vectors and the same fingerprint, unless ``dtype`` rounds the weights.

        Args:
            folder: It is made when it does not exist.
            dtype: Of the stored weights, such as ``"float16"``; None keeps what they are.

        Returns:
            The folder.
        """
        from metaembed_rag.model import computing

        folder = Path(folder)
        with self._lock:
            computing.save(self.model, self.backbone, folder, dtype)
        return folder

    @property
    def dimension(self) -> int:
        """D, the length of a vector: the backbone's hidden size."""
        return self.backbone.get_embedding_dimension()

    @property
    def query_vectors(self) -> int:
        """R_q, vectors of a query."""
        return self.backbone.settings.query_vectors

    @property
    def document_vectors(self) -> int:
        """R_c, vectors of a candidate."""
        return self.backbone.settings.document_vectors

    @property
    def modalities(self) -> frozenset[str]:
        """What it reads: ``{"text"}``, or ``{"text", "image", "fused"}``."""
        return self.backbone.reads

    @property
    def fingerprint(self) -> str:
        """Hex digest of weights, Meta Tokens, template and lengths; equal on every machine.

        It is that of the stored weights also where they run rounded (bfloat16 on CUDA), and is
        computed anew after the weights changed, as by training.
        """
        from metaembed_rag.model.fingerprint import fingerprint, weights_state

        with self._lock:
            state = weights_state(self.backbone)
            if state != self._fingerprint_of:
                self._fingerprint, self._fingerprint_of = fingerprint(self.backbone), state
            return self._fingerprint

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def __repr__(self) -> str:
        return (
            f"MetaEmbedEncoder({self.name!r}, {'/'.join(sorted(self.modalities))}, "
            f"r_q={self.query_vectors}, r_c={self.document_vectors}, D={self.dimension}, "
            f"device={str(self.device)!r})"
        )

    @property
    def _trained_dimensions(self) -> Sequence[int]:
        return self.backbone.settings.dimensions

    @property
    def _remedy(self) -> str:
        return (
            f" in {self.model.dtype}; load it with dtype='float32' (or 'bfloat16'), and check the "
            f"training run"
        )

    @property
    def _pass_tokens(self) -> int:
        return self.backbone.settings.max_document_tokens

    def _passes(self, item: Item) -> Passes:
        with self._lock:  # a tokenizer's limits are its state
            return self.backbone.passes(item, self.max_passes)

    def _encode_batch(self, items: Sequence[Item], side: str, count: int) -> Vectors:
        from metaembed_rag.model import computing, loading

        loading.check_threads(self.name)  # before a lock that a fork may have left closed
        with self._lock:
            return computing.encode(self.model, self.backbone, items, side, count)


def _check_installed(name: str) -> None:
    """Refuse to load a model where what runs it is not installed.

    Raises:
        MissingExtraError: The message is the ``pip install`` line, and what does without.
    """
    for module in ("torch", "transformers", "sentence_transformers"):
        if not is_installed(module):
            raise MissingExtraError(
                f"the model {name!r} needs the optional package {module!r}: "
                f"{install_line('local')}; or name a server that encodes, as http://host:8000"
            )
