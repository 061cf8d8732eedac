"""Files in object stores, by fsspec: s3://, gs://, memory://, … read and written within a time.

fsspec and the package of a store are optional and imported when the first such address is opened.
Each of those packages has its own tree of errors, and its messages may repeat what it was set up
with. So an error becomes a :class:`RemoteFileError` at this border, with a reason in our own words.
"""

from __future__ import annotations

import copy
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar
from urllib.parse import unquote, urlsplit

from metaembed_rag.errors import MetaEmbedError, MissingExtraError, install_line, require
from metaembed_rag.web import has_password, without_password

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*(?:::[^/]*)?://")
_NOT_FILES = ("http", "https")
"""Addresses of web servers are no folders: nothing can be listed there."""
STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss"})
"""Protocols of object stores: everybody reaches the same bucket by them, and no file of this
machine."""
_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "adlfs"),
}
_AT_ONCE = 16
"""Requests that wait for a store at a time."""
_EMPTY = "InvalidRange"
"""What S3 says of the first bytes of a file that has none."""
_SAID_CODE = re.compile(r"\w{1,64}")

_Answer = TypeVar("_Answer")


class RemoteFileError(MetaEmbedError):
    """A file of an object store that cannot be read or written.

    Attributes:
        reason: Why, and what to do, as the end of a sentence; without any credentials.
        is_missing: Whether the store answers, and has no such file or bucket.
    """

    def __init__(self, reason: str, *, is_missing: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_missing = is_missing


def is_url(given: object) -> bool:
    """Whether it is an address such as ``s3://bucket/folder``, and no path or web server."""
    text = given if isinstance(given, str) else ""
    found = _URL.match(text)
    return found is not None and found[0].partition(":")[0].lower() not in _NOT_FILES


def local_folder(url: str) -> Path | None:
    """The path that a ``file://`` address stands for; None for any other address."""
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("file", "local"):
        return None
    return Path(unquote(parts.netloc + parts.path))


@dataclass(frozen=True)
class RemoteFolder:
    """A folder of an object store, and the file system that reaches it. Use :meth:`of`.

    Attributes:
        url: Its address, without a slash at the end and without credentials.
        fs: fsspec's file system.
        root: The folder as ``fs`` calls it.
        seconds: How long one file may take.
    """

    url: str
    fs: Any
    root: str
    seconds: float

    @classmethod
    def of(
        cls, url: str, options: Mapping[str, Any] | None = None, *, seconds: float
    ) -> RemoteFolder:
        """The folder at an address; the store is not asked yet.

        Args:
            url: Such as ``s3://bucket/folder``.
            options: What fsspec's file system is made with, beside what fsspec's own configuration
                and the environment say.
            seconds: How long one file may take.

        Raises:
            RemoteFileError: It is no such address, or one with credentials in it.
            MissingExtraError: A package is not installed.
        """
        url = checked_url(url)
        protocol = url.partition(":")[0]
        given = _with_limits(protocol, dict(options or {}), seconds)
        fs = within(seconds, lambda: _file_system(protocol, given))
        return cls(url, fs, str(fs._strip_protocol(url)), seconds)

    def read(self, path: str, most: int) -> bytes:
        """The bytes of a file.

        Args:
            path: As ``fs`` calls it.
            most: One more byte than these is read at most.

        Raises:
            RemoteFileError: It is not there, or cannot be read in time.
        """
        return within(self.seconds, lambda: bytes(self.fs.cat_file(path, start=0, end=most + 1)))

    def address(self, path: str) -> str:
        """The address of a file that ``fs`` calls so."""
        protocol = self.url.partition(":")[0]
        return f"{protocol}://{path.lstrip('/')}"


def checked_url(url: str) -> str:
    """An address as it is stored and shown: without a slash at the end.

    Raises:
        RemoteFileError: It is none, or has credentials or options in it.
    """
    shown = without_password(url).partition("?")[0]
    if not is_url(url):
        raise RemoteFileError(f"{shown} is no address of a store such as s3://bucket/folder")
    if "::" in url:
        raise RemoteFileError(
            f"{shown} chains file systems; give the address of the store alone: pictures and files "
            f"are kept on this machine anyway"
        )
    if has_password(url) or "?" in url or "#" in url:
        raise RemoteFileError(
            f"{shown} has more in it than a place; put credentials into the environment (for S3 "
            f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) or into fsspec's configuration"
        )
    protocol, _, rest = url.partition("://")
    if not rest.strip("/") and protocol != "memory":
        raise RemoteFileError(f"{shown} names no bucket; write {protocol}://bucket/folder")
    return f"{protocol.lower()}://{rest.rstrip('/')}"


def within(seconds: float, call: Callable[[], _Answer]) -> _Answer:
    """What a call to a store gives.

    Args:
        seconds: How long it may take; what is late goes on by itself, and nobody waits for it.
        call: The call.

    Raises:
        RemoteFileError: It failed, or took longer.
        MissingExtraError: A package is not installed.
    """
    return all_within(seconds, [call])[0].get()


