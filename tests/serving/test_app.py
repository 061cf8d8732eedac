"""The API: each route, and what it says of failures."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from metaembed_rag.options import SEARCH_KEYWORDS
from metaembed_rag.serving.requests import SearchRequest


def events(text: str) -> list[tuple[str, dict]]:
    """Server-sent events: names and data."""
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    return [(a.removeprefix("event: "), json.loads(b.removeprefix("data: "))) for a, b in blocks]


def png(colour: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(data, "PNG")
    return data.getvalue()


def test_a_search_answers_as_the_index_does_and_says_what_it_cost(client, served):
    hits = served.search("apples", 2, budget=(2, 4))
    found = client().post("/search", json={"query": "apples", "k": 2, "budget": "2,4"}).json()
    assert [hit["score"] for hit in found["hits"]] == [round(hit.score, 6) for hit in hits]
    assert [hit["text"] for hit in found["hits"]] == [hit.page.text for hit in hits]
    assert found["budget"] == [2, 4] and found["vectors_per_page"] == 4
    assert found["bytes_per_page"] == 4 * served.info()["bytes_per_page"] // 64
    assert found["plan"]["stages"][-1]["r_c"] == 4
    assert found["milliseconds"]["search"] > 0 and found["pages"] == 3


@pytest.mark.parametrize(
    "option",
    [
        {"budget": [4, 8]},
        {"budget": "fast"},
        {"r_q": 2, "r_c": 4},
        {"hybrid": False},
        {"hybrid": "rrf"},
        {"hybrid": 0.5},
        {"candidates": 20},
        {"exhaustive": True},
        {"where": {"year": 2}},
        {"where": {"#document": {"$contains": "pears"}}},
    ],
)
def test_every_option_of_a_search_means_what_it_means_in_python(client, served, option):
    python = {name: tuple(v) if isinstance(v, list) else v for name, v in option.items()}
    expected = served.search("apples pears", 3, **python)
    answer = client().post("/search", json={"query": "apples pears", "k": 3, **option}).json()
    assert [hit["text"] for hit in answer["hits"]] == [hit.page.text for hit in expected]
    assert [hit["score"] for hit in answer["hits"]] == [round(hit.score, 6) for hit in expected]


def test_no_option_of_a_search_is_missing():
    assert set(SEARCH_KEYWORDS) <= set(SearchRequest.model_fields)


def test_auto_takes_what_calibrating_found(client, served):
    http = client()
    assert http.get("/info").json()["calibrated_pages"] is None
    refused = http.post("/search", json={"query": "apples", "budget": "auto"})
    assert refused.status_code == 400 and "calibration" in refused.json()["error"]
    served.calibrate(["apples", "pears", "whales", "swim"] * 5, k=1)
    points = http.get("/info").json()["budgets"]
    assert points[0]["budget"] == [1, 1]
    assert points[-1]["budget"] == [16, 64] and points[-1]["recall"] == 1.0
    assert points[-1]["ms"] > 0
    found = http.post("/search", json={"query": "apples", "budget": "auto", "k": 1}).json()
    assert found["plan"]["way"] == "auto"


def test_a_picture_is_a_query_alone_and_with_words(client):
    http = client()
    image = {"image": ("a.png", png("red"), "image/png")}
    alone = http.post("/search", files=image, data={"budget": "[16, 64]"})
    assert alone.json()["hits"][0]["text"] == "red apples"
    both = http.post("/search", files=image, data={"query": "apples", "k": "1", "hybrid": "false"})
    assert [hit["text"] for hit in both.json()["hits"]] == ["red apples"]
    form = {"query": "apples", "where": '{"year": 2}'}
    found = http.post("/search", files=image, data=form).json()
    assert [hit["page"] for hit in found["hits"]] == [2]


def test_only_pages_of_a_file_that_is_named(client):
    found = client().post("/search", json={"query": "apples", "source": "fruit.pdf"}).json()
    assert {hit["source"] for hit in found["hits"]} == {"fruit.pdf"}
    found = client().post("/search", json={"query": "apples", "source": ["nothing"]}).json()
    assert found["hits"] == [] and found["note"]


def test_a_page_its_neighbours_and_its_picture(client):
    http = client()
    hit = http.post("/search", json={"query": "red apples", "k": 1}).json()["hits"][0]
    page = http.get(f"/pages/{hit['id']}").json()
    assert (page["source"], page["page"], page["pages"]) == ("fruit.pdf", 1, 2)
    assert page["previous"] is None and page["metadata"] == {"year": 1}
    after = http.get(f"/pages/{page['next']}").json()
    assert after["page"] == 2 and after["previous"] == page["id"] and after["image"] is None
    picture = http.get(page["image"])
    assert picture.headers["content-type"] == "image/webp" and picture.content[8:12] == b"WEBP"
    assert "immutable" in picture.headers["cache-control"]
    missing = http.get(f"/pages/{after['id']}/picture")
    assert missing.status_code == 404 and "no picture" in missing.json()["error"]


def test_a_page_that_is_not_there(client):
    for method in ("get", "delete"):
        answer = getattr(client(), method)(f"/pages/{'0' * 32}")
        assert answer.status_code == 404 and "not in the index" in answer.json()["error"]
    assert client().get("/pages/..%2f..%2fetc%2fpasswd").status_code in (400, 404)


def test_files_are_listed_with_their_pages(client):
    found = client().get("/sources").json()
    assert [(one["source"], one["pages"]) for one in found["sources"]] == [
        ("fruit.pdf", 2),
        ("sea", 1),
    ]
    found = client().get("/sources", params={"containing": "FRU", "limit": 1}).json()
    assert found["total"] == 1


def test_uploading_tells_of_each_batch_and_the_pages_are_found(client, served, tmp_path):
    http = client()
    files = [("files", ("notes.md", b"# Tea\n\nGreen tea grows on hills.", "text/markdown"))]
    told = events(http.post("/pages", files=files, headers={"accept": "text/event-stream"}).text)
    assert [name for name, _ in told] == ["file", "progress", "done"]
    assert told[0][1] == {"file": "notes.md", "pages": 1} and told[1][1]["done"] == 1
    assert told[-1][1]["added"] == 1 and told[-1][1]["pages"] == 4
    hit = http.post("/search", json={"query": "green tea hills", "k": 1}).json()["hits"][0]
    assert hit["source"] == "notes.md"
    assert (tmp_path / "uploads" / "notes.md").read_bytes().startswith(b"# Tea")
    # The folder is one as any other: nothing is left to do.
    assert served.sync(tmp_path / "uploads").unchanged == 1


def test_an_upload_without_events_is_answered_when_it_is_stored(client, served):
    http = client()
    first = http.post("/pages", files=[("files", ("a.txt", b"old words"))]).json()
    assert (first["added"], first["pages"], first["skipped"]) == (1, 4, [])
    second = http.post("/pages", files=[("files", ("a.txt", b"new words"))]).json()
    assert (second["added"], second["updated"], second["pages"]) == (0, 1, 4)
    again = http.post("/pages", files=[("files", ("a.txt", b"new words"))]).json()
    assert again["unchanged"] == 1
    assert {page.text for page in served.get(served.ids({"source": {"$ne": "sea"}}))} >= {
        "new words"
    }


def test_a_file_that_cannot_be_read_leaves_what_was_there(client, tmp_path):
    http = client()
    http.post("/pages", files=[("files", ("a.pdf.txt", b"words"))])
    http.post("/pages", files=[("files", ("b.txt", b"first"))])
    answer = http.post("/pages", files=[("files", ("broken.pdf", b"%PDF-1.4 nothing"))]).json()
    assert answer["added"] == 0 and answer["skipped"][0]["source"] == "broken.pdf"
    assert not (tmp_path / "uploads" / "broken.pdf").exists()
    both = [("files", ("c.txt", b"good")), ("files", ("d.exe", b"MZ"))]
    answer = http.post("/pages", files=both).json()
    assert answer["added"] == 1 and "no kind that is read" in answer["skipped"][0]["reason"]
    assert not list((tmp_path / "uploads").glob(".*/*"))


def test_deleting_a_page_a_file_and_an_upload(client, folder, tmp_path):
    (folder / "fruit.pdf").write_bytes(b"the user's own")
    http = client()
    hit = http.post("/search", json={"query": "red apples", "k": 1}).json()["hits"][0]
    assert http.delete(f"/pages/{hit['id']}").json() == {"deleted": 1, "files": 0, "pages": 2}
    assert http.delete("/pages", params={"source": "fruit.pdf"}).json()["deleted"] == 1
    assert (folder / "fruit.pdf").exists()
    http.post("/pages", files=[("files", ("a.txt", b"words"))])
    assert http.delete("/pages", params={"source": "a.txt"}).json() == {
        "deleted": 1,
        "files": 1,
        "pages": 1,
    }
    assert not (tmp_path / "uploads" / "a.txt").exists()
    answer = http.delete("/pages", params={"source": "a.txt"})
    assert answer.status_code == 404 and "no file of the index" in answer.json()["error"]


def test_a_read_only_server_writes_nothing(client, served):
    http = client(read_only=True)
    assert http.post("/pages", files=[("files", ("a.txt", b"words"))]).status_code == 403
    assert http.delete("/pages", params={"source": "sea"}).status_code == 403
    assert http.delete(f"/pages/{'0' * 32}").status_code == 403
    info = http.get("/info").json()
    assert len(served) == 3 and not info["writable"] and not info["uploads"]


def test_without_a_folder_for_them_uploads_are_refused_in_a_sentence(client):
    answer = client(uploads=None).post("/pages", files=[("files", ("a.txt", b"words"))])
    assert answer.status_code == 403 and "--uploads" in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "valid dictionary"),
        (b'{"query": "a", "k": 0}', "k:"),
        (b'{"query": "a", "k": 1000}', "k:"),
        (b'{"query": "a", "topk": 3}', "topk:"),
        (b'{"query": "  "}', "give a query"),
        (b'{"query": "a", "budget": "many"}', "not a retrieval budget"),
        (b'{"query": "a", "budget": [99, 64]}', "query vectors"),
        (b'{"query": "a", "hybrid": 7}', "hybrid"),
        (b'{"query": "a", "where": {"year": {"$nope": 1}}}', "$nope"),
        (b'{"query": "a", "where": {"#document": {"$regex": "(a+)+$"}}}', "no regular expressions"),
        (b'{"query": "a", "where": {"metaembed:image": "x"}}', "no field"),
        (b'{"query": "a", "max_ms": 1e999}', "max_ms"),
        (b'{"query": "\\ud800"}', ""),
    ],
)
def test_what_makes_no_sense_is_said_in_a_sentence(client, body, said):
    answer = client().post("/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"] and len(answer.json()["error"]) < 600


def test_another_kind_of_body_is_refused(client):
    http = client()
    assert http.post("/search", content=b"apples").status_code == 400
    broken = {"content-type": "multipart/form-data; boundary=x"}
    assert http.post("/search", content=b"--y\r\n", headers=broken).status_code == 400
    assert (
        http.post(
            "/search", content=b"x", headers={"content-type": "multipart/form-data"}
        ).status_code
        == 400
    )
    assert http.post("/pages", content=b"--y\r\n", headers=broken).status_code == 400
    nothing = http.post("/pages", files=[("other", ("a.txt", b"words"))])
    assert nothing.status_code == 400 and '"files"' in nothing.json()["error"]
    picture = http.post("/search", files={"image": ("a.png", b"\x89PNG\r\n\x1a\nnothing")})
    assert picture.status_code == 422 and "picture of the query" in picture.json()["error"]


def test_a_nested_filter_ends_somewhere(client):
    where: dict = {"year": 1}
    for _ in range(40):
        where = {"$and": [where, where]} if where == {"year": 1} else {"$or": [where]}
    answer = client().post("/search", json={"query": "a", "where": where})
    assert answer.status_code == 400 and "nested" in answer.json()["error"]


def test_explaining_says_what_the_index_says_without_folders(client, served, monkeypatch):
    http = client()
    hit = http.post("/search", json={"query": "apples", "k": 1}).json()["hits"][0]
    asked: list = []

    class Explanation:
        def to_dict(self):
            return {"query": "apples", "id": "x", "source": served.get(served.ids())[0].source}

    def explain(query, id, *, budget):
        asked.append((query, id, str(budget)))
        return Explanation()

    monkeypatch.setattr(served, "explain", explain, raising=False)
    found = http.post("/explain", json={"query": "apples", "id": hit["id"], "budget": "2,4"}).json()
    assert found == {"query": "apples", "id": hit["id"], "source": "fruit.pdf"}
    assert asked[0][0] == "apples" and asked[0][2] == "2,4" and asked[0][1] in served.ids()
    assert http.post("/explain", json={"query": "a", "id": "../x"}).status_code == 400
    assert http.post("/explain", json={"query": "a", "id": "0" * 32}).status_code == 404


def test_explaining_nothing_is_refused_and_words_that_did_not_count_are_no_reason(client):
    http = client()
    id = http.post("/search", json={"query": "apples", "k": 1}).json()["hits"][0]["id"]
    for asked in ({"id": id}, {"id": id, "query": "  "}):
        answer = http.post("/explain", json=asked)
        assert answer.status_code == 400 and "give a query" in answer.json()["error"]
    asked = {"id": id, "query": "apples"}
    assert http.post("/explain", json=asked).json()["words"]
    assert http.post("/explain", json={**asked, "hybrid": False}).json()["words"] == []


def test_what_nobody_foresaw_is_no_traceback_for_strangers(client, served, monkeypatch, caplog):
    def fails(*args, **keywords):
        raise RuntimeError("secret of /home/alice")

    monkeypatch.setattr(served, "search_vectors", fails)
    answer = client().post("/search", json={"query": "apples"})
    assert answer.status_code == 500 and "secret" not in answer.text
    assert "secret of /home/alice" in caplog.text


def test_health_and_the_description_of_the_api(client):
    http = client()
    assert http.get("/health").json() == {"status": "ok"}
    spec = http.get("/openapi.json").json()
    assert {"/search", "/explain", "/pages", "/pages/{id}", "/info", "/health"} <= set(
        spec["paths"]
    )
    search = spec["paths"]["/search"]["post"]["requestBody"]["content"]
    assert set(search) == {"application/json", "multipart/form-data"}
    assert http.get("/nothing").json() == {"error": "Not Found"}
