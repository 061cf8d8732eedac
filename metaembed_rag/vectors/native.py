"""The compiled kernel: built once with the system's C compiler, kept in the user's cache folder.

Nothing here is needed: without a compiler, or on a processor without AVX2, the portable path of
:mod:`metaembed_rag.vectors.integers` gives the same bits. ``METAEMBED_KERNEL`` chooses:
``portable`` never compiles, ``native`` fails where it cannot, and by default the faster one that
works is taken.

A library ends with a checksum of what stands before it, which the loader of libraries does not
look at: one that was cut off or changed on the disk is built again, and not loaded.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaembed_rag.errors import MetaEmbedError

VARIABLE = "METAEMBED_KERNEL"
"""The environment variable that chooses between ``native`` and ``portable``."""

INSTRUCTIONS = {"avx2": 1, "vnni": 2, "amx": 3}
"""Instruction sets that the kernel has code for, from slow to fast; a machine has a prefix."""

KINDS = {"int8": 0, "int4": 1, "bits": 2}
"""Formats that the kernel reads, as kernel.c numbers them."""

_SOURCE = Path(__file__).with_name("kernel.c")
_FLAGS = ["-O3", "-std=gnu11", "-fPIC", "-shared", "-ffp-contract=off"]
_ATTEMPTS = [[], ["-DNO_AMX"]]
"""Further flags: compilers from before 2021 do not know AMX."""


_SEAL = b"metaembed kernel"
_DIGEST_BYTES = 16


def _fields(pointers: str, steps: str, counts: str) -> list[tuple[str, Any]]:
    """The fields of a structure in C's order; steps have 64 bits, counts 32."""
    kinds = {ctypes.c_void_p: pointers, ctypes.c_int64: steps, ctypes.c_int32: counts}
    return [(name, kind) for kind, names in kinds.items() for name in names.split()]


class Level(ctypes.Structure):
    """Where a level's vectors lie: kernel.c's ``Level``; steps in bytes."""

    _fields_ = _fields(
        "values scales", "page_step vector_step scale_page_step scale_vector_step", "vectors kind"
    )


class Query(ctypes.Structure):
    """Packed query vectors: kernel.c's ``Query``."""

    _fields_ = _fields("packed offsets scales", "", "queries vectors groups dimension padded")


@dataclass(frozen=True)
class Kernel:
    """What scores: the compiled code, or nothing and the reason why.

    Attributes:
        library: The loaded code; None means the portable path.
        instructions: Of :data:`INSTRUCTIONS`, or ``"portable"``.
        reason: Why it is the portable path; empty otherwise.
    """

    library: ctypes.CDLL | None
    instructions: str
    reason: str = ""


def kernel() -> Kernel:
    """The kernel that scores in this process, compiled at the first call (about two seconds).

    Raises:
        MetaEmbedError: ``METAEMBED_KERNEL`` is neither ``native`` nor ``portable``, or asks for a
            kernel that cannot be had here.
    """
    wanted = os.environ.get(VARIABLE, "").strip().lower()
    if wanted not in ("", "native", "portable"):
        raise MetaEmbedError(
            f"the environment variable {VARIABLE} is {wanted!r}; set it to native or portable, "
            f"or leave it out"
        )
    if wanted == "portable":
        return Kernel(None, "portable", f"{VARIABLE} asks for it")
    found = _load()
    if wanted == "native" and found.library is None:
        raise MetaEmbedError(
            f"{VARIABLE} asks for the native kernel, which is not to be had: {found.reason}"
        )
    return found


@functools.cache
def _load() -> Kernel:
    try:
        library = ctypes.CDLL(str(_compiled()))
    except OSError as error:
        return Kernel(None, "portable", str(error))
    best = library.metaembed_instructions()
    if not best:
        return Kernel(None, "portable", "the processor has no AVX2")
    vectors: list[Any] = [ctypes.c_int, ctypes.POINTER(Query), ctypes.POINTER(Level), ctypes.c_int]
    rows = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
    scores = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
    library.metaembed_score.argtypes = vectors + rows + scores
    return Kernel(library, list(INSTRUCTIONS)[best - 1])


