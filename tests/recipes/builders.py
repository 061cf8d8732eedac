"""What tests of the recipes are made of: JSON lines, Debian packages, a manual page."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from recipes.mini.data.roff import read_manual_page

dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")

PAGE = r"""'\" t
.\" a comment
.ie \n(.g .ds Aq \(aq
.el       .ds Aq '
.TH STRCPY 3 2023\-02\-05 "Linux man-pages 6.03"
.SH NAME
strcpy, stpcpy \- copy or
concatenate a string
.SH LIBRARY
Standard C library
.RI ( libc ", " \-lc )
.SH DESCRIPTION
The
.BR strcpy ()
function \fIcopies\fP; to copy or concatenate a \fBstring\fR\(emall of it\&.
.\" hidden
.TP
.B \-n
Quiet\c
.if t .B not shown
.TS
tab(:);
l l.
T{
cell: one
T}:cell\~two
.TE
.SH "SEE ALSO"
.BR memcpy (3)
.SH AUTHORS
Somebody.
"""
"""A page in man(7) with what is hard to read in it."""


def jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def deb(folder: Path, name: str, files: dict[str, bytes | str]) -> Path:
    """Build the Debian package ``folder/<name>_1_all.deb`` from paths and contents."""
    root = folder / name
    shutil.rmtree(root, ignore_errors=True)
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\n"
        "Maintainer: m <m@example.org>\nDescription: d\n"
    )
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content.encode() if isinstance(content, str) else content)
    target = folder / f"{name}_1_all.deb"
    command = ["dpkg-deb", "-Znone", "--root-owner-group", "--build", root, target]
    subprocess.run(command, check=True, capture_output=True)
    return target


def manual_page(source, name="page", section="1"):
    return read_manual_page(source, name=name, section=section)
