"""What stages of recipes have in common."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
for module in ("accelerate", "datasets", "ir_measures"):
    pytest.importorskip(module)

from recipes.stages import made_once  # noqa: E402


class Killed(BaseException):
    """Ends a run at once, as a signal would."""


def test_what_is_there_is_not_made_again_and_what_failed_leaves_nothing(tmp_path):
    def fail(place):
        place.write_text("half")
        raise Killed

    with pytest.raises(Killed):
        made_once(tmp_path / "a", fail)
    assert not (tmp_path / "a").exists()
    made_once(tmp_path / "a", lambda place: place.write_text("whole"))
    made_once(tmp_path / "a", fail)
    assert (tmp_path / "a").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
