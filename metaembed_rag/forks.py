"""What does not go on in a process that was forked: threads, and all that waits for them.

``os.fork`` (gunicorn with ``preload``, Celery's prefork, multiprocessing by ``"fork"``) copies the
memory of a process but only one of its threads. A library that has threads of its own waits in the
child for ever, for those that are not there. Who starts such a library notes it here, and asks here
before it is used.
"""

from __future__ import annotations

import os

ADVICE = (
    "threads do not survive a fork: load models and open indexes after the fork, in each worker "
    "process, or start the workers by 'spawn' or 'forkserver'"
)
"""What to do about it, as a part of a sentence."""

_STARTED: dict[str, int] = {}


def note_threads(library: str) -> None:
    """Note that a library has started threads in this process."""
    _STARTED.setdefault(library, os.getpid())


def lost_threads(library: str) -> bool:
    """Whether a library's threads were left behind in the process that this one was forked from."""
    process = os.getpid()
    return _STARTED.get(library, process) != process
