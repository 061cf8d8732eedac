"""Several indexes searched as one: the same hits as of one index, and what of shards that fail."""

from __future__ import annotations

import copy
import pickle
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from metaembed_rag import FederatedIndex, PageIndex, RetrievalBudget
from metaembed_rag.errors import BudgetError, ModelMismatchError, StoreError
from metaembed_rag.hits import MissingShard
from metaembed_rag.pages import Page
from metaembed_rag.testing import FakeEncoder
from tests.support.counting import falls_to, settled
from tests.support.indexes import index_of
from tests.support.serving import running

WORDS = [
    "apple",
    "pear",
    "plum",
    "fig",
    "whale",
    "shark",
    "crab",
    "revenue",
    "region",
    "chart",
    "table",
    "forest",
]
QUERIES = ("apple whale", "revenue by region", "forest")


def pages_of(count: int = 60) -> list[Page]:
    chooser = np.random.default_rng(7)
    return [
        Page(f"{n:02}.pdf", 1, " ".join(chooser.choice(WORDS, 5)), metadata={"year": n % 3})
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def encoder():
    return FakeEncoder()


@pytest.fixture(scope="module")
def whole(encoder):
    with index_of(pages_of(), encoder) as index:
        yield index


@pytest.fixture(scope="module")
def shards(encoder):
    pages = pages_of()
    made = [index_of(pages[start::3], encoder) for start in range(3)]
    yield made
    for index in made:
        index.close()


@pytest.fixture(scope="module")
def federated(shards):
    return FederatedIndex({"a": shards[0], "b": shards[1], "c": shards[2]})


@contextmanager
def silent_server():
    """An address that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


class Hanging(PageIndex):
    """An index whose searches wait until they may go on."""

    gate: threading.Event
    longest = 60.0

    def search_vectors(self, *args, **kwargs):
        self.gate.wait(self.longest)
        return super().search_vectors(*args, **kwargs)


def hanging(encoder, pages):
    index = Hanging.open(":memory:", encoder)
    index.add(pages)
    index.gate = threading.Event()
    return index


def ids(hits):
    return [hit.page.id for hit in hits]


# -- the same as one index ----------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(
    of=st.lists(st.integers(0, 2), min_size=60, max_size=60),
    query=st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join),
    k=st.integers(1, 12),
)
def test_shards_of_any_partition_find_what_one_index_finds_at_every_budget(
    whole, encoder, of, query, k
):
    """But for the last digit of a float32: a sum is rounded by how many pages stand beside it."""
    parts = [[p for p, n in zip(pages_of(), of, strict=True) if n == part] for part in range(3)]
    with ExitStack() as held:
        made = [held.enter_context(index_of(part, encoder)) for part in parts]
        many = FederatedIndex(made)
        for budget in RetrievalBudget.paper():
            how = {"budget": budget, "exhaustive": True, "hybrid": False}
            found, every = many.search(query, k, **how), whole.search(query, 60, **how)
            assert found.budget == budget and [hit.rank for hit in found] == list(range(1, k + 1))
            score = {hit.page.id: hit.score for hit in every}
            assert [h.score for h in found] == pytest.approx([h.score for h in every[:k]], abs=2e-7)
            assert [h.score for h in found] == pytest.approx(
                [score[i] for i in ids(found)], abs=2e-7
            )


@pytest.mark.parametrize("query", QUERIES)
def test_a_cascade_and_candidates_find_the_same_too(federated, whole, query):
    for how in ({}, {"candidates": 60}, {"where": {"year": 1}}):
        found = federated.search(query, 7, hybrid=False, **how)
        assert ids(found) == ids(whole.search(query, 7, hybrid=False, **how))


@pytest.mark.parametrize("hybrid", ["auto", 0.4, "rrf"])
def test_words_and_vectors_are_fused_among_the_pages_of_all_shards(federated, whole, hybrid):
    found = federated.search("apple whale", 5, hybrid=hybrid)
    assert found.scoring == "hybrid" and found.plan.words
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    assert all(hit.bm25 is not None and hit.maxsim is not None for hit in found)


@pytest.mark.parametrize("hybrid", ["auto", 0.4])
@pytest.mark.parametrize("query", ["apple whale", "forest", "crab revenue apple"])
def test_words_are_as_rare_as_they_are_among_the_pages_of_all_shards(
    federated, whole, query, hybrid
):
    """Pages are equally long here; how long they are on average, each shard knows of its own."""
    how = {"hybrid": hybrid, "exhaustive": True}
    found, wanted = federated.search(query, 8, **how), whole.search(query, 8, **how)
    assert [h.score for h in found] == pytest.approx([h.score for h in wanted], abs=1e-5)
    assert [h.bm25 for h in found] == pytest.approx([h.bm25 for h in wanted], abs=1e-5)


def test_one_shard_alone_gives_the_hits_and_scores_of_its_index(whole):
    for hybrid in ("auto", 0.4, False):
        with FederatedIndex([whole]) as one:
            found = one.search("apple whale", 5, hybrid=hybrid)
        wanted = whole.search("apple whale", 5, hybrid=hybrid)
        assert ids(found) == ids(wanted)
        assert [h.score for h in found] == pytest.approx([h.score for h in wanted], abs=1e-6)


def test_words_that_only_one_shard_has_count_and_do_not_raise_pages_of_the_others(encoder):
    with (
        index_of([Page("a", 1, "apple pear"), Page("a", 2, "plum")], encoder) as one,
        index_of([Page("b", 1, "whale"), Page("b", 2, "crab")], encoder) as other,
        FederatedIndex([one, other]) as both,
    ):
        found = both.search("apple", 4)
        assert found.scoring == "hybrid" and found[0].page.id == "a#1"
        assert [hit.bm25 for hit in found][1:] == [0.0, 0.0, 0.0]
        nothing = both.search("zebra", 4)
        assert nothing.scoring == "maxsim" and len(nothing) == 4


def test_words_do_not_count_where_one_shard_cannot_count_them(shards, monkeypatch):
    from metaembed_rag.errors import MissingExtraError
    from metaembed_rag.search.searcher import PageSearcher

    counted = PageSearcher._bm25

    def bm25(self, text, where):
        if self is shards[1]._searcher:
            raise MissingExtraError("no words here")
        return counted(self, text, where)

    monkeypatch.setattr(PageSearcher, "_bm25", bm25)
    with FederatedIndex({"a": shards[0], "b": shards[1]}) as two:
        found = two.search("apple whale", 5)
        alone = two.search("apple whale", 5, hybrid=False)
    assert found.scoring == "maxsim" and ids(found) == ids(alone)
    assert found.plan.words == "vectors alone: b: no words here"


def test_recall_compares_with_one_index_of_all_pages(federated, whole):
    assert federated.recall(QUERIES, 10, hybrid=False) == 1.0
    assert federated.recall(QUERIES, 10, hybrid=False, budget=(1, 1), exhaustive=True) == 1.0
    wanted = [set(ids(whole.search(q, 10, exhaustive=True))) for q in QUERIES]
    found = [set(ids(federated.search(q, 10))) for q in QUERIES]
    share = sum(len(a & b) for a, b in zip(found, wanted, strict=True)) / 30
    assert federated.recall(QUERIES, 10) == pytest.approx(share)


# -- budgets, ids, pictures ---------------------------------------------------------------------


def test_the_budget_is_that_of_the_call_over_the_constructor_over_all_that_every_shard_has(
    encoder, monkeypatch
):
    with (
        index_of([Page("a", 1, "apple")], encoder) as full,
        PageIndex.open(":memory:", encoder, vectors=8) as small,
    ):
        small.add([Page("b", 1, "pear")])
        many = FederatedIndex([full, small])
        assert many.search("apple").budget == RetrievalBudget(16, 8)
        with pytest.raises(BudgetError, match="64 vectors a page, but 8 are stored"):
            many.search("apple", budget="full")
        many = FederatedIndex([full, small], budget=(2, 4))
        assert many.search("apple").budget == RetrievalBudget(2, 4)
        assert many.search("apple", budget="1,1").budget == RetrievalBudget(1, 1)
        assert many.search("apple", r_c=1).budget == RetrievalBudget(2, 1)
        monkeypatch.setenv("METAEMBED_BUDGET", "3,3")
        assert FederatedIndex([full]).search("apple").budget == RetrievalBudget(3, 3)


@pytest.mark.parametrize("how", [{"budget": "auto"}, {"max_ms": 3}, {"min_confidence": 0.9}])
def test_what_a_calibration_answers_is_refused(federated, how):
    with pytest.raises(BudgetError, match="a federated search names its budget"):
        federated.search("apple", **how)


def test_a_page_of_several_shards_is_found_once_by_its_better_score(encoder):
    same, other = Page("a", 1, "apple pear"), Page("a", 1, "apple")
    with (
        index_of([same, Page("b", 1, "crab")], encoder) as one,
        index_of([other, Page("c", 1, "fig")], encoder) as two,
        FederatedIndex({"one": one, "two": two}) as both,
    ):
        found = both.search("apple", 5, budget=(1, 1), hybrid=False)
        assert sorted(ids(found)) == ["a#1", "b#1", "c#1"]
        assert (found[0].shard, found[0].page.text) == ("two", "apple")
        assert len(both) == 4 and both.ids() == ["a#1", "b#1", "c#1"]
        assert [page.text for page in both.get(["c#1", "nowhere", "a#1"])] == ["fig", "apple pear"]


def test_hits_say_their_shard_explain_themselves_and_have_pictures(encoder, tmp_path):
    red = Image.new("RGB", (40, 30), "red")
    with (
        PageIndex.open(tmp_path / "one", encoder) as one,
        index_of([Page("b", 1, "whale crab")], encoder) as two,
        FederatedIndex({"one": one, "two": two}) as both,
    ):
        one.add([Page("a", 1, "apple pear", red)])
        hit, other = both.search("apple", 2, snippets=True)
        assert (hit.shard, other.shard) == ("one", "two")
        assert hit.snippet == "apple pear" and hit.explain().page.id == "a#1"
        assert both.picture(hit).size == (40, 30) and both.picture(other) is None
        with pytest.raises(StoreError, match="of the shard None"):
            both.picture(one.search("apple", 1)[0])
        assert both.search("apple", 1).to_dict()["hits"][0]["shard"] == "one"


def test_given_pages_are_ranked_wherever_they_are(federated, whole):
    wanted = [f"{n:02}.pdf#1" for n in range(9)]
    found = federated.score("apple whale", [*wanted, "nowhere"], budget=(4, 8))
    assert ids(found) == ids(whole.score("apple whale", wanted, budget=(4, 8)))
    assert {hit.shard for hit in found} == {"a", "b", "c"}


def test_several_queries_vectors_and_information(federated, whole, encoder):
    batch = federated.search_batch(QUERIES, 3)
    assert [ids(hits) for hits in batch] == [ids(federated.search(q, 3)) for q in QUERIES]
    assert [hits.query for hits in batch] == list(QUERIES) and federated.search_batch([]) == []
    [vectors] = encoder.encode_query(["apple whale"])
    found = federated.search_vectors(vectors, 3)
    assert ids(found) == ids(whole.search_vectors(vectors, 3, hybrid=False))
    info = federated.info()
    assert len(federated) == info["pages"] == 60 and federated.shards == ("a", "b", "c")
    assert [one["pages"] for one in info["shards"]] == [20, 20, 20] and info["missing"] == []


def test_clients_of_chroma_are_shards(encoder, tmp_path):
    clients = [
        chromadb.EphemeralClient(),
        chromadb.PersistentClient(tmp_path / "folder", Settings(anonymized_telemetry=False)),
    ]
    for number, client in enumerate(clients):
        with PageIndex.open(client, encoder, collection="shard") as index:
            index.add([Page(f"{number}", 1, "red apples")])
    with FederatedIndex(clients, encoder=encoder, collection="shard") as many:
        assert many.shards == (":memory: (shard)", f"{tmp_path / 'folder'} (shard)")
        assert {hit.page.source for hit in many.search("apples")} == {"0", "1"}
    clients[0].delete_collection("shard")


def test_it_is_pickled_and_copied_as_its_indexes_are(encoder, tmp_path):
    for name in ("one", "two"):
        with PageIndex.open(tmp_path / name) as index:
            index.add([Page(name, 1, f"apple {name}")])
    with FederatedIndex([tmp_path / "one", tmp_path / "two"], budget=(1, 1)) as first:
        for again in (pickle.loads(pickle.dumps(first)), copy.deepcopy(first)):
            with again:
                assert ids(again.search("apple")) == ids(first.search("apple"))
                assert again.search("apple").budget == RetrievalBudget(1, 1)


# -- what is refused ----------------------------------------------------------------------------


def test_shards_of_different_models_formats_or_dimensions_are_refused(encoder):
    with (
        index_of([], encoder) as one,
        index_of([], FakeEncoder(seed=1)) as other,
        PageIndex.open(":memory:", encoder, format="int4") as small,
    ):
        with pytest.raises(ModelMismatchError, match=r"b cannot be searched as one.*models differ"):
            FederatedIndex({"a": one, "b": other})
        with pytest.raises(ModelMismatchError, match=r"formats differ \('int8', 'int4'\)"):
            FederatedIndex([one, small])


def test_what_is_no_list_of_indexes_is_refused(tmp_path):
    for wrong, said in (
        ([], "at least one"),
        ("folder", "a list of indexes, not a str"),
        ([3], "not an int"),
        ([tmp_path / "none"], "no index"),
    ):
        with pytest.raises(StoreError, match=said):
            FederatedIndex(wrong)
    with pytest.raises(StoreError, match="deadline must be"):
        FederatedIndex([], deadline=0)


# -- shards that fail ---------------------------------------------------------------------------


def test_a_shard_that_hangs_is_left_out_at_the_deadline_and_said_to_be(shards, encoder, caplog):
    slow = hanging(encoder, [Page("slow", 1, "apple whale")])
    many = FederatedIndex({"quick": shards[0], "slow": slow}, deadline=1)
    alone = ids(shards[0].search("apple whale", 5))  # what is loaded at a first search is there
    start = time.monotonic()
    found = many.search("apple whale", 5)
    assert time.monotonic() - start < 5
    assert ids(found) == alone
    [missing] = found.missing
    assert missing.shard == "slow" and "did not answer within 1 seconds" in missing.reason
    assert "slow is missing" in caplog.text
    assert found.to_dict()["missing"] == [{"shard": "slow", "reason": missing.reason}]
    slow.gate.set()
    assert not many.search("apple whale", 5, deadline=30).missing
    slow.close()


def in_time(many):
    """What the quick shard finds; on a busy machine it answers its late questions first."""
    for _ in range(500):
        with suppress(StoreError):
            found = many.search("apple", 1, deadline=30)
            if "quick" not in {one.shard for one in found.missing}:
                return found
        time.sleep(0.02)
    raise AssertionError("the quick shard does not answer")


def test_a_shard_that_goes_on_hanging_is_asked_no_more_until_it_answers(shards, encoder):
    slow = hanging(encoder, [Page("slow", 1, "apple whale")])
    many = FederatedIndex({"quick": shards[0], "slow": slow}, deadline=0.05)
    for _ in range(4):
        with suppress(StoreError):  # on a busy machine the quick one, too, is late
            many.search("apple", 1)
    before = settled(threading.active_count)
    [missing] = in_time(many).missing
    assert "has left 4 questions unanswered" in missing.reason
    assert falls_to(before, threading.active_count)
    slow.gate.set()
    for _ in range(200):
        if not many.search("apple", 1, deadline=30).missing:
            break
        time.sleep(0.02)
    assert not many.search("apple", 1, deadline=30).missing
    slow.close()


def test_a_shard_that_fails_is_left_out_and_nobody_at_all_is_an_error(encoder):
    one, two = index_of([Page("a", 1, "apple")], encoder), index_of([], encoder)
    many = FederatedIndex({"one": one, "two": two})
    two.close()
    found = many.search("apple")
    assert ids(found) == ["a#1"]
    assert found.missing[0] == MissingShard("two", found.missing[0].reason)
    assert "closed" in found.missing[0].reason
    with pytest.raises(StoreError, match="two is missing"):
        len(many)
    assert many.info()["shards"][1]["pages"] is None and many.info()["missing"]
    one.close()
    with pytest.raises(StoreError):
        many.search("apple")


def test_a_programs_own_mistake_is_no_missing_shard(federated):
    with pytest.raises(TypeError, match="no keyword bugdet"):
        federated.search("apple", bugdet=1)


# -- servers ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(shards):
    with running(shards[1]) as one, running(shards[2]) as two:
        yield one, two


def test_servers_and_an_index_here_find_what_one_index_finds(shards, served, whole):
    with FederatedIndex([shards[0], *served], deadline=60) as many:
        for how in ({"hybrid": False}, {"hybrid": False, "budget": (2, 4), "exhaustive": True}):
            found = many.search("apple whale", 8, **how)
            wanted = whole.search("apple whale", 8, **how)
            assert [hit.page.source for hit in found] == [hit.page.source for hit in wanted]
            assert not found.missing
        assert {hit.shard for hit in found} <= {":memory:", *served} and len(many) == 60
        hybrid = many.search("apple whale", 5)
        here = FederatedIndex(shards).search("apple whale", 5)
        assert [hit.page.source for hit in hybrid] == [hit.page.source for hit in here]
        assert [h.score for h in hybrid] == pytest.approx([h.score for h in here], abs=1e-2)
        for call in (many.ids, lambda: many.recall(["apple"]), lambda: many.score("a", ["b"])):
            with pytest.raises(StoreError, match="it is a server"):
                call()
        with pytest.raises(StoreError, match="200 hits at most"):
            many.search("apple", 201)


def test_servers_alone_need_no_model_here_and_give_pictures(encoder):
    red = Image.new("RGB", (40, 30), "red")
    with (
        index_of([Page("a.pdf", 1, "apple", red, {"year": 3})], encoder) as one,
        running(one) as address,
        FederatedIndex({"far": address}, deadline=60) as far,
    ):
        [hit] = far.search("apple", 3, where={"year": 3}, snippets=True)
        assert (hit.shard, hit.page.text, hit.page.metadata) == ("far", "apple", {"year": 3})
        assert hit.snippet == "apple"
        assert far.picture(hit).size == (40, 30)
        assert far.get([hit.page.id])[0].text == "apple" and far.get(["other"]) == []
        assert len(far.search({"text": "apple", "image": red}, 3)) == 1
        assert len(far.search(red, 3)) == 1
        with pytest.raises(StoreError, match="encodes itself"):
            _ = far.encoder


def test_pictures_of_servers_hits_are_kept_in_a_folder_where_one_is_named(encoder, tmp_path):
    red = Image.new("RGB", (40, 30), "red")
    with (
        index_of([Page("a.pdf", 1, "apple", red), Page("b.pdf", 1, "pear")], encoder) as one,
        running(one) as address,
        FederatedIndex([address], deadline=60, picture_folder=tmp_path / "kept") as far,
        FederatedIndex([address], deadline=60) as plain,
    ):
        shown, other = far.search("apple", 2)
        assert Path(shown.page.image_path).parent == tmp_path / "kept"
        assert shown.page.load_image().size == (40, 30) and other.page.image_path is None
        far.search("apple", 2)
        assert len(list((tmp_path / "kept").iterdir())) == 1
        assert plain.search("apple", 1)[0].page.image_path is None


def test_a_page_that_a_server_and_an_index_hold_is_found_once(shards, served):
    with FederatedIndex([shards[1], served[0]], deadline=60) as twice:
        found = twice.search("apple whale", 20, hybrid=False)
        assert len({hit.page.source for hit in found}) == len(found) == 20
        assert {hit.shard for hit in found} == {":memory:"}


def test_a_server_of_another_model_is_refused_and_so_is_one_that_says_nothing(shards, encoder):
    with (
        index_of([], FakeEncoder(seed=3)) as other,
        running(other) as address,
        pytest.raises(ModelMismatchError, match="models differ"),
    ):
        FederatedIndex([shards[0], address])
    with silent_server() as silent, pytest.raises(StoreError):
        FederatedIndex([shards[0], silent], timeout=0.2)


@pytest.mark.integration
def test_a_process_ends_although_a_shard_hangs(tmp_path):
    program = (
        "import sys, time\n"
        "from tests.federation.test_federated import hanging, FakeEncoder, Page\n"
        "from metaembed_rag import FederatedIndex\n"
        "slow = hanging(FakeEncoder(), [Page('a', 1, 'apple')])\n"
        "quick = type(slow).__base__.open(':memory:', FakeEncoder())\n"
        "quick.add([Page('b', 1, 'pear')])\n"
        "quick.search('pear')\n"
        "slow.longest = 1000\n"
        "hits = FederatedIndex([quick, slow], deadline=5).search('apple', hybrid=False)\n"
        "print(len(hits), len(hits.missing))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=250, check=True
    )
    assert done.stdout.strip() == "1 1"
