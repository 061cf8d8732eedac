"""What an index is opened with; that models and formats match is tried in ``test_index.py``."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.schema import TextNode

import metaembed_rag.langchain as langchain
import metaembed_rag.llama_index as llama
from metaembed_rag import MetaEmbedEncoder, Page
from metaembed_rag.errors import CheckpointError, ModelMismatchError, StoreError, UnnamedModelError
from metaembed_rag.index import PageIndex
from metaembed_rag.model.recorded import leads_to_same, reason_to_ask
from metaembed_rag.opening import OpenSettings
from metaembed_rag.reopening import NamedModel, portable
from metaembed_rag.testing import FakeEncoder
from tests.support.servers import FakeServer


def test_a_setting_that_there_is_not_is_refused_by_name(tmp_path):
    with pytest.raises(TypeError, match=r"open\(\) got an unexpected keyword argument 'vector'"):
        PageIndex.open(tmp_path / "i", FakeEncoder(), vector=3)
    assert not (tmp_path / "i").exists()


def test_a_setting_of_none_is_the_same_as_one_that_is_left_out(tmp_path):
    settings = OpenSettings(
        vectors=None,
        format=None,
        dimension=None,
        pictures=None,
        tenant=None,
        database=None,
        headers=None,
        token=None,
        auth=None,
        verify=None,
        timeout=None,
        device=None,
        scoring_device=None,
        picture_options=None,
        picture_cache=None,
        language=None,
    )
    assert settings.keys() == OpenSettings.__annotations__.keys()
    index = PageIndex.open(tmp_path / "i", FakeEncoder(), **settings)
    assert index.info() == PageIndex.open(tmp_path / "i", FakeEncoder()).info()


# -- the model that an index names ---------------------------------------------------------------

DOORS = {
    "search": lambda index: index.search("fox"),
    "search_batch": lambda index: index.search_batch(["fox"]),
    "hybrid": lambda index: index.search("fox", hybrid=True),
    "add": lambda index: index.add([Page(source="c", text="new")]),
    "recall": lambda index: index.recall(["fox"]),
    "calibrate": lambda index: index.calibrate(["a red fox"] * 20),
    "score": lambda index: index.score("fox", ["a#1"]),
    "encoder": lambda index: index.encoder,
    "langchain retriever": lambda index: langchain.MetaEmbedRetriever(index=index).invoke("x"),
    "langchain store": lambda index: langchain.MetaEmbedVectorStore(index).add_texts(["new"]),
    "llama_index retriever": lambda index: llama.MetaEmbedRetriever(index=index).retrieve("x"),
    "llama_index store": lambda index: llama.MetaEmbedVectorStore(index).add(
        [TextNode(text="new")]
    ),
    "llama_index reranker": lambda index: llama.MetaEmbedRerank(index=index).encoder,
}


@pytest.fixture
def far(monkeypatch, tmp_path) -> Iterator[FakeServer]:
    """A server of models; the user of this machine has a key."""
    monkeypatch.setenv("METAEMBED_API_KEY", "secret")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    server = FakeServer()
    yield server
    server.close()


@pytest.fixture
def theirs(far, monkeypatch, tmp_path) -> Path:
    """An index that somebody made on another machine, with a model at a server."""
    with monkeypatch.context() as there:
        there.setenv("XDG_CACHE_HOME", str(tmp_path / "their cache"))
        index = PageIndex.open(tmp_path / "theirs", MetaEmbedEncoder.from_pretrained(far.address))
        index.add([Page(source="a", text="a red fox"), Page(source="b", text="blue whales swim")])
    far.asked.clear()
    return tmp_path / "theirs"


@pytest.mark.parametrize("door", DOORS)
def test_fault_21_an_index_sends_nothing_to_the_host_that_it_names(far, theirs, door):
    index = PageIndex.open(theirs)
    assert len(index) == 2 and index.get(["a#1"])[0].text == "a red fox"
    with pytest.raises(UnnamedModelError, match=rf"{far.address}#colbert.*encoder=.*--model"):
        DOORS[door](index)
    assert far.asked == []


@pytest.mark.parametrize(
    "command",
    [
        ["search", "fox"],
        ["calibrate"],
        ["index", str(Path(__file__).parents[1] / "README.md")],
        ["search", "fox", "--hybrid"],
    ],
)
def test_fault_21_no_command_sends_anything_to_the_host_that_an_index_names(
    far, theirs, run, command
):
    _, err = run(*command, "--index", theirs, code=1)
    assert "--model" in err and "METAEMBED_MODEL" in err
    run("info", "--index", theirs)
    run("delete", "--index", theirs, "--id", "a#1")
    assert far.asked == []


def test_fault_21_a_model_that_was_named_is_remembered_on_this_machine_only(
    far, theirs, run, monkeypatch, tmp_path
):
    name = f"{far.address}#colbert"
    assert "blue" in run("search", "blue whales", "--index", theirs, "--model", name)[0]
    assert set(far.asked) == {"GET /v1/models Bearer secret", "POST /pooling Bearer secret"}
    assert "blue" in run("search", "blue whales", "--index", theirs)[0]
    assert PageIndex.open(theirs).search("red fox")[0].page.source == "a"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    far.asked.clear()
    run("search", "blue whales", "--index", theirs, code=1)
    assert far.asked == []


def test_fault_21_the_environment_names_a_model_too_but_no_other_server(
    far, theirs, run, monkeypatch
):
    monkeypatch.setenv("METAEMBED_MODEL", "http://127.0.0.1:9#colbert")
    run("search", "fox", "--index", theirs, code=1)
    assert far.asked == []
    monkeypatch.setenv("METAEMBED_MODEL", far.address)
    run("search", "fox", "--index", theirs)
    assert far.asked


def test_fault_21_who_opens_an_index_with_a_model_of_their_own_has_not_named_the_recorded_one(
    far, theirs
):
    mine = FakeServer()
    encoder = MetaEmbedEncoder.from_pretrained(mine.address)  # the fingerprint knows no host
    assert PageIndex.open(theirs, encoder).search("red fox")[0].page.source == "a"
    mine.asked.clear()
    assert PageIndex.open(theirs).search("red fox")[0].page.source == "a"  # my server is asked
    assert mine.asked and far.asked == []
    mine.close()


@pytest.mark.parametrize(
    "name", ["//host/share/model", r"\\host\share\model", "someone/model-that-is-not-here"]
)
def test_fault_21_a_recorded_name_reaches_no_network(name, tmp_path, monkeypatch):
    encoder = FakeEncoder()
    encoder.name = name
    PageIndex.open(tmp_path / "i", encoder).add([Page(source="a", text="a red fox")])
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", download := Download())
    with pytest.raises(UnnamedModelError, match="another machine|would be downloaded"):
        PageIndex.open(tmp_path / "i").search("fox")
    assert all(options["local_files_only"] for options in download.asked)


def test_fault_21_a_recorded_folder_is_loaded_from_safetensors_only(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert "no safetensors (pytorch_model.bin)" in reason_to_ask(str(folder))
    (folder / "model.safetensors").touch()
    assert reason_to_ask(str(folder)) == ""
    assert reason_to_ask("mini") == ""


class Download:
    """Stands where the hub is asked; nothing was downloaded before."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def __call__(self, name: str, **options: Any) -> str:
        self.asked.append(options)
        raise FileNotFoundError(name)


