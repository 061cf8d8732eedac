"""LibreOffice, where it is on the machine: Office documents -> PDF, as they look.

A document may be hostile. So LibreOffice works in a folder and with a profile of its own that are
gone afterwards, without macros, without the user's environment, with links of documents left as
they are and its proxy set to nowhere; within limits of time, memory and size; and it is ended with
all that it has started.
"""

from __future__ import annotations

import html
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from metaembed_rag.errors import ResourceLimitError, UnreadableFileError

SOFFICE = "METAEMBED_SOFFICE"
"""The variable that names LibreOffice's program, or says ``off``."""

PREFIX = "metaembed-office-"
"""How the name of a folder begins in which it works."""
_OFF = frozenset({"off", "no", "none", "0", "false"})
_NAMES = ("soffice", "libreoffice", "/Applications/LibreOffice.app/Contents/MacOS/soffice")
_PASSED_ON = ("PATH", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_NUMERIC", "SYSTEMROOT", "TZ")
"""Of the environment: nothing that could be a secret."""
_OWN_BYTES = 1024**3
"""Address space that LibreOffice takes before it has read anything: 0.8 GB of 7.4 on Linux."""
_WRITTEN = 1024**3
"""Bytes of one file that it may write."""
_PDF, _SHEETS, _CSV = (
    "pdf",
    'pdf:calc_pdf_Export:{"SinglePageSheets":{"type":"boolean","value":"true"}}',
    # Comma, quotes, UTF-8, from line 1, all cells as they are shown, every sheet.
    "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,-1",
)
_CONFIG = "/org.openoffice."
_SETTINGS: Mapping[tuple[str, str], str] = {
    ("Office.Common/Security/Scripting", "MacroSecurityLevel"): "3",
    ("Office.Common/Security/Scripting", "DisableMacrosExecution"): "true",
    ("Office.Common/Security/Scripting", "BlockUntrustedRefererLinks"): "true",
    ("Office.Common/Security/Scripting", "DisableActiveContent"): "true",
    ("Office.Common/Load", "UpdateDocMode"): "0",
    ("Office.Writer/Content/Update", "Link"): "0",
    ("Office.Calc/Content/Update", "Link"): "2",
    ("Inet/Settings", "ooInetProxyType"): "2",
    ("Inet/Settings", "ooInetHTTPProxyName"): "127.0.0.1",
    ("Inet/Settings", "ooInetHTTPProxyPort"): "9",
    ("Inet/Settings", "ooInetHTTPSProxyName"): "127.0.0.1",
    ("Inet/Settings", "ooInetHTTPSProxyPort"): "9",
    ("Inet/Settings", "ooInetNoProxy"): "",
}
"""Of its profile: no macros, no links followed, nothing fetched."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bounds:
    """What a conversion may take.

    Args:
        seconds: By the clock.
        memory: Bytes beside what LibreOffice itself takes.
    """

    seconds: float
    memory: int


def program() -> str | None:
    """LibreOffice's program on this machine; None where there is none, or it is switched off.

    Raises:
        UnreadableFileError: ``METAEMBED_SOFFICE`` names what is no program.
    """
    named = os.environ.get(SOFFICE, "").strip()
    if named.lower() in _OFF:
        return None
    if not named:
        return next(filter(None, map(shutil.which, _NAMES)), None)
    found = shutil.which(named)
    if found is None:
        raise UnreadableFileError(
            f"{SOFFICE}={named}",
            "is no program: name LibreOffice's soffice, or say off to do without",
        )
    return found


def to_pdf(data: bytes, suffix: str, source: str, bounds: Bounds) -> bytes:
    """A document as PDF, as LibreOffice prints it.

    Args:
        data: The bytes of the file.
        suffix: Of its format, with the dot.
        source: Its name, for errors.
        bounds: What that may take.

    Raises:
        UnreadableFileError: LibreOffice cannot read it.
        ResourceLimitError: Not within the limits.
    """
    return _converted(data, suffix, source, bounds, _PDF)[0][1]


def sheets_to_pdf(data: bytes, suffix: str, source: str, bounds: Bounds) -> bytes:
    """A workbook as PDF with a page for each sheet, however large; see :func:`to_pdf`."""
    return _converted(data, suffix, source, bounds, _SHEETS)[0][1]


def sheets_to_csv(data: bytes, suffix: str, source: str, bounds: Bounds) -> list[tuple[str, bytes]]:
    """Name and cells of each sheet of a workbook, in order; see :func:`to_pdf`."""
    found = _converted(data, suffix, source, bounds, _CSV)
    return [(name.removeprefix("document-").removesuffix(".csv"), csv) for name, csv in found]


def _converted(
    data: bytes, suffix: str, source: str, bounds: Bounds, to: str
) -> list[tuple[str, bytes]]:
    """Names and bytes of what LibreOffice made of a document, in the order that it made them."""
    with _folder() as folder:
        given, made = folder / f"document{suffix}", folder / "made"
        given.write_bytes(data)
        made.mkdir()
        code, said = _run(["--convert-to", to, "--outdir", str(made), str(given)], folder, bounds)
        if code is None:
            raise ResourceLimitError(
                source,
                f"LibreOffice took more than {bounds.seconds:g} seconds for this document; look"
                " whether it is what you think, or raise max_page_seconds (--max-page-seconds)",
            )
        files = [file for file in made.iterdir() if file.is_file() and not file.is_symlink()]
        if not files or code:
            raise _refused(source, code, bounds)
        files.sort(key=lambda file: (said.find(str(file)), file.name))
        return [(file.name, file.read_bytes()) for file in files]


def _refused(source: str, code: int, bounds: Bounds) -> UnreadableFileError | ResourceLimitError:
    """Why LibreOffice made nothing of a document."""
    if not code:
        return UnreadableFileError(
            source,
            "LibreOffice cannot read it: it is damaged, needs a password, or a part of LibreOffice"
            " is missing here (Writer, Calc, Impress); open it there to check, or set"
            f" {SOFFICE}=off to read its text without LibreOffice",
        )
    return ResourceLimitError(
        source,
        f"LibreOffice ended without a result (exit code {code}), as it does at damaged documents"
        f" and where it needs more than {bounds.memory / 1024**2:,.0f} MiB of memory; open it there"
        " to check, or raise max_memory (--max-memory)",
    )


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder with a profile, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        user = folder / "profile" / "user"
        user.mkdir(parents=True)
        (user / "registrymodifications.xcu").write_text(_profile(), encoding="utf-8")
        (folder / "tmp").mkdir()
        yield folder


def _profile() -> str:
    """The settings of LibreOffice as its registry has them."""
    items = "".join(
        f'<item oor:path="{_CONFIG}{path}"><prop oor:name="{name}" oor:op="fuse">'
        f"<value>{html.escape(value)}</value></prop></item>\n"
        for (path, name), value in _SETTINGS.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<oor:items xmlns:oor="http://openoffice.org/2001/registry">\n'
        f"{items}</oor:items>\n"
    )


def _run(arguments: list[str], folder: Path, bounds: Bounds) -> tuple[int | None, str]:
    """Exit code of LibreOffice, None where it took too long, and what it said."""
    office = [str(program()), f"-env:UserInstallation={(folder / 'profile').as_uri()}"]
    office += ["--headless", "--norestore", "--nolockcheck", "--nodefault", "--nologo"]
    said = folder / "said.txt"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [*_guarded(bounds), *office, *arguments],
            env=_environment(folder),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(bounds.seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
    return code, said.read_text(encoding="utf-8", errors="replace")


def _guarded(bounds: Bounds) -> list[str]:
    """What stands before a program so that it is run within limits."""
    if getattr(sys, "frozen", False) or not sys.executable:
        _log.warning("LibreOffice runs without a limit of memory: there is no Python to set it")
        return []
    guard = str(Path(__file__).with_name("guard.py"))
    memory = str(bounds.memory + _OWN_BYTES)
    return [sys.executable, "-I", "-S", guard, memory, str(_WRITTEN)]


def _environment(folder: Path) -> dict[str, str]:
    passed = {name: value for name in _PASSED_ON if (value := os.environ.get(name))}
    own = {name: str(folder / "tmp") for name in ("TMPDIR", "TMP", "TEMP", "HOME", "USERPROFILE")}
    # A thread more would set aside 64 MB of the address space that is limited.
    return passed | own | {"SAL_USE_VCLPLUGIN": "svp", "MALLOC_ARENA_MAX": "2"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program with all that it has started."""
    if sys.platform == "win32":
        tree = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        subprocess.run(tree, capture_output=True, check=False)
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()
