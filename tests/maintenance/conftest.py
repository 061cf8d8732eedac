"""An index of pages, texts and pictures that is sound."""

from __future__ import annotations

import pytest

from tests.maintenance.builders import made


@pytest.fixture
def where(tmp_path):
    with made(tmp_path / "index", tmp_path / "files"):
        pass
    return tmp_path / "index"