DOWNLOADED = """
import http.server, os, shutil, sys, threading
from pathlib import Path

asked = []


class Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path)
        self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


hub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=hub.serve_forever, daemon=True).start()
checkpoint, folder = Path(sys.argv[1]), Path(sys.argv[2])
os.environ |= {
    "HF_HOME": str(folder / "hf"),
    "HF_HUB_OFFLINE": "0",
    "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
    "XDG_CACHE_HOME": str(folder / "cache"),
}
model = folder / "hf/hub/models--someone--tiny"
shutil.copytree(checkpoint, model / "snapshots/1")
(model / "refs").mkdir()
(model / "refs/main").write_text("1")

from metaembed_rag import MetaEmbedEncoder, Page, PageIndex
from metaembed_rag.errors import CheckpointError, UnnamedModelError

encoder = MetaEmbedEncoder.from_pretrained(model / "snapshots/1")
encoder.name = "someone/tiny"
PageIndex.open(folder / "i", encoder).add([Page(source="a", text="fox")])
shutil.rmtree(folder / "cache/metaembed_rag/models")  # another machine
asked.clear()
print(PageIndex.open(folder / "i").search("fox")[0].page.source)
shutil.rmtree(model)
try:
    PageIndex.open(folder / "i").search("fox")
except UnnamedModelError as error:
    print("not on this machine" in str(error))
print(asked)
"""