class Outcome(Generic[_Answer]):
    """What became of one call: an answer, or the error of it.

    Around a call it takes whatever the packages of stores raise.
    """

    def __init__(self) -> None:
        self._future: Future[_Answer] = Future()

    def __enter__(self) -> Outcome[_Answer]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if error is not None:
            self._future.set_exception(_explained(error))
        return True

    def answer(self, value: _Answer) -> None:
        """Say what the call gave."""
        self._future.set_result(value)

    def is_there(self, seconds: float) -> bool:
        """Whether the call is over within so long."""
        return bool(wait([self._future], max(0.0, seconds)).done)

    def get(self) -> _Answer:
        """The answer.

        Raises:
            RemoteFileError: The call failed, or was late.
            MissingExtraError: A package is not installed.
        """
        return self._future.result(0)


def all_within(
    seconds: float, calls: Sequence[Callable[[], _Answer]]
) -> Sequence[Outcome[_Answer]]:
    """The outcomes of calls to a store, in order; up to 16 wait for it at a time.

    Args:
        seconds: For all of them together.
        calls: The calls. Those that are late go on in threads that end with the process.
    """
    end = time.monotonic() + seconds
    every: list[Outcome[_Answer]] = [Outcome() for _ in calls]
    waiting = list(zip(calls, every, strict=True))[::-1]
    late = threading.Event()

    def work() -> None:
        while waiting and not late.is_set():
            try:
                call, outcome = waiting.pop()
            except IndexError:
                return
            with outcome:
                outcome.answer(call())

    for _ in range(min(_AT_ONCE, len(calls))):
        threading.Thread(target=work, name="object store", daemon=True).start()
    return [one if one.is_there(end - time.monotonic()) else _late(seconds, late) for one in every]


def _late(seconds: float, told: threading.Event) -> Outcome[_Answer]:
    """The outcome of a call that takes too long; no others are begun."""
    told.set()
    outcome: Outcome[_Answer] = Outcome()
    with outcome:
        raise RemoteFileError(
            f"the store does not answer within {seconds:g} seconds; check the network and its "
            f"address (AWS_ENDPOINT_URL for a server of your own)"
        )
    return outcome


def remove_all(folder: RemoteFolder, paths: Iterable[str]) -> None:
    """Delete files of a store, as ``fs`` calls them; those that are gone do not matter.

    Raises:
        RemoteFileError: They cannot be deleted in time.
    """
    wanted = list(paths)

    def remove_one_by_one() -> None:
        for path in wanted:
            if folder.fs.exists(path):
                folder.fs.rm_file(path)

    try:
        within(folder.seconds, lambda: folder.fs.rm(wanted))
    except RemoteFileError as error:
        if not error.is_missing:
            raise
        within(folder.seconds, remove_one_by_one)


def _file_system(protocol: str, options: dict[str, Any]) -> Any:
    fsspec = require("fsspec")
    if package := _PACKAGES.get(protocol):
        _require_package(package, protocol)
    try:
        return fsspec.filesystem(protocol, **options)
    except ValueError:
        raise RemoteFileError(f"{protocol}:// is no kind of store that fsspec knows") from None


def _require_package(package: str, protocol: str) -> None:
    if package == "s3fs":
        require(package)
        return
    try:
        __import__(package)
    except ImportError:
        raise MissingExtraError(
            f"{protocol}:// needs the package {package!r} beside fsspec: pip install {package}"
        ) from None


def _with_limits(protocol: str, options: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Options by which the package of a store itself gives up in time, and lists anew each time."""
    options = {"use_listings_cache": False, **options} if protocol in _PACKAGES else options
    if protocol not in ("s3", "s3a"):
        return options
    fsspec = require("fsspec")
    said = copy.deepcopy(fsspec.config.conf.get(protocol, {}).get("config_kwargs", {}))
    limits = {"connect_timeout": seconds, "read_timeout": seconds, "retries": {"max_attempts": 1}}
    return {**options, "config_kwargs": {**limits, **said, **options.get("config_kwargs", {})}}


def _explained(error: BaseException) -> BaseException:
    """An error of ours for one of a package; its own text may hold what it was set up with."""
    if isinstance(error, MetaEmbedError) or not isinstance(error, Exception):
        return error
    name, code = type(error).__name__, _code(error)
    if code == _EMPTY:
        return RemoteFileError("it is empty", is_missing=True)
    if isinstance(error, FileNotFoundError) or name == "NoSuchBucket":
        return RemoteFileError(
            "there is no such file or bucket; check the address", is_missing=True
        )
    if isinstance(error, PermissionError) or "Credential" in name or name == "RefreshError":
        return RemoteFileError(
            "the store refuses access; check the credentials in the environment (for S3 "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile) and what they may do"
        )
    if isinstance(error, TimeoutError | ConnectionError) or "Connect" in name or "Timeout" in name:
        return RemoteFileError(
            "the store cannot be reached; check the network and its address (AWS_ENDPOINT_URL for "
            "a server of your own)"
        )
    if isinstance(error, ImportError):
        return MissingExtraError(f"a package of this store is missing: {install_line('cloud')}")
    return RemoteFileError(f"the store failed ({code or name}); try again, or check the address")


def _code(error: BaseException) -> str:
    """The code that S3 gave for its refusal; ``""`` where there is none."""
    below: BaseException | None = error
    while below is not None:
        response = getattr(below, "response", None)
        if isinstance(response, Mapping):
            code = str(response.get("Error", {}).get("Code", ""))
            return code if _SAID_CODE.fullmatch(code) else ""
        below = below.__cause__
    return ""
