"""The loss of a whole batch: hard negatives, GradCache, the other direction, teachers, devices."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from metaembed_rag.model import MetaEmbedEncoder  # noqa: E402
from metaembed_rag.training import loss as loss_module  # noqa: E402
from metaembed_rag.training.collate import Batches  # noqa: E402
from metaembed_rag.training.config import TrainConfig  # noqa: E402
from metaembed_rag.training.data import Example, Side, TrainingSet  # noqa: E402
from metaembed_rag.training.loss import MMRObjective, token_scores  # noqa: E402
from metaembed_rag.training.mmr import HardNegatives, MMRSettings, mmr_loss, page_to_query_loss  # noqa: E402
from tests.support import tiny_backbones as tiny  # noqa: E402
from tests.support.tensors import unit_tensor  # noqa: E402

ONE = MMRSettings(((1, 1),), (1.0,), (1.0,), teacher_weights=(0.0,))
SETTINGS = MMRSettings(
    groups=((1, 1), (2, 3)),
    weights=(1.0, 3.0),
    temperatures=(0.2, 0.5),
    score="sum",
    teacher_weights=(0.0, 1.0),
)


def slow_loss(queries, documents, negatives, owners, settings):
    """The definition: a query's rivals are the batch's documents and its own hard negatives."""
    total = 0.0
    for (r_q, r_c), weight, temperature in zip(
        settings.groups, settings.weights, settings.temperatures, strict=True
    ):
        for i, query in enumerate(queries):
            rivals = [
                *documents,
                *(n for n, owner in zip(negatives, owners, strict=True) if owner == i),
            ]
            scores = [sum(max(q @ d for d in one[:r_c]) for q in query[:r_q]) for one in rivals]
            if settings.score == "mean":
                scores = [score / r_q for score in scores]
            logits = [score / temperature for score in scores]
            own = torch.logsumexp(torch.stack(logits), 0) - logits[i]
            total = total + weight / sum(settings.weights) * own / len(queries)
    return total


@pytest.mark.parametrize("score", ["mean", "sum"])
@pytest.mark.parametrize("owners", [[0, 0, 2], [1], [0, 1, 2], []])
def test_hard_negatives_join_only_their_own_query_as_in_the_definition(score, owners):
    settings = replace(SETTINGS, score=score)
    queries, documents = unit_tensor(3, 2, 8, seed=1), unit_tensor(3, 3, 8, seed=2)
    negatives = unit_tensor(len(owners), 3, 8, seed=3)
    hard = HardNegatives(negatives, torch.tensor(owners, dtype=torch.int64))
    ours = mmr_loss(queries, documents, settings, negatives=hard).total
    slow = slow_loss(queries, documents, negatives, owners, settings)
    assert ours.item() == pytest.approx(slow.item(), abs=1e-6)
    wanted = [queries, documents, *([negatives] if owners else [])]
    for one, other in zip(
        torch.autograd.grad(ours, wanted), torch.autograd.grad(slow, wanted), strict=True
    ):
        assert (one - other).abs().max() < 1e-6


def test_a_hard_negative_equal_to_the_positive_costs_its_query_log_two_and_the_others_nothing():
    far = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]])
    settings = replace(ONE, temperatures=(0.01,))
    hard = HardNegatives(far[:1], torch.tensor([0]))
    loss = mmr_loss(far, far, settings, negatives=hard).total.item()
    assert loss == pytest.approx(math.log(2) / 2, abs=1e-6)  # the mean over two queries


def test_the_other_direction_asks_pages_for_their_query():
    """One page, two queries: the page scores 1 with its own and 0 with the other."""
    queries = torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])
    page = torch.tensor([[[1.0, 0.0]]])
    loss = page_to_query_loss(queries, page, ONE, first=1).item()
    assert loss == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-6)


def test_documents_of_other_devices_stand_before_the_own_ones():
    queries, documents = unit_tensor(4, 2, 8, seed=1), unit_tensor(4, 3, 8, seed=2)
    whole = mmr_loss(queries, documents, SETTINGS).total
    parts = [mmr_loss(queries[i : i + 2], documents, SETTINGS, first=i).total / 2 for i in (0, 2)]
    assert sum(parts).item() == pytest.approx(whole.item(), abs=1e-6)


def test_token_scores_are_the_mean_of_the_best_matches():
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    page, other = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([[-1.0, 0.0]])
    scores = token_scores([query], [page, other])
    assert scores.tolist() == [[pytest.approx(0.9), pytest.approx(-0.5)]]


# -- on a model --------------------------------------------------------------------------------


TEXTS = ["revenue grew", "costs fell in the second quarter while a fox jumps", "bars", "the dog"]


def examples(negatives):
    return TrainingSet(
        [
            Example(
                Side(f"query {i} {text}"),
                Side(text * (i + 1)),
                tuple(Side(f"wrong {j} for {text}") for j in range(negatives[i])),
                f"pairs.jsonl, line {i + 1}",
            )
            for i, text in enumerate(TEXTS)
        ],
        name="pairs",
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tiny.modernbert(tmp_path_factory.mktemp("backbone"))
    return MetaEmbedEncoder.from_backbone(
        folder, 2, 3, device="cpu", max_query_tokens=16, max_document_tokens=32
    )


def gradients(encoder, mini_batch, **options):
    """Loss and gradients of the same batch of four, computed so many inputs at a time."""
    config = TrainConfig(steps=1, batch_size=4, negatives=3, mini_batch=mini_batch)
    batches = Batches(encoder.backbone, [examples([1, 0, 3, 2])], config)
    settings = replace(SETTINGS, temperatures=(0.3, 0.8))
    objective = MMRObjective(encoder.model, settings, cached=mini_batch > 0, **options)
    encoder.model.zero_grad()
    loss = objective(batches.batch(0))
    loss.backward()
    found = {name: p.grad.clone() for name, p in encoder.model.named_parameters()}
    return loss.item(), found


@pytest.mark.parametrize("mini_batch", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"both_directions": True, "evenness": 0.5, "distill": 0.7},
        {"dimensions": (8, 32), "both_directions": True},
    ],
    ids=["plain", "regularised", "dimensions"],
)
def test_gradient_caching_is_exact_with_hard_negatives_and_unequal_sizes(
    encoder, mini_batch, options
):
    loss, found = gradients(encoder, 0, **options)
    cached_loss, cached = gradients(encoder, mini_batch, **options)
    assert cached_loss == pytest.approx(loss, rel=1e-5)
    for name, gradient in found.items():
        scale = gradient.abs().max().item()
        assert (gradient - cached[name]).abs().max().item() <= 1e-4 * scale + 1e-7, name


def test_a_batch_knows_whose_negatives_it_holds_and_takes_at_most_so_many(encoder):
    config = TrainConfig(steps=1, batch_size=4, negatives=2)
    batches = Batches(encoder.backbone, [examples([1, 0, 3, 2])], config)
    batch = batches.batch(0)
    assert sorted(torch.bincount(batch.owners, minlength=4).tolist()) == [0, 1, 2, 2]
    assert sum(len(chunk.rows) for chunk in batch.documents) == 4 + 5


def test_a_teacher_that_says_something_else_adds_to_the_loss(encoder):
    plain, _ = gradients(encoder, 0)
    with_teacher, _ = gradients(encoder, 0, distill=1.0)
    assert with_teacher > plain


def test_the_second_pass_replays_the_random_numbers_of_the_models_own_device(encoder, monkeypatch):
    """Batches stay on the CPU until they are embedded: theirs would leave a GPU's dropout out."""
    devices = []

    class Spy(loss_module.RandContext):
        def __init__(self, *tensors):
            devices.extend(tensors)
            super().__init__(*tensors)

    monkeypatch.setattr(loss_module, "RandContext", Spy)
    gradients(encoder, 3)
    first = next(encoder.model.parameters())
    assert devices and all(one is first for one in devices)


def test_dimension_prefixes_average_the_losses_of_their_prefixes(encoder):
    both, _ = gradients(encoder, 0, dimensions=(8, 32))
    short, whole = (gradients(encoder, 0, dimensions=(size,))[0] for size in (8, 32))
    assert whole == pytest.approx(gradients(encoder, 0)[0], rel=1e-6)
    assert both == pytest.approx((short + whole) / 2, rel=1e-6)
    assert short != pytest.approx(whole, abs=1e-3)