@pytest.mark.integration
def test_fault_21_a_recorded_hub_id_is_found_in_the_cache_and_asked_of_no_hub(tmp_path):
    checkpoint = Path(__file__).parent / "fixtures" / "a870c41" / "checkpoint"
    command = [sys.executable, "-c", DOWNLOADED, str(checkpoint), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["a", "True", "[]"], done.stderr


def test_fault_21_a_checkpoint_runs_no_code_whatever_is_answered_on_the_terminal(
    tmp_path, monkeypatch
):
    folder = tmp_path / "model"
    shutil.copytree(Path(__file__).parent / "fixtures" / "a870c41" / "checkpoint", folder)
    config = json.loads((folder / "config.json").read_text())
    kinds = {"AutoConfig": "theirs.Config", "AutoModel": "theirs.Model"}
    config |= {"model_type": "theirs", "auto_map": kinds}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(CheckpointError):
        MetaEmbedEncoder.from_pretrained(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("named", "recorded", "same"),
    [
        ("http://gpu:8000", "http://gpu:8000#colbert?modalities=text,image", True),
        ("HTTP://GPU:80", "http://gpu#colbert", True),
        ("http://gpu:8001#colbert", "http://gpu:8000#colbert", False),
        ("https://gpu:8000", "http://gpu:8000", False),
        ("http://gpu.evil.example", "http://gpu", False),
        ("http://gpu", "http://gpu@evil.example", False),
        ("http://[", "http://[#m", False),
        ("someone/model", "someone/model?pooling=kmeans", True),
        ("someone/model", "someone/other", False),
        ("", "someone/model", False),
        ("mini", "http://gpu", False),
        ("//host/share", "//host/share", True),
    ],
)
def test_a_named_model_leads_to_the_recorded_one_or_elsewhere(named, recorded, same):
    assert leads_to_same(named, recorded) is same


def test_fault_17_a_model_that_was_loaded_by_its_name_is_pickled_by_it(tmp_path, loaded, encoder):
    """Whatever the name loads there has to be the same model."""
    encoder.loaded_by_name = True
    named = portable(encoder)
    assert named == NamedModel("fake", encoder.fingerprint)
    assert named.load() is encoder
    with pytest.raises(ModelMismatchError, match="loads another model here"):
        NamedModel("fake", "f" * 32).load()
    with PageIndex.open(tmp_path / "i", encoder) as index:
        again = pickle.loads(pickle.dumps(index))
    assert again.encoder is encoder
    again.close()


def test_fault_17_a_model_without_a_name_says_what_to_do(tmp_path, encoder):
    encoder.loaded_by_name = False
    with (
        PageIndex.open(tmp_path / "i", encoder) as index,
        pytest.raises(StoreError, match="cannot be pickled.*save it and use"),
    ):
        pickle.dumps(index)
    assert portable(None) is None
