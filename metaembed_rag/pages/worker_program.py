"""What every worker program does: answers requests within limits, and ends with its caller.

It answers requests from standard input on standard output (see `frames` and `workers`), and ends
when its input does. It limits itself: what needs more memory or computing than it may ends this
process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from metaembed_rag.errors import MetaEmbedError, PageError
from metaembed_rag.pages.frames import Header, error_frame, page_frame, read_frame, write_frame
from metaembed_rag.pages.page import Page
from metaembed_rag.pages.workers import MEMORY_EXIT

if sys.platform != "win32":
    import resource

_LOOK_SECONDS = 0.02


class Restraint:
    """The limits that this process sets itself, as far as the system knows them.

    Linux refuses it memory over the limit; other systems let it have it, so it looks itself how
    much it has. Windows has neither this nor a limit of computing time: there the caller's clock
    counts alone.
    """

    def __init__(self) -> None:
        self._most = sys.maxsize
        if sys.platform == "win32":
            return
        self._given = resource.getrlimit(resource.RLIMIT_AS)
        # No copies of 2 GB on the disk.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
        if sys.platform != "linux":
            threading.Thread(target=self.watch, daemon=True).start()

    def memory(self, more: int | None) -> None:
        """Allow so many bytes beside what this process has now; None for any number."""
        if sys.platform == "linux":
            soft, hard = self._given
            most = soft if more is None else _mapped() + more
            within = most if soft == resource.RLIM_INFINITY else min(most, soft)
            resource.setrlimit(resource.RLIMIT_AS, (within, hard))
        elif sys.platform != "win32":
            self._most = sys.maxsize if more is None else _peak() + more

    def time(self, seconds: float) -> None:
        """Allow so many seconds of computing from now; 0 for any number."""
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_PROF, seconds)

    def watch(self) -> None:
        """Look for ever how much memory there is, and end the process over the limit."""
        while _peak() <= self._most:
            time.sleep(_LOOK_SECONDS)
        os._exit(MEMORY_EXIT)


Deed = Callable[["Server", bytes, dict[str, Any]], None]
"""Does what a request asks for, with the request's body and arguments, and says what came of it."""


def serve(deeds: dict[str, Deed]) -> None:
    """Answer requests until there are no more.

    Args:
        deeds: What is done, by the name that a request gives it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the caller, who ends this process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    server = Server(sys.stdin.buffer, answers, deeds)
    sys.excepthook = server.say_what_failed
    server.write({"ready": True})
    while server.answer():
        pass


class Server:
    """Answers one request after the other.

    Args:
        requests: Where they come from.
        answers: Where the answers go.
        deeds: As for :func:`serve`.
    """

    def __init__(self, requests: BinaryIO, answers: BinaryIO, deeds: dict[str, Deed]) -> None:
        self._requests, self._answers, self._deeds = requests, answers, deeds
        self._restraint = Restraint()
        self._seconds = 0.0

    def write(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Write one frame."""
        try:
            write_frame(self._answers, header, body)
        except OSError:  # the caller is gone
            os._exit(0)

    def answer(self) -> bool:
        """Answer one request; False where there are no more."""
        frame = read_frame(self._requests, sys.maxsize)
        if frame is None:
            return False
        request, data = frame
        self._seconds = request["seconds"]
        self._restraint.memory(request["memory"])
        self.go_on()
        try:
            self._deeds[request["do"]](self, data, request["arguments"])
        except MetaEmbedError as error:
            self.say({**_error(error), "end": True})
        else:
            self.say({"end": True})
        self._restraint.memory(None)
        return True

    def opened(self, count: int) -> None:
        """Say of how many pages a file is."""
        self.say({"opened": count})
        self.go_on()

    def asked(self) -> Header | None:
        """What the caller says in the middle of an answer; None where it is gone."""
        frame = read_frame(self._requests, 0)
        self.go_on()
        return None if frame is None else frame[0]

    def pages(self, items: Iterable[Page | PageError]) -> None:
        """Say pages, and why others cannot be read."""
        for item in items:
            if isinstance(item, Page):
                self.say(*page_frame(item))
            else:
                self.say(_error(item))
            self.go_on()

    def go_on(self) -> None:
        """The time for what is read next begins."""
        self._restraint.time(self._seconds)

    def say(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Say what was read; waiting for the caller takes none of the time."""
        self._restraint.time(0)
        self.write(header, body)

    def say_what_failed(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """What nobody expected: it ends this process, and the caller hears of it."""
        if issubclass(kind, MemoryError):
            os._exit(MEMORY_EXIT)
        self.write({"failed": f"{kind.__name__}: {error}"[:500]})
        os._exit(1)


def _error(error: MetaEmbedError) -> dict[str, Any]:
    """An error as a header; what failed because Python got no memory failed at that limit."""
    beyond = {"beyond": "memory"} if isinstance(error.__cause__, MemoryError) else {}
    return {**error_frame(error), **beyond}


if sys.platform != "win32":

    def _mapped() -> int:
        """Bytes of address space that this process has."""
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

    def _peak() -> int:
        """Bytes of memory that this process had at most.

        Linux counts what a process had at most before it became this program, which is what its
        caller had: there the high-water mark of this program's own memory is read.
        """
        if sys.platform == "linux":
            status = Path("/proc/self/status").read_text()
            return 1024 * int(status.partition("VmHWM:")[2].split(maxsplit=1)[0])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
