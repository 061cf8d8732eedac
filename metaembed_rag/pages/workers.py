"""Worker processes: work that may take all memory, hang or crash costs itself, not its caller.

A worker is a Python program of its own: ``multiprocessing`` would import the caller's main program
again, or hang where a process with threads forks. It is started when there is work, works for one
caller at a time, is used again, and ends with its caller. What is said is in `frames`: a request is
one frame, its answer one or more, of which the last has ``end`` in its header. A worker goes on
with its answer while the caller does something else, as far as the pipe between them holds it.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar, cast

from metaembed_rag.pages.deadlines import Deadlines
from metaembed_rag.pages.frames import Header, read_frame, write_frame

if sys.platform == "linux":
    import fcntl

T = TypeVar("T")

MEMORY_EXIT = 86
"""Exit code of a worker that found that it needs more memory than it may have."""

_START_SECONDS = 20.0  # 0.2 on an idle machine
_SEND_SECONDS = 60.0
_PATIENCE = 3.0  # times the seconds of computing, by the clock: the machine may be busy
_END_SECONDS = 10.0  # 2 GB are given back in 0.2
_PIPE_BYTES = 1024**2
"""The most that Linux allows; 64 KB by default, for which a picture takes some 30 turns."""

_DEADLINES = Deadlines()


@dataclass(frozen=True)
class WorkLimits:
    """What one piece of work may take.

    Args:
        seconds: Of computing; by the clock three times as long.
        memory: Bytes beside what the worker and the file take.
    """

    seconds: float
    memory: int


Cause = Literal["time", "memory", "crash", "fork", "start"]


class WorkerLostError(Exception):
    """The worker ended before its answer; nothing above `pages` meets this error.

    Args:
        cause: ``"time"`` or ``"memory"``, the limit that ended it; ``"crash"``; ``"fork"`` where
            it belongs to the process that this one was forked from; ``"start"`` where the system
            has no room for one more.
        how: The signal or the exit code that it ended with, or the system's own words.
    """

    def __init__(self, cause: Cause, how: str = "") -> None:
        super().__init__(f"{cause} ({how})")
        self.cause, self.how = cause, how


class WorkerStartError(WorkerLostError):
    """No worker can ever be started from this program; nothing above `pages` meets this error."""

    def __init__(self, how: str) -> None:
        super().__init__("start", how)


class Worker:
    """One worker process.

    Args:
        module: What it runs, by its dotted name: it says ``{"ready": true}``, then answers.

    Attributes:
        busy: It has not ended its answer.
        used: It has worked for another caller before, and was idle since.
        alive: It was not stopped.

    Raises:
        WorkerStartError: There is no Python program to run, or it does not come to answer.
        WorkerLostError: The system has no room for another process.
    """

    def __init__(self, module: str) -> None:
        self.busy = False
        self.used = False
        self.alive = True
        self._expired = False
        self._foreign = False
        self._process = _start(module)
        try:
            self.receive(_START_SECONDS, lambda header, body: None)
        except WorkerLostError as error:
            raise WorkerStartError(f"`{sys.executable} -m {module}`: {error}") from None
        except BaseException:  # Ctrl+C
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def send(self, header: Mapping[str, Any], body: bytes = b"") -> None:
        """Hand over a request.

        Raises:
            WorkerLostError: The worker has ended.
        """
        self.busy = True
        with self._lost_unless_answered(), self._within(_SEND_SECONDS):
            write_frame(cast(BinaryIO, self._process.stdin), header, body)

    def receive(self, seconds: float, read: Callable[[Header, bytes], T], most: int = 0) -> T:
        """Wait for the next frame of the answer.

        Args:
            seconds: Of computing that the worker may need for it.
            read: Makes of header and body what is returned; its ValueError means that they are
                nonsense, which ends the worker.
            most: Bytes that the body may have.

        Raises:
            WorkerLostError: The worker ended before, or was stopped at the limit of time.
        """
        with self._lost_unless_answered():
            with self._within(_PATIENCE * seconds):
                frame = read_frame(cast(BinaryIO, self._process.stdout), most)
            if frame is None or self._expired:
                raise EOFError
            header, body = frame
            if "failed" in header:
                raise ValueError(header["failed"])
            self.busy = self.busy and "end" not in header
            return read(header, body)

    def stop(self) -> None:
        """End the process, if it still runs, and leave nothing of it behind."""
        self.alive = False
        if self._foreign:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # what a broken pipe did not take
                cast(BinaryIO, pipe).close()

    def died(self) -> bool:
        """Whether the process has ended on its own."""
        return self._process.poll() is not None

    def disown(self) -> None:
        """In a forked child: leave the worker to the parent.

        The pipes' locks may be held by a thread that is not here, so their inner files are closed.
        """
        self._foreign, self.alive = True, False
        self._process.returncode = 0  # else Popen would wait for a process that is not our child
        for pipe in (self._process.stdin, self._process.stdout):
            cast(Any, pipe).raw.close()

    def _within(self, seconds: float) -> AbstractContextManager[None]:
        """Kill the process after so long, which ends every waiting for it."""
        return _DEADLINES.within(seconds, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._process.kill()

    @contextmanager
    def _lost_unless_answered(self) -> Iterator[None]:
        """Whatever goes wrong with the pipes, or is no answer, means that the worker is lost."""
        if self._foreign:
            raise WorkerLostError("fork")
        try:
            yield
        except (OSError, EOFError):
            raise self._lost() from None
        except ValueError as error:
            self.stop()
            raise WorkerLostError("crash", str(error)) from None

    def _lost(self) -> WorkerLostError:
        with suppress(subprocess.TimeoutExpired):  # its pipes close a moment before it ends
            self._process.wait(_END_SECONDS)
        self.stop()
        code = self._process.returncode
        if self._expired or code == -getattr(signal, "SIGPROF", 0):
            return WorkerLostError("time", "no answer in time")
        # PDFium aborts when it is refused memory.
        out_of_memory = code in (MEMORY_EXIT, -signal.SIGABRT)
        return WorkerLostError("memory" if out_of_memory else "crash", _how(code))


class Pool:
    """Workers of one kind: each belongs to one caller at a time, few are kept for the next one.

    Args:
        module: As for `Worker`.
        idle: So many are kept at most.
    """

    def __init__(self, module: str, idle: int = 2) -> None:
        self._module, self._most_idle = module, idle
        # Re-entrant: a reader that is garbage-collected gives its worker back, perhaps inside here.
        self._lock = threading.RLock()
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._disown)

    @contextmanager
    def lease(self, *, new: bool = False) -> Iterator[Worker]:
        """A worker of one's own; one that is still busy afterwards is stopped.

        One that was idle may have been killed from outside without anybody having noticed: whoever
        loses a worker that was ``used`` tries again with a new one.

        Args:
            new: Start one, also where one is idle.

        Raises:
            WorkerStartError: As for `Worker`, and so is the next.
            WorkerLostError: The system has no room for another process.
        """
        worker = (None if new else self._take()) or Worker(self._module)
        with self._lock:
            self._all.add(worker)
        try:
            yield worker
        finally:
            self._give_back(worker)

    def close(self) -> None:
        """Stop every worker; a later caller gets a new one."""
        with self._lock:
            every = list(self._all)
            self._all.clear()
            self._idle.clear()
        for worker in every:
            worker.stop()

    def _take(self) -> Worker | None:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if not worker.died():
                    return worker
                self._all.discard(worker)
                worker.stop()
        return None

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            keep = worker.alive and not worker.busy and len(self._idle) < self._most_idle
            if keep:
                worker.used = True
                self._idle.append(worker)
            else:
                self._all.discard(worker)
        if not keep:
            worker.stop()

    def _disown(self) -> None:
        """In a forked child: the workers belong to the parent, and the lock may be held there."""
        self._lock = threading.RLock()
        for worker in self._all:
            worker.disown()
        self._all.clear()
        self._idle.clear()


def _start(module: str) -> subprocess.Popen[bytes]:
    if getattr(sys, "frozen", False) or not sys.executable:
        raise WorkerStartError("this program brings its own Python, which runs nothing else")
    here = [str(Path(entry).absolute()) for entry in sys.path if entry]
    root = str(Path(__file__).parents[2])
    if root not in here:
        here.insert(0, root)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(here)}
    # One thread each: the memory that more threads of a library set aside would count.
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    try:
        # -S: what this installation does at every start (it may even print) is no part of the work.
        process = subprocess.Popen(
            [sys.executable, "-P", "-S", "-m", module],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise WorkerStartError(str(error)) from None
    except OSError as error:
        raise WorkerLostError("start", str(error)) from None
    for pipe in (process.stdin, process.stdout):
        _widen(cast(BinaryIO, pipe))
    return process


def _widen(pipe: BinaryIO) -> None:
    """Let a pipe hold a whole picture, where the system can do that and has room for it."""
    if sys.platform == "linux":
        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _how(code: int) -> str:
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit code {code}"
