"""A Ray cluster is joined or started, and what fails there becomes one sentence."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from metaembed_rag import errors
from metaembed_rag.errors import MetaEmbedError, ModelError, PageError, ServerError, require

LOCAL_STORE = 512 * 1024**2
"""Bytes that Ray's object store takes of the memory where a cluster is started here."""

_OURS = re.compile(rf"{re.escape(MetaEmbedError.__module__)}\.(\w+Error): (.+)")

_SECONDS_TO_CONNECT = 5.0
"""For the first connection to an address; Ray itself tries again for minutes."""

_HELP = (
    "start one with `ray start --head` and give its address, or leave the address out for one on "
    "this machine"
)


@dataclass(frozen=True)
class RayOptions:
    """By which cluster files are encoded, and by how many workers.

    Attributes:
        address: Of a cluster, such as ``"ray://head:10001"``, ``"head:6379"`` or ``"auto"`` for the
            one that runs on this machine; None starts one here that ends afterwards. A cluster that
            this process is connected to already is taken as it is.
        workers: How many load the model; by default one a GPU, else one for each two cores.
        files_at_once: Files that a worker is handed at a time. A worker that is lost costs their
            encoding again.
        init: More for ``ray.init``, such as ``runtime_env``.

    Raises:
        ServerError: A number is under 1.
    """

    address: str | None = None
    workers: int | None = None
    files_at_once: int = 8
    init: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.files_at_once < 1 or (self.workers is not None and self.workers < 1):
            raise ServerError("there must be at least 1 worker, and 1 file that it is handed")


THIS_MACHINE = RayOptions()
"""A cluster here, with one worker for two cores."""


@contextmanager
def cluster(options: RayOptions) -> Iterator[Any]:
    """Give the module ``ray``, connected; what is started here is ended afterwards.

    Raises:
        MissingExtraError: Ray is not installed.
        ServerError: No cluster answers at the address.
    """
    ray = require("ray")
    require("ray.data")
    if not ray.is_initialized():
        _look_for(options.address)
    with _quietly():
        if ray.is_initialized():
            yield ray
            return
        _connect(ray, options)
        try:
            yield ray
        finally:
            ray.shutdown()


def _connect(ray: Any, options: RayOptions) -> None:
    given = {"log_to_driver": False, "logging_level": "ERROR", "address": options.address}
    if options.address is None:
        given |= {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": LOCAL_STORE,
        }
    try:
        ray.init(**{**given, **options.init})
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        where = f"at {options.address!r}" if options.address else "on this machine"
        why = str(error).strip().partition("\n")[0]
        raise ServerError(f"no Ray cluster {where} ({why}); {_HELP}") from error


def _look_for(address: str | None) -> None:
    """See that something listens at an address that names a port; others are left to Ray.

    Raises:
        ServerError: Nothing does.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise ServerError(f"no Ray cluster at {address!r} ({error}); {_HELP}") from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the log and the bars of Ray Data, which would stand between ours."""
    from ray.data import DataContext

    log, context = logging.getLogger("ray.data"), DataContext.get_current()
    level, bars = log.level, context.enable_progress_bars
    log.setLevel(logging.ERROR)
    context.enable_progress_bars = False
    try:
        yield
    finally:
        log.setLevel(level)
        context.enable_progress_bars = bars


def told(ray: Any, rows: Iterator[Any]) -> Iterator[Any]:
    """Rows of a dataset, with what fails on a worker as an error of ours.

    Raises:
        MetaEmbedError: One of a worker, as it raised it.
        ModelError: A worker failed otherwise, or all were lost.
    """
    try:
        yield from rows
    except (ray.exceptions.RayError, OSError) as error:
        raise _explained(error) from error


def _explained(error: BaseException) -> MetaEmbedError:
    """The error of ours that a worker raised, or one that says what it raised."""
    every = list(_chain(error))
    for one in reversed(every):
        if isinstance(one, MetaEmbedError) and type(one).__module__ == MetaEmbedError.__module__:
            return one
        # Of an actor that could not be made, Ray hands over the text of the error only.
        if found := _OURS.search(str(one)):
            kind = getattr(errors, found[1], ModelError)
            return (ModelError if issubclass(kind, PageError) else kind)(found[2].strip())
    lines = str(every[-1]).strip().splitlines() or [type(every[-1]).__name__]
    return ModelError(
        f"the workers of the Ray cluster failed ({lines[-1].strip()}); what was acknowledged is in "
        f"the index, and the same command goes on there; see the logs of Ray"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, what caused it on a worker, and so on."""
    below: BaseException | None = error
    while isinstance(below, BaseException):
        yield below
        below = getattr(below, "cause", None) or below.__cause__
