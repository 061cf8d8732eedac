"""More manuals, for users rather than scientists: desktop, mail, network, backup, administration.

They become the rows of :mod:`recipes.mini.data.handbooks`; GNOME's help, which is in Mallard (XML),
is read here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from recipes.mini.data.debian import deb_files, download
from recipes.mini.data.handbooks import is_prose, prepare_handbooks, split_text
from recipes.mini.data.leaks import LeakCheck
from recipes.mini.data.rows import write_jsonl
from recipes.mini.data.sections import html_sections

PACKAGES = (
    "apache2-doc", "aptitude-doc-en", "autoconf-doc", "bacula-doc", "bash-doc", "bochs-doc",
    "bogofilter-common", "borgbackup-doc", "brz-doc", "buildbot-doc", "bup-doc", "claws-mail-doc",
    "debian-faq", "debian-handbook", "debian-kernel-handbook", "debmake-doc",
    "developers-reference", "doxygen-doc", "dvdisaster-doc", "ecasound-doc", "elinks-doc",
    "exim4-doc-html", "fetchmail", "ffmpeg-doc", "firehol-doc", "fontforge-doc", "freetds-doc",
    "gammu-doc", "ghostscript-doc", "gimp-help-en", "harden-doc", "imagemagick-6-doc",
    "installation-guide-amd64", "libstdc++-12-doc", "mailman3-doc", "maint-guide", "mplayer-doc",
    "mutt", "ntpsec-doc", "privoxy", "python-celery-doc", "python-django-doc", "python-flask-doc",
    "python-requests-doc", "python-sqlalchemy-doc", "shorewall-doc", "zsh-doc",
)  # fmt: skip
"""GPL, GFDL, BSD, MIT, Apache and the like, as in each package's ``copyright`` file."""

GNOME = "gnome-user-docs"
"""CC BY-SA 3.0."""

_MIN_CHARACTERS = 120


def prepare_guides(
    folder: Path, data: Path, packages: Iterable[str] = PACKAGES, gnome: str | None = GNOME
) -> dict[str, Counter[str]]:
    """Download and extract the guides into ``folder/handbooks``; what is there already is kept.

    Args:
        folder: Gets ``handbooks/<package>.jsonl`` and ``debs/``.
        data: The folder of the evaluation sets, whose texts stay out.
        packages: Names of Debian packages with manuals in HTML or PDF.
        gnome: Name of the package with GNOME's help, or None.

    Raises:
        DatasetError: A download fails.
    """
    reports = prepare_handbooks(folder, data, packages)
    target = folder / "handbooks" / f"{gnome}.jsonl"
    if gnome and not target.exists():
        rows = list(mallard_rows(download(gnome, folder / "debs"), LeakCheck.of_sets(data)))
        write_jsonl(target, rows)
        reports[gnome] = Counter(kept=len(rows))
    return reports


def mallard_rows(deb: Path, leaks: LeakCheck) -> Iterator[dict[str, Any]]:
    """The topics of GNOME's help as rows ``{"path", "page", "titles", "text"}``."""
    for path, content in deb_files(deb, ".page"):
        if "/help/C/" not in path:
            continue
        title, body = mallard_text(content.decode("utf-8", "replace"))
        for number, piece in enumerate(split_text(body), 1):
            if len(piece) >= _MIN_CHARACTERS and is_prose(piece) and not leaks.text(piece):
                titles = [title] if title and number == 1 and not leaks.query(title) else []
                yield {"path": path, "page": number, "titles": titles, "text": piece}


def mallard_text(page: str) -> tuple[str, str]:
    """Title and text of a page in Mallard."""
    page = re.sub(r"<(info|comment)\b.*?</\1>|<!--.*?-->", "", page, flags=re.DOTALL)
    page = re.sub(r"<(/?)title\b[^>]*>", r"<\1h2>", page)
    page = re.sub(r"<(/?)(item|title|desc|note|steps|list)\b[^>]*>", r"<\1p>", page)
    sections = html_sections(re.sub(r"</?(page|section)\b[^>]*>", "", page))
    if not sections:
        return "", ""
    first, rest = sections[0], sections[1:]
    return first.heading, " ".join([first.text, *(f"{s.heading}. {s.text}" for s in rest)])
