"""Work in threads: a few at once, a bounded number that waits, and none for who has gone."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from metaembed_rag.errors import MetaEmbedError, ServerError

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
Event = tuple[str, dict[str, Any]]
"""Name and data of what happened."""
_ENDING = (
    "the server is shutting down; what was acknowledged before is stored, the rest {}: send it "
    "again when the server runs"
)


class BusyError(ServerError):
    """So much waits already that more would only wait in vain."""


class GoneError(ServerError):
    """Who asked has gone, so nothing was done."""


class StoppingError(ServerError):
    """The server is about to end."""


class Threads:
    """Runs calls in threads of its own.

    Args:
        name: Of the threads.
        running: Calls that run at once.
        waiting: Calls that wait at most.
    """

    def __init__(self, name: str, running: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(running, thread_name_prefix=name)
        self._free = asyncio.Semaphore(running)
        self._most = running + waiting
        self._inside = 0

    async def run(
        self,
        gone: Callable[[], Awaitable[bool]],
        call: Callable[_Parameters, _Result],
        *args: _Parameters.args,
        **kwargs: _Parameters.kwargs,
    ) -> _Result:
        """What the call gives, once a thread is free.

        Args:
            gone: Whether nobody waits for it any more, asked just before it begins: a slider that
                moved on asks again, and the old question need not be answered.
            call: What is run.
            *args: For it.
            **kwargs: For it.

        Raises:
            BusyError: Too many wait.
            GoneError: Nobody waits for it any more.
        """
        if self._inside >= self._most:
            raise BusyError("too many requests are waiting; try again in a moment")
        self._inside += 1
        try:
            async with self._free:
                if await gone():
                    raise GoneError("the client has closed the connection")
                work = partial(contextvars.copy_context().run, call, *args, **kwargs)
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._inside -= 1

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        self._pool.shutdown(cancel_futures=True)


class Job:
    """Something that writes, from when it waits to its end.

    Args:
        loop: Where its events are awaited.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self.result: asyncio.Future[Any] = loop.create_future()

    def tell(self, name: str, **data: Any) -> None:
        """Say what has happened; from any thread."""
        self._call(self._events.put_nowait, (name, data))

    def end(self, result: Any, error: BaseException | None = None) -> None:
        """Hand over what came of it; from any thread."""
        self._call(self._end, result, error)

    def end_after(self, seconds: float, error: BaseException) -> None:
        """Give up waiting for its end; from any thread."""
        self._call(self._loop.call_later, seconds, self._end, None, error)

    async def events(self) -> AsyncIterator[Event]:
        """What happens, until its end."""
        while (event := await self._events.get()) is not None:
            yield event

    def _end(self, result: Any, error: BaseException | None) -> None:
        if not self.result.done():
            if error is None:
                self.result.set_result(result)
            else:
                self.result.set_exception(error)
                self.result.exception()  # whoever waits is told; nobody may be there
        self._events.put_nowait(None)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)


class WriteQueue:
    """One writer: what is to be written waits in the order in which it came.

    Args:
        waiting: Jobs that wait at most.
        patience: Seconds after :meth:`stop` for which a batch is waited for; whoever waits for it
            is told then that the server ends, while it can still be told.
    """

    def __init__(self, waiting: int, patience: float = 10.0) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="metaembed-write")
        self._most, self._patience = waiting + 1, patience
        self._jobs: set[Job] = set()
        self._stopping = False

    def check(self) -> None:
        """Refuse what would not be done.

        Raises:
            StoppingError: The server is about to end.
            BusyError: Too many wait.
        """
        self.check_stopping()
        if len(self._jobs) >= self._most:
            raise BusyError("too many uploads are waiting; try again in a moment")

    def check_stopping(self) -> None:
        """Stop between two batches: what was said to be stored before is stored.

        Raises:
            StoppingError: The server is about to end.
        """
        if self._stopping:
            raise StoppingError(_ENDING.format("is not"))

    def submit(self, work: Callable[[Job], _Result]) -> Job:
        """Let something be written in its turn; call it in the event loop.

        Raises:
            StoppingError: The server is about to end.
            BusyError: Too many wait.
        """
        self.check()
        job = Job(asyncio.get_running_loop())
        self._jobs.add(job)
        job.result.add_done_callback(lambda _: self._jobs.discard(job))
        self._pool.submit(self._run, work, job)
        return job

    def stop(self) -> None:
        """Let what runs end after its batch, and what waits not begin."""
        self._stopping = True
        for job in tuple(self._jobs):
            job.end_after(self._patience, StoppingError(_ENDING.format("may not be")))

    def close(self) -> None:
        """Wait for what runs."""
        self.stop()
        self._pool.shutdown()

    def _run(self, work: Callable[[Job], Any], job: Job) -> None:
        try:
            self.check_stopping()
            job.end(work(job))
        except (MetaEmbedError, OSError, MemoryError) as error:
            job.end(None, error)
        except BaseException as error:
            job.end(None, error)
            raise
