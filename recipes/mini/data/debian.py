"""Debian packages: fetched once, read without being installed."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from metaembed_rag.errors import DatasetError


def download(package: str, folder: Path) -> Path:
    """The ``.deb`` of a Debian package in ``folder``, fetched with ``apt-get download`` if absent.

    Raises:
        DatasetError: apt-get is missing or does not know the package.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(folder.glob(f"{package}_*.deb"))
    if found:
        return found[-1]
    if shutil.which("apt-get") is None:
        raise DatasetError("the training text comes from Debian packages: run this on Debian")
    done = subprocess.run(
        ["apt-get", "download", package], cwd=folder, capture_output=True, text=True, check=False
    )
    found = sorted(folder.glob(f"{package}_*.deb"))
    if done.returncode or not found:
        raise DatasetError(f"apt-get download {package} failed: {done.stderr.strip()[-300:]}")
    return found[-1]


def deb_files(deb: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    """The files of a ``.deb`` whose path ends in ``suffix``, with their bytes, in archive order."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        with tarfile.open(fileobj=tar.stdout, mode="r|") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(suffix):
                    opened = archive.extractfile(member)
                    assert opened is not None
                    yield "/" + member.name.lstrip("./"), opened.read()
