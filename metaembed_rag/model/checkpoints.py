"""Where a checkpoint's name leads: a shipped one, a folder, or the Hugging Face hub."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from metaembed_rag.errors import CheckpointError, is_installed
from metaembed_rag.pages.folders import expanded
from metaembed_rag.web import without_password

SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints"
"""The checkpoints that come with the package."""

VISUAL_WORDS = SHIPPED / "visual_words"
"""The network that tells what a photo shows, with its words."""
DEFAULT_MODEL = "small"
"""The shipped checkpoint that is taken where nobody names one."""
MODEL_VARIABLE = "METAEMBED_MODEL"
"""The environment variable that names a model where a command names none."""

CONFIG = "metaembed.json"
VERSION = "version"
"""The option of a name that asks for a version: its fingerprint, or the first 8 digits or more."""
FORMER = "former"
"""Folder in that of a checkpoint: what its former versions differ in from the present files."""
_LATE = "config_sentence_transformers.json"
_MODULES = "modules.json"
_UNORDERED = frozenset({"SparseEncoder", "CrossEncoder"})
_NOT_DENSE = _UNORDERED | {"MultiVectorEncoder", "ColBERT"}
_TWO_TOWERS = frozenset({"CLIPModel", "SiglipModel", "Siglip2Model"})
"""Architectures of transformers whose text and picture towers end in one common space."""
_WITHOUT_SETTINGS = frozenset({"Normalize", "Dropout"})
"""Modules of sentence-transformers whose folder may be empty, which repositories do not keep."""


def shipped_checkpoints() -> list[str]:
    """Names for ``MetaEmbedEncoder.from_pretrained``: shipped, and in METAEMBED_CHECKPOINTS.

    The environment variable names one more folder whose sub-folders are checkpoints.
    """
    return sorted({path.parent.name for root in _roots() for path in root.glob(f"*/{CONFIG}")})


def visual_words_are_on() -> bool:
    """Whether text is made of what pictures show: the network is there and not switched off.

    The environment variable ``METAEMBED_VISUAL_WORDS`` switches it off: ``never``. The network is
    run by torch, so it is off where that is not installed.
    """
    wanted = os.environ.get("METAEMBED_VISUAL_WORDS", "") != "never"
    return wanted and (VISUAL_WORDS / "model.safetensors").is_file() and is_installed("torch")


def is_address(name: str | os.PathLike[str]) -> bool:
    """Whether a name leads to a server instead of to files."""
    return os.fspath(name).lower().startswith(("http://", "https://"))


def split_name(name: str | os.PathLike[str]) -> tuple[str, dict[str, str]]:
    """A model's name and the options after its ``?``, as in ``"my-colbert?pooling=kmeans"``.

    A folder that exists under the whole name has no options.

    Raises:
        CheckpointError: What stands after ``?`` is not of the form ``key=value&key=value``.
    """
    whole = os.fspath(name)
    bare, mark, options = whole.partition("?")
    if not mark or expanded(whole).is_dir():
        return whole, {}
    return bare, read_options(options, f"{whole!r} has options that cannot be read; write NAME")


def read_options(text: str, otherwise: str) -> dict[str, str]:
    """The options of a name: what stands after its ``?``.

    Raises:
        CheckpointError: They are not of the form ``key=value&key=value``; ``otherwise`` opens it.
    """
    try:
        return dict(parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)))
    except ValueError:
        raise CheckpointError(f"{otherwise}?key=value&key=value") from None


def join_name(name: str, options: Mapping[str, str]) -> str:
    """The inverse of :func:`split_name`."""
    return f"{name}?{urlencode(options, safe=',/', quote_via=quote)}" if options else name


def former_versions(name: str | os.PathLike[str]) -> list[str]:
    """Fingerprints of the former versions of a shipped checkpoint, sorted; of any other name none.

    Nothing is loaded and no network is used.
    """
    name = os.fspath(name)
    return versions_in(find_checkpoint(name)) if name in shipped_checkpoints() else []


def versions_in(folder: Path) -> list[str]:
    """Fingerprints of the former versions that a checkpoint's folder holds, sorted."""
    return sorted(path.stem for path in (folder / FORMER).glob("*.safetensors"))


