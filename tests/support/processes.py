"""Other processes of a test, forked from one that has imported everything and opened nothing.

A process that starts anew computes for two seconds before it does what its test is about. The
environment and the folder are those in which the first of them was forked; what a test changes
there, it hands over.
"""

from __future__ import annotations

import io
import multiprocessing
import sys
from contextlib import redirect_stdout
from multiprocessing.connection import Connection

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "bm25s",
        "Stemmer",
        "torch",
        "metaembed_rag.index",
        "metaembed_rag.testing",
        "tests.soak.crowds",
        "tests.soak.faults",
        "tests.soak.fuzz",
        "tests.soak.kills",
        "tests.soak.state",
    ]
)


def program(code: str, *arguments: object) -> str:
    """What a program prints, in a process of its own that ends well."""
    here, there = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_run, args=(code, [str(one) for one in arguments], there))
    process.start()
    there.close()
    try:
        printed = str(here.recv())
    finally:
        process.join(120)
    assert process.exitcode == 0
    return printed


def _run(code: str, arguments: list[str], told: Connection) -> None:
    sys.argv = ["program", *arguments]
    with redirect_stdout(io.StringIO()) as out:
        exec(compile(code, "program", "exec"), {"__name__": "__main__"})
    told.send(out.getvalue())
