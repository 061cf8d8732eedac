"""Every error that this package raises on purpose, in one tree.

::

    MetaEmbedError
    ├── BudgetError            a budget that makes no sense, or asks for more than is stored
    ├── PageError              a page or file that cannot be read
    │   ├── UnreadableFileError    damaged, of an unknown kind, empty or missing
    │   ├── EncryptedFileError     a PDF that needs a password
    │   ├── FileTooLargeError      over the limit of pixels, pages or bytes
    │   ├── ResourceLimitError     needs more memory or time than it may have, or crashes its reader
    │   └── NothingToReadError     a page with neither text nor a readable image
    │       └── BlankPageError         it is blank: that is no failure
    ├── ModelError             a checkpoint or backbone that cannot be used
    │   ├── CheckpointError        a folder or hub id that holds no usable checkpoint
    │   ├── UnnamedModelError      a model that an index names and the user has not named
    │   └── ModalityError          an input of a kind that the model does not read
    ├── StoreError             the index cannot be opened, read or written
    │   ├── IndexNotFoundError     no index at that place
    │   ├── IndexLockedError       another process is writing
    │   ├── IndexClosedError       it was closed, or this process was forked from the one it is of
    │   ├── ModelMismatchError     the index was made with another model
    │   ├── MetadataError          metadata that the store would harm
    │   └── CacheError             the mapped copy of the vectors cannot be kept
    │       └── DamagedCacheError      it is not what was written: it is made again
    ├── ServerError            `metaembed serve` cannot start, refuses a request, or does not answer
    ├── DatasetError           an evaluation or training set that is incomplete or malformed
    ├── TrainingError          a training run that cannot start or go on as it is asked to
    └── MissingExtraError      an optional dependency is not installed

Each message says what happened and what to do about it; the command line prints it as it is.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType


class MetaEmbedError(Exception):
    """The root: catch this to catch everything that this package raises on purpose."""


def kind_of_value(value: object) -> str:
    """What a value is, for a sentence: ``a list``, ``an int``, ``bytes``, ``None``."""
    name = type(value).__name__
    if value is None or isinstance(value, bytes):
        return "None" if value is None else name
    return f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}"


class BudgetError(MetaEmbedError, ValueError):
    """A retrieval budget that makes no sense, or asks for more vectors than there are."""


class PageError(MetaEmbedError):
    """A page or file that cannot be read; ``source`` names it, ``reason`` says why."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason

    def __reduce__(self) -> tuple[type[PageError], tuple[str, str]]:
        """Pickled by its two parts: Python would make it again of the message alone, and fail."""
        return type(self), (self.source, self.reason)


class UnreadableFileError(PageError):
    """A file that is damaged, empty, missing or of a kind that is not supported."""


class EncryptedFileError(PageError):
    """A PDF that needs a password."""


class FileTooLargeError(PageError):
    """A file over the limit of pixels, pages or bytes."""


class ResourceLimitError(PageError):
    """A page or file that needs more memory or time than it may have, or crashes its reader."""


class NothingToReadError(PageError):
    """A page with neither text nor a readable image."""


class BlankPageError(NothingToReadError):
    """A page on which there is nothing, or a picture on which OCR finds no text; no failure."""


class ModelError(MetaEmbedError):
    """A checkpoint or backbone that cannot be used."""


class CheckpointError(ModelError):
    """A name, folder or hub id that holds no usable checkpoint."""


class UnnamedModelError(ModelError):
    """A model that an index names and that only its user may name: it is far, or not harmless."""


class ModalityError(ModelError, ValueError):
    """An input of a kind that the model does not read."""


class StoreError(MetaEmbedError):
    """The index cannot be opened, read or written."""


class IndexNotFoundError(StoreError):
    """No index at that place."""


class IndexLockedError(StoreError):
    """Another process is writing to the index."""


class IndexClosedError(StoreError):
    """The index was closed, or was opened in the process that this one was forked from."""


class ModelMismatchError(StoreError):
    """The index was made with another model, dimension or number of vectors."""


class MetadataError(StoreError, ValueError):
    """Metadata that the store would refuse, change or be damaged by."""


class CacheError(StoreError):
    """The mapped copy of an index's vectors cannot be kept; without it searching is slower."""


class DamagedCacheError(CacheError):
    """The mapped copy of an index's vectors is not what was written; a search makes it again.

    ``generation`` names the files.
    """

    def __init__(self, message: str, generation: str = "") -> None:
        super().__init__(message)
        self.generation = generation


class ServerError(MetaEmbedError):
    """A server of this package that cannot start, refuses a request, or does not answer."""


class DatasetError(MetaEmbedError):
    """An evaluation or training set that is incomplete or malformed."""


class TrainingError(MetaEmbedError, ValueError):
    """A training run that cannot start or go on as it is asked to."""


class MissingExtraError(MetaEmbedError, ImportError):
    """An optional dependency is not installed."""


_EXTRAS = {
    "local": {"torch", "transformers", "sentence_transformers"},
    "pooling": {"scipy"},
    "meta-tokens": {"tokenizers"},
    "cloud": {"fsspec", "s3fs"},
    "llama-index": {"llama_index"},
    "langchain": {"langchain_core"},
    "ocr": {"rapidocr", "onnxruntime"},
    "office": {"kreuzberg"},
    "heic": {"pillow_heif"},
    "train": {"accelerate", "datasets", "peft"},
    "eval": {"ir_measures"},
    "mteb": {"mteb"},
    "hybrid": {"bm25s", "Stemmer", "py3langid"},
    "mcp": {"mcp"},
    "ray": {"ray", "pyarrow"},
    "qdrant": {"qdrant_client"},
    "server": {"fastapi", "uvicorn", "python_multipart"},
}
"""The optional modules that each extra of this package brings; written once, here."""


def install_line(extra: str) -> str:
    """The command that installs this package with an extra: a package index has none of it yet."""
    return f"pip install '.[{extra}]' in a clone of metaembed-rag"


def is_installed(module: str) -> bool:
    """Whether a top-level module is there; it is not imported."""
    return sys.modules.get(module) is not None or importlib.util.find_spec(module) is not None


def require(module: str) -> ModuleType:
    """Import an optional ``module``.

    Raises:
        MissingExtraError: It is not installed; the message is the ``pip install`` line.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        extra = next(extra for extra, modules in _EXTRAS.items() if top in modules)
        raise MissingExtraError(
            f"this needs the optional package {top!r}: {install_line(extra)}"
        ) from error