def _compiled() -> Path:
    """The shared library for this source, built where it is not yet.

    Raises:
        OSError: It cannot be built; the message says why.
    """
    machine = os.uname().machine if hasattr(os, "uname") else "unknown"
    if machine not in ("x86_64", "amd64"):
        raise OSError(f"there is no kernel for {machine} processors")
    key = hashlib.blake2b(_SOURCE.read_bytes() + repr(_FLAGS).encode(), digest_size=8).hexdigest()
    library = _folder() / f"kernel-{key}-{machine}.so"
    if not _is_whole(library):
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler is None:
            raise OSError("there is no C compiler (cc)")
        _compile(compiler, library)
    return library


def _seal(content: bytes) -> bytes:
    """What a library ends with: a name and a checksum of all that stands before."""
    return _SEAL + hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def _is_whole(library: Path) -> bool:
    """Whether a library is there as it was built; one cut off would end the process (SIGBUS)."""
    try:
        found = library.read_bytes()
    except OSError:
        return False
    end = len(_SEAL) + _DIGEST_BYTES
    return len(found) > end and found[-end:] == _seal(found[:-end])


def _compile(compiler: str, library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / "kernel.so"
        for further in _ATTEMPTS:
            command = [compiler, *_FLAGS, *further, str(_SOURCE), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                made.write_bytes(made.read_bytes() + _seal(made.read_bytes()))
                made.replace(library)  # at once: another process sees all of it or nothing
                return
    message = (done.stderr.strip() or "no message").splitlines()[0]
    raise OSError(f"{compiler} does not compile the kernel: {message}")


def _folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("metaembed_rag")) / "kernels"


def pack_queries(values: NDArray[np.int8], scales: NDArray[np.float32]) -> tuple[Query, list[Any]]:
    """Query vectors as the kernel reads them.

    Args:
        values: int8, shape (queries, r_q, D).
        scales: float32, shape (queries, r_q).

    Returns:
        The structure, and the arrays that it points into, to be kept as long.
    """
    queries, vectors, dimension = values.shape
    groups, padded = -(-queries * vectors // 16), -(-dimension // 64) * 64
    flat = np.zeros((groups * 16, padded), dtype=np.int8)
    flat[: queries * vectors, :dimension] = values.reshape(-1, dimension)
    packed = np.ascontiguousarray(flat.reshape(groups, 16, padded // 4, 4).swapaxes(1, 2))
    offsets = flat.sum(axis=1, dtype=np.int32) * np.int32(128)
    weights = np.ascontiguousarray(scales, dtype=np.float32)
    arrays = [packed, offsets, weights]
    pointers = [array.ctypes.data for array in arrays]
    return Query(*pointers, queries, vectors, groups, dimension, padded), arrays


def score(
    found: Kernel,
    query: Query,
    levels: ctypes.Array[Level],
    rows: NDArray[np.int64] | None,
    span: tuple[int, int],
    scores: NDArray[np.float32],
    best: NDArray[np.float32] | None = None,
) -> None:
    """Write the scores of pages ``span`` of ``rows`` into these columns of ``scores``.

    Args:
        found: A kernel with a library.
        query: From :func:`pack_queries`.
        levels: Of vectors that stay alive meanwhile.
        rows: Which pages; None for all.
        span: First and one past the last position in ``rows``.
        scores: float32, shape (queries, pages or rows), C order.
        best: float32, shape (pages or rows, queries, r_q), C order: the best similarities in other
            levels, which count too; brought up to date with these levels.
    """
    assert found.library is not None
    failed = found.library.metaembed_score(
        INSTRUCTIONS[found.instructions],
        ctypes.byref(query),
        levels,
        len(levels),
        None if rows is None else rows.ctypes.data,
        *span,
        scores.ctypes.data,
        scores.shape[1],
        None if best is None else best.ctypes.data,
    )
    if failed:
        raise MemoryError("no memory for the vectors of a page")
