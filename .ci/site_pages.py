"""What mkdocs builds the documentation site of: a hook, named in ``mkdocs.yml``.

The pages of the site are those of ``docs``, and the documents of the repository that they or the
README lead to, the README being the first page. A link to another file of the repository (a
record of results, a program) leads to a copy of it in the site, one to a folder to a list of its
files; so the site needs no other server, and ``mkdocs build --strict`` finds every broken link.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File, Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]

NAVIGATION: dict[str, tuple[str, ...]] = {
    "Getting started": ("start", "install", "budgets", "docker"),
    "Pages in": ("files", "ocr", "photos", "describe", "pictures", "moves", "deletion"),
    "Questions": ("filters", "hybrid", "languages", "explain", "confidence"),
    "In your pipeline": ("llama_index", "langchain", "agents"),
    "Serving": ("serve", "servers", "serving", "remote", "federation", "ray"),
    "Quality and cost": (
        "evaluate", "search_speed", "formats", "scaling", "million", "mteb", "wrong_answers",
    ),
    "Models": ("checkpoints", "dense", "train", "training_data", "train_mini"),
    "Reliability and security": ("reliability", "security", "maintenance", "releasing"),
    "Reference": ("reference/api", "reference/cli"),
}  # fmt: skip
"""Title -> documents in ``docs``; those that are not there are left out, and those that are not
named here come last, so that no document is missing from the site."""

DOCUMENTS = {
    "README.md": "index.md",
    "RESULTS.md": "results.md",
    "results/history.md": "results/history.md",
    "SECURITY.md": "policy.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "metaembed_rag/checkpoints/small/README.md": "checkpoints/small.md",
    "metaembed_rag/checkpoints/mini/README.md": "checkpoints/mini.md",
    "metaembed_rag/checkpoints/visual_words/README.md": "checkpoints/visual_words.md",
}
"""Documents elsewhere in the repository -> their pages."""

ABOUT = ("results.md", "results/history.md", "changelog.md", "contributing.md", "policy.md")
"""Of them those in the navigation."""

COPIES = "repository"
"""The folder of the site that copies of other files are in."""

_LINK = re.compile(r"(?P<before>\]\(<?)(?P<target>[^)\s>#]+)(?P<anchor>#[^)\s>]*)?(?=>?\))")
_CODE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_ROLE = re.compile(r":(?:py:)?[a-z]+:<code>[~.]?([^<]+)</code>")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the navigation of what is there."""
    config.nav = list(navigation())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents from elsewhere, and the files that links lead to."""
    from mkdocs.structure.files import File

    for source, page in DOCUMENTS.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    ahead, seen = list(files), set[str]()
    while ahead:
        for source in sorted(set(_others(ahead.pop())) - seen):
            seen.add(source)
            given = {"content": listing(ROOT / source)} if (ROOT / source).is_dir() else {}
            path = {} if given else {"abs_src_path": str(ROOT / source)}
            files.append(File.generated(config, _copy(source), **given, **path))
            ahead.append(files.get_file_from_path(_copy(source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let each link lead to where the site has what it names."""
    return with_links(markdown, page.file.src_uri)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show the roles of docstrings (``:meth:`…```) as the names that they are about."""
    return _ROLE.sub(r"<code>\1</code>", html)


def navigation() -> Iterator[dict[str, Any]]:
    """The items of the navigation, in its order."""
    yield {"Home": "index.md"}
    documents = ROOT / "docs"
    named = [name for names in NAVIGATION.values() for name in names]
    for title, names in NAVIGATION.items():
        there = [f"{name}.md" for name in names if (documents / f"{name}.md").is_file()]
        if there:
            yield {title: there}
    every = {path.relative_to(documents).with_suffix("").as_posix() for path in _pages(documents)}
    if others := sorted(every - set(named)):
        yield {"More": [f"{name}.md" for name in others]}
    yield {"About": list(ABOUT)}


def with_links(markdown: str, page: str) -> str:
    """The text of a page with its links as they are in the site; code stays as it is.

    Args:
        markdown: As it is in the repository.
        page: Its place in the site.
    """

    def linked(match: re.Match[str]) -> str:
        place = in_site(match["target"], page)
        if place is None:
            return match[0]
        there = posixpath.relpath(place, posixpath.dirname(page) or ".")
        return f"{match['before']}{there}{match['anchor'] or ''}"

    parts, end = [], 0
    for code in _CODE.finditer(markdown):
        parts += [_LINK.sub(linked, markdown[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, _LINK.sub(linked, markdown[end:])])


def in_site(target: str, page: str) -> str | None:
    """Where the site has what a link names; None for an address, or what is not there."""
    path = _in_repository(target, page)
    if path is None:
        return None
    if path in DOCUMENTS:
        return DOCUMENTS[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else _copy(path)


def listing(folder: Path) -> str:
    """A page that names the files of a folder."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    names = [name for name in files if "__pycache__" not in name and not name.startswith(".")]
    title = folder.relative_to(ROOT).as_posix()
    return "\n".join([f"# `{title}`", "", "In the repository:", "", *(f"- `{n}`" for n in names)])


def _others(page: File) -> Iterator[str]:
    """Files and folders of the repository, no documents, that the links of a page lead to."""
    if not page.src_uri.endswith(".md"):
        return
    for match in _LINK.finditer(_CODE.sub("", page.content_string)):
        path = _in_repository(match["target"], page.src_uri)
        if path is not None and path not in DOCUMENTS and not path.startswith("docs/"):
            yield path


def _in_repository(target: str, page: str) -> str | None:
    """The path below the repository that a link of a page leads to, where something is there."""
    if "://" in target or target.startswith(("mailto:", "/")):
        return None
    home = {place: source for source, place in DOCUMENTS.items()}.get(page, f"docs/{page}")
    if page.startswith(f"{COPIES}/"):
        home = page.removeprefix(f"{COPIES}/")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(home), target))
    return path if path != "." and (ROOT / path).exists() else None


def _copy(path: str) -> str:
    """The place of a copy; a folder's is a page."""
    return f"{COPIES}/{path}.md" if (ROOT / path).is_dir() else f"{COPIES}/{path}"


def _pages(folder: Path) -> Iterator[Path]:
    return folder.rglob("*.md")