def name_of_version(name: str, fingerprint: str) -> str:
    """The name that loads that version of a shipped checkpoint; ``name`` if it is no former one.

    Args:
        name: What an index recorded or a user wrote; a name that has options stays as it is.
        fingerprint: Of the model that is wanted.
    """
    known = fingerprint in former_versions(name)
    return join_name(name, {VERSION: fingerprint}) if known else name


def is_hub_id(name: str) -> bool:
    """Whether a name, without options, has the form of a hub id: ``owner/model``."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None and name[0] != "."


def find_checkpoint(name: str | os.PathLike[str], *, local_files_only: bool = False) -> Path:
    """The folder of a checkpoint, downloaded first when it is on the hub.

    Args:
        name: A shipped name (``"mini"``), a folder, or a hub id (``"owner/model"``).
        local_files_only: Of a hub id take what was downloaded before; use no network.

    Raises:
        CheckpointError: Nothing is there; the message says what was tried.
    """
    if os.fspath(name) in shipped_checkpoints():  # before a folder of that name: write ./mini
        root = next(root for root in _roots() if (root / name / CONFIG).is_file())
        return _checked(root / name)
    folder = expanded(name)
    if folder.is_dir():
        return _checked(folder)
    if isinstance(name, str) and is_hub_id(name):
        return _checked(_download(name, local_files_only))
    shown = without_password(os.fspath(name))
    raise CheckpointError(
        f"no checkpoint {shown!r}: it is not a folder, not a shipped name ({_names()}), "
        f"and not a hub id (owner/model)"
    )


def _roots() -> list[Path]:
    extra = os.environ.get("METAEMBED_CHECKPOINTS")
    return [SHIPPED, expanded(extra)] if extra else [SHIPPED]


def _names() -> str:
    return ", ".join(shipped_checkpoints()) or "none is installed"


def _checked(folder: Path) -> Path:
    """Name the first thing that is missing from a folder, before a library trips over it."""
    if not any(folder.iterdir()):
        raise CheckpointError(f"{folder} is empty: it holds no checkpoint")
    if is_late_interaction(folder):
        _check_late_interaction(folder)
    elif is_dense(folder):
        _check_modules(folder)
    elif (folder / CONFIG).is_file():
        check_backbone_folder(folder)
    else:
        _refuse_half_late_interaction(folder)
        raise _no_checkpoint(folder)
    return folder


def _no_checkpoint(folder: Path) -> CheckpointError:
    kind = read_json(folder / _LATE).get("model_type")
    if kind in _UNORDERED:
        return CheckpointError(
            f"{folder} holds a {kind} of sentence-transformers, which gives no vectors that could "
            f"be stored in an order; take a SentenceTransformer or a MultiVectorEncoder"
        )
    other = (
        ""
        if (folder / _MODULES).is_file()
        else (
            f", and no {_MODULES}, so it holds no embedding model of sentence-transformers either"
        )
    )
    return CheckpointError(
        f"{folder} has no {CONFIG}, so it holds no MetaEmbed checkpoint{other}; to put Meta Tokens "
        f"on a plain backbone use MetaEmbedEncoder.from_backbone, then train it"
    )


def _lacking(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{folder} has no {what}; copy or download the checkpoint again")


def check_backbone_folder(folder: Path, *, adapter: bool = False) -> None:
    """Refuse a folder without a configuration, weights or a tokenizer.

    With ``adapter`` a LoRA adapter's configuration will do; its backbone is loaded by its name.

    Raises:
        CheckpointError: It names what is missing.
    """
    wanted = {
        "config.json": ["config.json", *(["adapter_config.json"] if adapter else [])],
        "weights (*.safetensors)": ["*.safetensors", "pytorch_model*.bin"],
        "tokenizer (tokenizer.json)": ["tokenizer.json", "tokenizer.model", "vocab.*"],
    }
    for what, patterns in wanted.items():
        if not any(path.is_file() for pattern in patterns for path in folder.glob(pattern)):
            raise _lacking(folder, what)


def is_late_interaction(folder: Path) -> bool:
    """Whether a folder holds a checkpoint of token-level late interaction.

    Known are sentence-transformers' multi-vector layout, PyLate's and Stanford's ColBERT, and
    transformers' own ``...ForRetrieval`` models (ColPali, ColQwen2, ColModernVBert).
    """
    kinds = [str(module.get("type", "")) for module in read_json(folder / _MODULES, [])]
    if (folder / CONFIG).is_file() or any(kind.startswith("metaembed_rag.") for kind in kinds):
        return False
    if read_json(folder / _LATE).get("model_type") in ("MultiVectorEncoder", "ColBERT"):
        return True
    return any("multi_vector_encoder" in kind for kind in kinds) or _is_retriever(folder)


def is_dense(folder: Path) -> bool:
    """Whether a folder holds a model of one vector an input, as sentence-transformers loads it.

    Known are its own layout (``modules.json``), and transformers' two-tower models of pictures and
    texts (CLIP, SigLIP), which need no modules after them.
    """
    kinds = [str(module.get("type", "")) for module in read_json(folder / _MODULES, [])]
    if not kinds:
        return any(name in _TWO_TOWERS for name in _architectures(folder))
    ours = (folder / CONFIG).is_file() or any(kind.startswith("metaembed_rag.") for kind in kinds)
    other = read_json(folder / _LATE).get("model_type") in _NOT_DENSE
    return not (ours or other or is_late_interaction(folder))


def _check_modules(folder: Path) -> None:
    """Name what is missing of a dense model."""
    listed = read_json(folder / _MODULES, [])
    first = folder / (listed[0].get("path", "") if listed else "")
    check_backbone_folder(first, adapter=True)
    _check_settings(folder, listed[1:])


def _check_late_interaction(folder: Path) -> None:
    """Name what is missing, before sentence-transformers puts random weights in its place."""
    listed = read_json(folder / _MODULES, [])
    check_backbone_folder(folder / (listed[0].get("path", "") if listed else ""), adapter=True)
    if not listed and not _is_retriever(folder):
        raise _lacking(folder, f"{_MODULES}, which says how its token vectors are projected")
    _check_settings(folder, listed)


def _check_settings(folder: Path, listed: list[dict[str, str]]) -> None:
    """Name the module of a list whose settings or weights are missing."""
    for module in listed:
        kind, place = module.get("type", "").rpartition(".")[2], folder / module.get("path", "")
        if kind not in _WITHOUT_SETTINGS and not any(place.glob("*.json")):
            raise _lacking(place, f"settings of the module {kind} (config.json)")
        stored = any(place.glob("*.safetensors")) or any(place.glob("*.bin"))
        if "Dense" in kind and not stored:
            raise _lacking(place, "weights of the projection (model.safetensors)")


def _refuse_half_late_interaction(folder: Path) -> None:
    """Say what to do about colpali-engine's own files, which name no projection that loads."""
    names = [name for name in _architectures(folder) if name.startswith("Col")]
    if (folder / "adapter_config.json").is_file() and not names:
        names = ["a LoRA adapter"]
    if names:
        raise CheckpointError(
            f"{folder} holds {names[0]} in colpali-engine's own layout, without {_MODULES}; "
            f"download its latest revision, which has sentence-transformers' files, or its "
            f"transformers version (the names that end in -hf)"
        )


def _is_retriever(folder: Path) -> bool:
    names = _architectures(folder)
    return any(name.endswith("ForRetrieval") or name == "HF_ColBERT" for name in names)


def _architectures(folder: Path) -> list[str]:
    return list(read_json(folder / "config.json").get("architectures") or [])


def read_json(path: Path, otherwise: Any = None) -> Any:
    """What a JSON file holds; ``otherwise`` (an empty dictionary) where there is none.

    Raises:
        CheckpointError: The file is damaged.
    """
    if not path.is_file():
        return {} if otherwise is None else otherwise
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}); copy or download it again") from error


def _download(name: str, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(name, local_files_only=local_files_only))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"no checkpoint {name!r}: there is no such folder, and the Hugging Face hub gave none "
            f"({type(error).__name__}: {reason}); without a network use a shipped name "
            f"({_names()}) or a folder"
        ) from error
