"""Where folders lie on this machine that an index knows under other paths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from metaembed_rag.errors import StoreError, kind_of_value

ROOTS = "METAEMBED_ROOTS"
"""The environment variable: ``/where/it/was=/where/it/is``, several with ``;`` between them."""


@dataclass(frozen=True)
class Roots:
    """Folders and addresses under their own names, each with where it is on this machine.

    Files are opened there; what an index says of a page stays as it is.

    Args:
        places: The names in the index, each with the place here.

    Raises:
        StoreError: One of them is no text, or empty.
    """

    places: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place in (one for pair in self.places.items() for one in pair):
            if not isinstance(place, str | os.PathLike):
                raise StoreError(f"a root is a folder or an address, not {kind_of_value(place)}")
        places = {_trimmed(old): _trimmed(new) for old, new in self.places.items()}
        if not all(places) or not all(places.values()):
            raise StoreError("a root names a folder and where it is now: {'/old': '/new'}")
        object.__setattr__(self, "places", places)

    @classmethod
    def of(cls, given: Mapping[str, str] | None = None) -> Roots:
        """Those that are given, and those of the environment where the same are not given.

        Raises:
            StoreError: One makes no sense.
        """
        lines = os.environ.get(ROOTS, "").split(";")
        return cls({**dict(parsed(line) for line in lines if line.strip()), **(given or {})})

    def here(self, source: str) -> str:
        """Where the file with this source is on this machine; the longest root that fits counts."""
        fitting = [old for old in self.places if f"{source}/".startswith(f"{old}/")]
        if not fitting:
            return source
        old = max(fitting, key=len)
        return f"{self.places[old]}{source[len(old) :]}"


def parsed(line: str) -> tuple[str, str]:
    """A root that is written ``OLD=NEW``.

    Raises:
        StoreError: It is none.
    """
    old, equals, new = line.strip().partition("=")
    if not equals or not old.strip() or not new.strip():
        raise StoreError(f"{line.strip()!r} is no root: write OLD=NEW, such as /mnt/docs=/docs")
    return old.strip(), new.strip()


def _trimmed(place: str | os.PathLike[str]) -> str:
    return os.fspath(place).rstrip("/")
