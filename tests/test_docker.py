"""The Dockerfile, without a Docker engine: `make image` builds it where one is."""

from __future__ import annotations

import fnmatch
import http.server
import json
import re
import subprocess
import sys
import threading
import tomllib

import pytest

from metaembed_rag.cli import serve as serve_command
from tests.support.house import ROOT

DOCKERFILE = ROOT / "Dockerfile"

pytestmark = pytest.mark.skipif(not DOCKERFILE.exists(), reason="not part of the distribution")


def instructions() -> list[tuple[str, str]]:
    """Every instruction with its arguments, comments left out and continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage."""
    found: list[list[tuple[str, str]]] = []
    for name, rest in instructions():
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, rest))
    return found


def last(name: str) -> str:
    """The arguments of an instruction in the image that is kept."""
    return [rest for known, rest in stages()[-1] if known == name][-1]


def arguments() -> dict[str, str]:
    return dict(
        rest.split("=", 1) for name, rest in instructions() if name == "ARG" and "=" in rest
    )


def test_the_image_runs_as_another_user_than_root_and_keeps_its_index_in_a_volume():
    assert last("USER") not in ("root", "0")
    created = next(rest for name, rest in stages()[-1] if name == "RUN")
    assert f"--uid {last('USER')}" in created and f" {last('VOLUME')}" in created
    assert f"METAEMBED_INDEX={last('VOLUME')}/" in last("ENV")


def test_the_program_is_a_command_that_the_command_line_takes():
    import argparse

    command = [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))]
    assert command[:2] == ["metaembed", "serve"]
    parser = argparse.ArgumentParser()
    serve_command.add_arguments(parser)
    given = parser.parse_args([*command[2:], "--index", "index"])
    assert given.host == "0.0.0.0"  # a container's loopback is reached by nobody
    assert last("EXPOSE") == str(given.port)


def test_the_image_has_extras_that_exist_and_what_serving_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(arguments()["EXTRAS"].split(","))
    assert {"local", "server"} <= extras <= set(project["optional-dependencies"])
    first, *_ = project["requires-python"].removeprefix(">=").split(",")
    assert tuple(map(int, arguments()["PYTHON"].split("."))) >= tuple(map(int, first.split(".")))


def test_torch_comes_from_the_index_without_cuda():
    assert arguments()["TORCH_INDEX"].endswith("/whl/cpu")
    installed = [rest for name, rest in stages()[0] if name == "RUN" and "pip install" in rest]
    assert "--index-url ${TORCH_INDEX} torch" in installed[0]
    assert all("-c constraints.txt" in one for one in installed)


def test_what_is_copied_is_there_and_sent_to_the_builder():
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in sent
    copied = [rest.split() for name, rest in instructions() if name == "COPY"]
    ours = [word for words in copied if not words[0].startswith("--from") for word in words[:-1]]
    assert "metaembed_rag" in ours
    for name in ours:
        assert (ROOT / name).exists() and f"!{name}" in sent
    for hidden in ("**/__pycache__", "**/*.pyc"):
        assert hidden in sent
    assert not fnmatch.filter((line.removeprefix("!") for line in sent if line[:1] == "!"), ".*")


def test_what_the_package_needs_to_be_built_is_copied():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    copied = " ".join(rest for name, rest in stages()[0] if name == "COPY").split()
    assert {project["readme"], *project["license-files"], "pyproject.toml"} <= set(copied)


def test_what_is_taken_out_of_the_image_is_not_imported_by_index_and_search(tmp_path):
    taken = re.findall(r"pip uninstall --yes (.+)", DOCKERFILE.read_text(encoding="utf-8"))
    names = taken[0].split()
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({names!r}))\n"
        "from metaembed_rag import Page, PageIndex\n"
        "from metaembed_rag.testing import FakeEncoder\n"
        "index = PageIndex.open('index', FakeEncoder())\n"
        "index.add([Page(source='a', text='red apples')])\n"
        "print(index.search('red apples')[0].page.source)\n"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout.strip(), done.returncode) == ("a", 0), done.stderr


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_tells_a_server_that_answers_from_one_that_does_not(status, code):
    asked: list[str] = []

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        check = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
        here = f":{server.server_address[1]}/"
        program = [sys.executable, "-c", check[2].replace(f":{last('EXPOSE')}/", here)]
        done = subprocess.run(program, capture_output=True, timeout=60)
    assert (asked, done.returncode) == (["/health"], code)
