"""The program that reads PDFs in a process of its own, started as a module by `pdf_client`.

It answers requests from standard input on standard output (see `frames` and `workers`), and ends
when its input does. It limits itself: a page that needs more memory or computing than it may
ends this process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from metaembed_rag.errors import MetaEmbedError
from metaembed_rag.pages import pdf
from metaembed_rag.pages.frames import error_frame, page_frame, read_frame, write_frame
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


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the caller, who ends this process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    worker = _Server(sys.stdin.buffer, answers)
    sys.excepthook = worker.say_what_failed
    worker.write({"ready": True})
    while worker.answer():
        pass


class _Server:
    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests, self._answers = requests, answers
        self._restraint = Restraint()
        self._seconds = 0.0

    def write(self, header: dict[str, Any], body: bytes = b"") -> None:
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
        try:
            self._do(request["do"], data, request["arguments"])
        except MetaEmbedError as error:
            self._done({**_error(error), "end": True})
        else:
            self._done({"end": True})
        self._restraint.memory(None)
        return True

    def _do(self, what: str, data: bytes, arguments: dict[str, Any]) -> None:
        self._go_on()
        if what == "count":
            self._done({"opened": pdf.count_pdf(Path(arguments["path"]))})
        elif what == "texts":
            for number, text in self._texts(data, **arguments):
                self._done({"number": number, "text": text})
                self._go_on()
        else:
            for item in pdf.read_pdf(data, opened=self._opened, **arguments):
                if isinstance(item, Page):
                    self._done(*page_frame(item))
                else:
                    self._done(_error(item))
                self._go_on()

    def _texts(self, data: bytes, source: str) -> Iterator[tuple[int, str]]:
        def choose(count: int) -> Iterable[int]:
            self._done({"opened": count})
            chosen = read_frame(self._requests, 0)
            self._go_on()
            return [] if chosen is None else chosen[0]["numbers"]

        return pdf.read_texts(data, choose, source)

    def _opened(self, count: int) -> None:
        self._done({"opened": count})
        self._go_on()

    def _go_on(self) -> None:
        """The time for what is read next begins."""
        self._restraint.time(self._seconds)

    def _done(self, header: dict[str, Any], body: bytes = b"") -> None:
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
        """Bytes of memory that this process had at most."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


if __name__ == "__main__":
    main()
