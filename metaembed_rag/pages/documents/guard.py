"""Runs a program and all that it starts within limits, and ends them with whoever asked for it.

A program of its own, without a part of this package: ``python guard.py MEMORY FILE PROGRAM …``.
It and what it starts are one group of processes. When its input ends, because its caller closed it
or is gone, it ends the group.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

if sys.platform != "win32":
    import resource


def _limit(memory: int, file: int) -> None:
    """Bytes that each process may have, and that each file that it writes may have."""
    if sys.platform == "win32":
        return
    wanted = {resource.RLIMIT_FSIZE: file, resource.RLIMIT_CORE: 0}
    if sys.platform == "linux":
        wanted[resource.RLIMIT_AS] = memory
    for kind, most in wanted.items():
        hard = resource.getrlimit(kind)[1]
        within = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (within, within))


def _end_with_input() -> None:
    """Wait until nobody is there any more."""
    while os.read(0, 4096):
        pass
    if sys.platform == "win32":
        os._exit(1)
    os.killpg(0, signal.SIGKILL)


def main(memory: str, file: str, *program: str) -> int:
    """Run the program; its exit code, negative for a signal."""
    if sys.platform != "win32" and os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # what is ended is this group and never the caller's
    _limit(int(memory), int(file))
    threading.Thread(target=_end_with_input, daemon=True).start()
    return subprocess.Popen(program, stdin=subprocess.DEVNULL).wait()


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    os._exit(code if code >= 0 else 128 - code)
