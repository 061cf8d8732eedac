"""What every test shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
for name in ("METAEMBED_INDEX", "METAEMBED_MODEL", "METAEMBED_BUDGET"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real evaluation sets; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("METAEMBED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not at {folder} (set METAEMBED_DATA)")
    return folder


@pytest.fixture
def shapes(monkeypatch) -> list[tuple[int, int]]:
    """The budget that ranks, (query vectors, page vectors), of each search and each scoring."""
    from metaembed_rag import cascade, searching

    seen: list[tuple[int, int]] = []
    real = cascade.maxsim_unrounded

    def recording(query, levels, budget, rows):
        vectors = sum(level.values.shape[1] for level in levels)
        seen.append((min(budget.r_q, query.exact.shape[1]), min(budget.r_c, vectors)))
        return real(query, levels, budget, rows)

    for module in (cascade, searching):
        monkeypatch.setattr(module, "maxsim_unrounded", recording)
    return seen
