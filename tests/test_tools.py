"""What all tools for agents share."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from metaembed_rag.tools import PageArguments, chosen, picture_limits, wrong_arguments


def test_only_what_the_model_chose_takes_the_place_of_the_retrievers_own():
    assert chosen(None, None) == {}
    assert chosen(" ", None) == {}
    assert chosen("fast", 3) == {"budget": "fast", "k": 3}


def test_wrong_arguments_are_named():
    with pytest.raises(ValidationError) as refused:
        PageArguments(query="", k=0)
    said = wrong_arguments(refused.value)
    assert said.startswith("query: ")
    assert "; k: " in said


def test_a_misspelt_limit_is_refused():
    with pytest.raises(TypeError):
        picture_limits({"max_byte": 1})  # type: ignore[typeddict-unknown-key]
