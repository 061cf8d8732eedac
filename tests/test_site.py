"""The documentation site has every document, and its links lead somewhere."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.support.house import ROOT

PLACE = ROOT / ".ci" / "site_pages.py"
if not PLACE.is_file():
    pytest.skip("no checkout: a source distribution has no site", allow_module_level=True)


def load_pages():
    spec = importlib.util.spec_from_file_location("site_pages", PLACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site = load_pages()


def test_every_document_has_a_place_in_the_navigation():
    """A new one belongs under one of its titles: add it in .ci/site_pages.py."""
    assert [item for item in site.navigation() if "More" in item] == []


def test_the_navigation_names_only_what_is_there():
    [*titles, about] = list(site.navigation())[1:]
    for item in titles:
        for names in item.values():
            assert all((ROOT / "docs" / name).is_file() for name in names)
    assert set(about["About"]) <= set(site.DOCUMENTS.values())
    assert all((ROOT / source).is_file() for source in site.DOCUMENTS)


@pytest.mark.parametrize(
    ("page", "text", "shown"),
    [
        ("index.md", "[a](docs/files.md#pdfs)", "[a](files.md#pdfs)"),
        ("files.md", "[a](pictures.md)", "[a](pictures.md)"),
        ("files.md", "[a](../README.md)", "[a](index.md)"),
        ("reference/cli.md", "[a](../files.md)", "[a](../files.md)"),
        ("files.md", "[a](../results/soak.json)", "[a](repository/results/soak.json)"),
        ("index.md", "[a](examples)", "[a](repository/examples.md)"),
        ("index.md", "![a](docs/flow.svg)", "![a](flow.svg)"),
        ("checkpoints/mini.md", "[a](../../../docs/mteb.md)", "[a](../mteb.md)"),
        ("files.md", "[a](https://example.org/README.md)", "[a](https://example.org/README.md)"),
        ("files.md", "[a](nowhere.md)", "[a](nowhere.md)"),
        ("index.md", "`[a](docs/files.md)`", "`[a](docs/files.md)`"),
        ("index.md", "```\n[a](docs/files.md)\n```\n", "```\n[a](docs/files.md)\n```\n"),
    ],
)
def test_a_link_leads_to_where_the_site_has_what_it_names(page, text, shown):
    assert site.with_links(text, page) == shown


def test_a_role_of_a_docstring_is_shown_as_the_name_that_it_is_about():
    html = "see :meth:<code>~metaembed_rag.PageIndex.search</code>, <code>a</code>"
    shown = site.on_page_content(html, None, None, None)
    assert shown == "see <code>metaembed_rag.PageIndex.search</code>, <code>a</code>"


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not here; see `make site`")
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    api = (tmp_path / "reference" / "api.html").read_text(encoding="utf-8")
    assert 'id="metaembed_rag.PageIndex.compare"' in api
    assert ":meth:" not in api
