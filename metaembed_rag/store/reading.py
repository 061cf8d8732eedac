"""Records out of what Chroma answers; one that cannot be read costs its page and nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np

from metaembed_rag.store import records
from metaembed_rag.store.places import replace_file
from metaembed_rag.store.records import Record
from metaembed_rag.vectors.formats import Encoded

_NAMED = 5
"""Ids that a warning names."""

_KEPT = 1000
"""Ids that are kept for the next process, which looks at each."""

_log = logging.getLogger(__name__)


class DoubtfulIds:
    """Ids of records that some process could not read, so that the next one looks at them again.

    Without it only who meets such a record would know: a search, and not the run that could mend
    it. The file is derived, and a hint: it is lost where two processes write it at once.

    Args:
        path: Of the file, in a folder that may not be there; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self) -> set[str]:
        """The ids; none where there is no file, or a damaged one."""
        if self._path is None:
            return set()
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return set()
        return {id for id in found if isinstance(id, str)} if isinstance(found, list) else set()

    def change(self, add: Set[str] = frozenset(), drop: Set[str] = frozenset()) -> None:
        """Keep some ids, and others no longer; where that is impossible nothing changes."""
        if self._path is None or not (add or drop):
            return
        before = self.read()
        after = sorted((before | add) - drop)[:_KEPT]
        if set(after) == before:
            return
        try:
            if after:
                replace_file(self._path, json.dumps(after))
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            _log.info("the ids of unreadable records are not kept: %s", error)


class RecordReader:
    """Reads records, and notes those that are damaged or that another program wrote.

    Args:
        where: How messages call the index.
        unpack: The vectors of records; raises a ValueError where they are too few or damaged.
        doubtful: What is kept of those that cannot be read.

    Attributes:
        unreadable: What Chroma holds of those records that this process came across and could not
            read, by id.
    """

    def __init__(
        self, where: str, unpack: Callable[[list[Record]], Encoded], doubtful: DoubtfulIds
    ) -> None:
        self.doubtful = doubtful
        self.unreadable: dict[str, Mapping[str, Any]] = {}
        self._where = where
        self._unpack = unpack

    def read(self, rows: Iterable[tuple[str, Mapping[str, Any] | None]]) -> dict[str, Record]:
        """The records among ids and metadata of Chroma's; the rest is noted, and told of once."""
        out: dict[str, Record] = {}
        problems: dict[str, str] = {}
        for id, metadata in rows:
            try:
                record = self._record(id, metadata or {})
                if record.payload is records.NOT_READ and id in self.unreadable:
                    continue  # what is wrong with it may be what was not read
                out[id] = record
                self.unreadable.pop(id, None)
            except ValueError as error:
                if id not in self.unreadable:
                    problems[id] = str(error)
                self.unreadable[id] = metadata or {}
        if problems:
            self.doubtful.change(add=problems.keys())
            self._warn(problems)
        return out

    def forget(self, ids: Iterable[str]) -> None:
        """Records that are written anew, or gone: what was wrong with them matters no more."""
        gone = set(ids)
        for id in gone:
            self.unreadable.pop(id, None)
        self.doubtful.change(drop=gone)

    def _record(self, id: str, metadata: Mapping[str, Any]) -> Record:
        return checked_record(id, metadata, self._unpack)

    def _warn(self, problems: Mapping[str, str]) -> None:
        named = [f"{id!r}: {why}" for id, why in list(problems.items())[:_NAMED]]
        more = ["…"] if len(problems) > _NAMED else []
        what, verb, of, them, id = (
            ("1 record", "is", "its page", "it", "its id")
            if len(problems) == 1
            else (f"{len(problems)} records", "are", "their pages", "them", "their ids")
        )
        _log.warning(
            "%s of the index at %s cannot be read and %s left out: add %s again, or delete %s by "
            "%s (%s)",
            what,
            self._where,
            verb,
            of,
            them,
            id,
            "; ".join(named + more),
        )


def checked_record(
    id: str, metadata: Mapping[str, Any], unpack: Callable[[list[Record]], Encoded]
) -> Record:
    """The record that Chroma's ``id`` and ``metadata`` describe, its vectors seen to be whole.

    Raises:
        ValueError: It is damaged, or another program's.
    """
    record = records.from_metadata(id, metadata)
    if record.payload is records.NOT_READ:
        return record
    records.check_sum(metadata)
    found = unpack([record])
    whole = found.scales if found.format.scaled else found.values
    if not np.isfinite(whole).all():
        raise ValueError("its vectors hold numbers that are not finite")
    return record
