"""The command line: ``metaembed index | search | evaluate | train | …``, one module a command.

Data go to standard output, progress and messages to standard error. The exit code is 0 for
success, 1 for a failure (one sentence says what to do), 2 for wrong usage, and 130 when it was
stopped by Ctrl-C. Commands import what is heavy when they run, so that the help comes at once.
"""

from __future__ import annotations

import argparse
import errno
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from metaembed_rag import __version__
from metaembed_rag.cli import (
    calibrate,
    check,
    compact,
    delete,
    evaluate,
    export,
    import_,
    import_chroma,
    index,
    info,
    mcp,
    mine,
    plan,
    prune,
    repair,
    search,
    serve,
    train,
)
from metaembed_rag.cli.options import add_common
from metaembed_rag.cli.output import (
    Parser,
    flush,
    give_up_output,
    make_outputs_ready,
    say,
    show_tracebacks,
    show_warnings,
)
from metaembed_rag.errors import MetaEmbedError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the signal's number."""


_MODULES = (
    index,
    search,
    serve,
    evaluate,
    info,
    delete,
    prune,
    compact,
    check,
    repair,
    export,
    import_,
    import_chroma,
    train,
    mine,
    plan,
    calibrate,
    mcp,
)

COMMANDS = {
    module.__name__.rpartition(".")[2].rstrip("_").replace("_", "-"): module for module in _MODULES
}
"""The commands in the order of the help.

Each is a module with ``SUMMARY``, its line in that help; ``add_arguments(parser)``, which adds what
only this command takes; and ``run(given)``, which does it and returns the exit code.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    make_outputs_ready()
    given = _parser().parse_args(arguments)
    show_warnings()
    try:
        with _servers_in_time(getattr(given, "timeout", None)):
            code = int(given.run(given))
        flush()
        return code
    except MetaEmbedError as error:
        if given.debug:
            show_tracebacks()
            raise
        say(f"metaembed: {error}")
        return 1
    except KeyboardInterrupt:
        say("metaembed: stopped; what was finished before is kept")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (`head`) has gone; closing quietly is what it expects.
        give_up_output()
        return 0
    except MemoryError:
        say("metaembed: out of memory; use a smaller --batch-size")
        return 1
    except OSError as error:
        if given.debug:
            show_tracebacks()
            raise
        return _failed(error)


def _servers_in_time(seconds: float | None) -> AbstractContextManager[None]:
    """How long servers may keep silent, where ``--timeout`` says so."""
    if seconds is None:
        return nullcontext()
    from metaembed_rag.web import timeout_of_all_servers  # and the HTTP client

    return timeout_of_all_servers(seconds)


def _failed(error: OSError) -> int:
    """Say what the system refused; the exit code."""
    say(f"metaembed: {error.filename or 'the system'}: {error.strerror or error}")
    if error.errno == errno.ENOSPC:
        give_up_output()
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="metaembed",
        description="Find the page that answers: multimodal retrieval at the budget you choose.",
        epilog="Environment: METAEMBED_INDEX, METAEMBED_MODEL, METAEMBED_BUDGET, "
        "METAEMBED_DESCRIBE and METAEMBED_TIMEOUT are the defaults of --index, --model, --budget, "
        "--describe and --timeout; METAEMBED_SERVER is that of --server, and METAEMBED_TOKEN what "
        "a server wants to see. METAEMBED_CHROMA_TOKEN, METAEMBED_CHROMA_AUTH (user:password) and "
        "METAEMBED_CHROMA_HEADERS are what a Chroma server wants to see, CHROMA_API_KEY what "
        "Chroma Cloud does. METAEMBED_ROOTS says where folders are on this machine.",
    )
    parser.add_argument("--version", action="version", version=f"metaembed {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, help=command.SUMMARY, description=command.SUMMARY)
        one.set_defaults(run=command.run)
        add_common(one)
        command.add_arguments(one)
    return parser
