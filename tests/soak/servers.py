"""A server of Chroma for as long as it is needed."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DIES_WITH_ITS_PARENT = 1  # PR_SET_PDEATHSIG of Linux


class Server:
    """A server that keeps its data in a folder; it may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = Path(sys.executable).with_name("chroma")
        place = ("--path", self._folder, "--port", str(self._port), "--host", "127.0.0.1")
        self._process = subprocess.Popen(
            [program, "run", *place],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,
        )
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"no server at {self.address}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    """One that runs, and is gone afterwards, whatever happens."""
    made = Server(folder)
    try:
        made.start()
        yield made
    finally:
        made.kill()


def _die_with_parent() -> None:
    """So that the server of a process that is killed does not stay."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIES_WITH_ITS_PARENT, signal.SIGKILL)
