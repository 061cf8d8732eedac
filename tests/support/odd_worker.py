"""A worker program that misbehaves as it is asked to: ``{"do": NAME}``."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from metaembed_rag.pages.frames import read_frame, write_frame

OUT = os.fdopen(os.dup(1), "wb")


def say(header: dict[str, Any], body: bytes = b"") -> None:
    write_frame(OUT, header, body)


def nonsense() -> None:
    OUT.write(b"no frame at all" * 10)
    OUT.flush()
    time.sleep(1000)


DEEDS = {
    "answer": lambda: say({"pid": os.getpid(), "end": True}, b"body"),
    "begin": lambda: say({"pid": os.getpid()}),
    "abort": os.abort,
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "leave": lambda: sys.exit(3),
    "fail": lambda: say({"failed": "KeyError: 'x'", "end": True}),
    "hang": lambda: time.sleep(1000),
    "nonsense": nonsense,
}

if __name__ == "__main__":
    say({"ready": True})
    while (frame := read_frame(sys.stdin.buffer, 2**30)) is not None:
        DEEDS[frame[0]["do"]]()
