"""What tests of the cascade and of its calibration share."""

from __future__ import annotations

import pytest

from tests.support.levels import topics_in_levels


@pytest.fixture(scope="session")
def made():
    """Pages, the same in levels, and queries about their topics."""
    return topics_in_levels()
