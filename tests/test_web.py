"""When a request is sent again, and what a failure means."""

from __future__ import annotations

import ssl
import time
from email.utils import formatdate

import httpx
import pytest

from metaembed_rag.errors import MetaEmbedError
from metaembed_rag.web import (
    TIMEOUT_VARIABLE,
    Patience,
    UsualTimeout,
    asked_pause,
    chosen_timeout,
    explained,
    has_password,
    timeout_of_all_servers,
    without_password,
)


def answer(status: int, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=given)


def sent(patience: Patience, *outcomes: httpx.Response | Exception) -> httpx.Response:
    """What comes of a request that has these outcomes, one a try."""
    left = list(outcomes)

    def send() -> httpx.Response:
        one = left.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    return patience.send(send)


def test_a_busy_server_and_a_broken_connection_are_tried_again():
    pauses: list[float] = []
    patience = Patience(5, 60, sleep=pauses.append)
    got = sent(patience, answer(503), httpx.ReadError("broken"), answer(200))
    assert (got.status_code, pauses, patience.spoken) == (200, [0.5, 1.0], "3 tries")


def test_other_failures_are_not_tried_again():
    patience = Patience(5, 60, sleep=pytest.fail)
    assert sent(patience, answer(500)).status_code == 500
    assert patience.spoken == "1 try"


def test_the_last_failure_is_given_after_the_last_try():
    pauses: list[float] = []
    assert sent(Patience(2, 60, sleep=pauses.append), answer(429), answer(503)).status_code == 503
    with pytest.raises(httpx.ReadError, match="two"):
        sent(Patience(2, 60, sleep=pauses.append), httpx.ReadError("one"), httpx.ReadError("two"))


def test_no_try_begins_after_the_time_is_over():
    patience = Patience(5, 10, sleep=pytest.fail)
    assert sent(patience, answer(503, retry_after="11")).status_code == 503


@pytest.mark.parametrize(
    ("seconds", "each", "wanted"), [(60, 25, [60, 35, 10]), (10, 4, [10, 6, 2])]
)
def test_all_tries_together_take_no_longer_than_one_may(monkeypatch, seconds, each, wanted):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    patience, limits = Patience(5, seconds, sleep=lambda _: None), []

    def send() -> httpx.Response:
        limits.append(patience.left.read)
        now[0] += each
        return answer(503)

    patience.send(send)
    assert limits == wanted


def test_what_tls_refuses_is_not_tried_again():
    error = httpx.ConnectError("certificate")
    error.__cause__ = ssl.SSLCertVerificationError("bad")
    with pytest.raises(httpx.ConnectError):
        sent(Patience(5, 60, sleep=pytest.fail), error)


def test_a_server_asks_to_wait_by_a_number_or_a_date():
    assert asked_pause(answer(503, retry_after="2.5")) == 2.5
    assert asked_pause(answer(503, retry_after="-1")) == 0
    later = formatdate(time.time() + 100, usegmt=True)
    assert asked_pause(answer(503, retry_after=later)) == pytest.approx(100, abs=3)
    assert asked_pause(answer(503, retry_after="soon")) is None
    assert asked_pause(answer(503)) is None


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (httpx.ConnectTimeout("x"), "Could not connect, nothing answers there"),
        (httpx.ReadTimeout("x"), r"it keeps silent \(ReadTimeout: x\)"),
        (httpx.ConnectError("refused"), r"Could not connect \(refused\); check that it runs"),
        (httpx.ReadError("reset"), "if it speaks TLS, write https://"),
        (httpx.UnsupportedProtocol("x"), "UnsupportedProtocol: x"),
    ],
)
def test_a_failure_is_explained(error, message):
    with pytest.raises(ValueError, match=message):
        raise ValueError(explained(error, "http://host"))


@pytest.mark.parametrize("kind", ["self-signed certificate", "certificate has expired", "mismatch"])
def test_what_tls_refuses_is_explained(kind):
    problem = ssl.SSLCertVerificationError(1, kind)
    problem.verify_message = kind
    error = httpx.ConnectError("x")
    error.__cause__ = problem
    advice = {"self": "SSL_CERT_FILE", "cert": "renew it", "mism": "write the name"}[kind[:4]]
    assert advice in explained(error, "https://host")


def test_passwords_are_taken_out_of_addresses():
    assert without_password("http://me:sec@ret@host:1/#m@1") == "http://…@1"
    assert without_password("http://host:8000#model") == "http://host:8000#model"
    assert has_password("https://me@host") and not has_password("http://host#model@revision")


def test_fault_31_one_setting_holds_for_all_servers_but_for_what_a_caller_says(monkeypatch):
    monkeypatch.delenv(TIMEOUT_VARIABLE, raising=False)
    assert chosen_timeout(UsualTimeout(60)) == 60
    monkeypatch.setenv(TIMEOUT_VARIABLE, "7.5")
    assert (chosen_timeout(UsualTimeout(60)), chosen_timeout(60.0)) == (7.5, 60)
    with timeout_of_all_servers(3):
        assert (chosen_timeout(UsualTimeout(60)), chosen_timeout(60.0)) == (3, 60)
    with timeout_of_all_servers(None):
        assert chosen_timeout(UsualTimeout(60)) == 7.5


@pytest.mark.parametrize("said", ["soon", "0", "-1", "inf", "nan"])
def test_a_setting_that_is_no_number_of_seconds_is_refused(monkeypatch, said):
    monkeypatch.setenv(TIMEOUT_VARIABLE, said)
    with pytest.raises(MetaEmbedError, match=f"{TIMEOUT_VARIABLE} is '{said}'"):
        chosen_timeout(UsualTimeout(60))
