"""Requests to servers: when one is sent again, and what a failure means, as a sentence.

For servers of Chroma and of models alike; what they answer is read where it is known what for.
"""

from __future__ import annotations

import math
import os
import re
import ssl
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_result,
    stop_after_attempt,
    stop_before_delay,
)

from metaembed_rag.errors import MetaEmbedError

CONNECT_TIMEOUT = 10.0
"""Seconds in which a server has to take a connection, however long its answers may take."""
BUSY = frozenset({429, 502, 503, 504})
"""Answers of servers and of proxies before them after which the same request may succeed."""
TOO_LARGE = 413
_LONGEST_PAUSE = 30.0
_wait = time.sleep

TIMEOUT_VARIABLE = "METAEMBED_TIMEOUT"
"""The environment variable of how many seconds every server may keep silent."""

_LEAST_LEFT = 1.0
"""Seconds that a last try may take however little is left."""
_of_all: list[float] = []


class UsualTimeout(float):
    """Seconds that hold where neither the caller nor a setting for all servers says otherwise."""


def chosen_timeout(seconds: float) -> float:
    """Seconds that a server may keep silent.

    Args:
        seconds: What the caller said, or a :class:`UsualTimeout`: then what the command line's
            ``--timeout`` says, or the environment variable METAEMBED_TIMEOUT, in this order.

    Raises:
        MetaEmbedError: The variable is no number of seconds over 0.
    """
    if not isinstance(seconds, UsualTimeout):
        return seconds
    said = os.environ.get(TIMEOUT_VARIABLE, "").strip()
    if _of_all or not said:
        return _of_all[-1] if _of_all else float(seconds)
    with suppress(ValueError):
        if 0 < float(said) < math.inf:
            return float(said)
    raise MetaEmbedError(
        f"the environment variable {TIMEOUT_VARIABLE} is {said!r}; set it to a number of seconds "
        f"over 0, or leave it out"
    )


@contextmanager
def timeout_of_all_servers(seconds: float | None) -> Iterator[None]:
    """Let servers that are asked meanwhile keep silent so long; None changes nothing."""
    _of_all.extend([] if seconds is None else [seconds])
    try:
        yield
    finally:
        if seconds is not None:
            _of_all.pop()


def time_limit(seconds: float) -> httpx.Timeout:
    """A limit of seconds for each silence of a server, shorter for taking a connection."""
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT))


class Patience:
    """How often and how long one request is tried.

    Attributes:
        tries: How often it was sent.
    """

    def __init__(
        self,
        tries: int,
        seconds: float,
        *,
        busy: Collection[int] = BUSY,
        reconnects: bool = True,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """Try a request again after pauses of 0.5, 1, 2, … seconds, or as the server asks.

        Args:
            tries: How often it is sent at most.
            seconds: For all tries together; each is to take :attr:`left` of them at most.
            busy: Status codes after which it is sent again.
            reconnects: Try again after a broken connection too; not after one that TLS refused.
            sleep: Waits between two tries.
        """
        self.tries = 0
        self._seconds, self._began = seconds, time.monotonic()

        def may_pass(error: BaseException) -> bool:
            broken = isinstance(error, httpx.TransportError) and not _tls_problem(error)
            return broken and reconnects

        self._retrying = Retrying(
            retry=retry_if_exception(may_pass) | retry_if_result(lambda a: a.status_code in busy),
            wait=_pause,
            stop=stop_after_attempt(tries) | stop_before_delay(seconds),
            sleep=sleep or _wait,
            retry_error_callback=_last,
        )

    def send(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        """The last answer, also where it is a failure.

        Raises:
            httpx.HTTPError: The last try got no answer.
        """

        def once() -> httpx.Response:
            self.tries += 1
            return send()

        return self._retrying(once)

    @property
    def left(self) -> httpx.Timeout:
        """The limit of a try that begins now: all tries together end a second late at most."""
        spent = time.monotonic() - self._began if self.tries > 1 else 0.0
        return time_limit(max(self._seconds - spent, min(self._seconds, _LEAST_LEFT)))

    @property
    def spoken(self) -> str:
        """How often it was sent, in words."""
        return "1 try" if self.tries == 1 else f"{self.tries} tries"


def asked_pause(answer: httpx.Response) -> float | None:
    """Seconds that a server asks to wait (``Retry-After``: a number or a date), or None."""
    asked = answer.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return None


def explained(error: httpx.HTTPError, address: str) -> str:
    """What a request without an answer means, and what to do where that is known."""
    if problem := _tls_problem(error):
        return _tls_advice(problem)
    if isinstance(error, httpx.ConnectTimeout):
        return "Could not connect, nothing answers there; check its host and its port"
    if isinstance(error, httpx.TimeoutException):
        return f"it keeps silent ({type(error).__name__}: {error})"
    if isinstance(error, httpx.ConnectError):
        return f"Could not connect ({error}); check that it runs, its host and its port"
    broken = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
    if broken and address.startswith("http://"):
        return f"it broke off ({error}); if it speaks TLS, write https://"
    return f"{type(error).__name__}: {error}"


def without_password(address: str) -> str:
    """An address for messages, all before an ``@`` taken out: passwords may hold any sign."""
    return re.sub(r"(?<=//).*@", "…@", address, flags=re.DOTALL)


def has_password(address: str) -> bool:
    """Whether an address names a user or a password before its host."""
    return re.search(r"//[^?#]*@", address) is not None


def _pause(state: RetryCallState) -> float:
    otherwise = 0.5 * 2.0 ** (state.attempt_number - 1)
    outcome = state.outcome
    answered = outcome is not None and not outcome.failed
    asked = asked_pause(outcome.result()) if outcome is not None and answered else None
    return min(_LONGEST_PAUSE, otherwise if asked is None else asked)


def _last(state: RetryCallState) -> httpx.Response:
    assert state.outcome is not None
    answer: httpx.Response = state.outcome.result()
    return answer


def _tls_problem(error: BaseException) -> ssl.SSLError | None:
    """What TLS refused, below the exceptions of the libraries in between."""
    below: BaseException | None = error
    while below is not None and not isinstance(below, ssl.SSLError):
        below = below.__cause__ or below.__context__
    return below


def _tls_advice(problem: ssl.SSLError) -> str:
    if not isinstance(problem, ssl.SSLCertVerificationError):
        return (
            f"TLS fails ({problem.reason or problem}); if the server speaks no TLS, write http://"
        )
    what = problem.verify_message
    low = what.lower()
    if "mismatch" in low or "not valid for" in low:
        return f"its TLS certificate is for another name ({what}); write the name that it is for"
    if "expired" in low or "not yet valid" in low:
        return f"its TLS certificate cannot be used now ({what}); renew it, or check the clock"
    return (
        f"its TLS certificate is not trusted ({what}); if you trust it, put the file of the "
        f"certificate or of its authority (PEM) into the environment variable SSL_CERT_FILE"
    )
