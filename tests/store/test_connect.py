from __future__ import annotations

import resource
from pathlib import Path

import pytest

from metaembed_rag.errors import StoreError
from metaembed_rag.store.chroma import ChromaStore
from metaembed_rag.store.collection import CollectionModel

ABOUT = CollectionModel("model", "f" * 32, dimension=4, vectors=3)


@pytest.fixture
def few_files():
    """Lets the process open only so many files more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def allow(more: int) -> None:
        now = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (now + 1 + more, before[1]))

    yield allow
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.integration
@pytest.mark.parametrize("more", [0, 1, 5])
def test_fault_14_too_many_open_files_are_a_sentence(tmp_path, few_files, more):
    ChromaStore.open(tmp_path / "first", lambda: ABOUT).close()
    few_files(more)
    opened = []
    with pytest.raises(StoreError, match=r"index\.close\(\).*ulimit"):
        while len(opened) < 50:
            opened.append(ChromaStore.open(tmp_path / str(len(opened)), lambda: ABOUT))
    for store in opened:
        store.close()
