"""evaluation/metrics.py against torchmetrics, scikit-learn and plain loops, and the properties that pin it."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import balanced_accuracy_score
from sklearn.metrics import confusion_matrix as sk_confusion_matrix

from fsgl.evaluation import metrics as metrics_module
from fsgl.evaluation.metrics import (
    confusion_matrix,
    evaluate_predictions,
    expected_calibration_error,
    per_class_accuracy,
    shot_groups,
    softmax,
    top_k_accuracy,
)

COUNTS_12 = np.array([500, 101, 100, 99, 60, 21, 20, 19, 5, 1, 300, 20])


def draw(n: int = 600, k: int = 12, seed: int = 0, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(k, size=n, p=rng.dirichlet(np.full(k, 2.0)))
    logits = scale * rng.normal(size=(n, k))
    logits[np.arange(n), labels] += 1.5
    return logits, labels


@st.composite
def predictions(draw_: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole-numbered logits, so that ties are common and shifts exact."""
    n, k = draw_(st.integers(1, 30)), draw_(st.integers(1, 9))
    logits = draw_(hnp.arrays(np.float64, (n, k), elements=st.integers(-4, 4).map(float)))
    labels = draw_(hnp.arrays(np.int64, n, elements=st.integers(0, k - 1)))
    counts = draw_(hnp.arrays(np.int64, k, elements=st.sampled_from([0, 1, 19, 20, 21, 100, 101, 5000])))
    return logits, labels, counts


# ---- oracles


@pytest.mark.parametrize("seed", range(3))
def test_top_1_top_5_and_balanced_agree_with_torchmetrics(seed: int) -> None:
    from torchmetrics.functional.classification import multiclass_accuracy  # takes seconds, of every collection too

    logits, labels = draw(seed=seed)
    ours = evaluate_predictions(logits, labels, COUNTS_12)
    scores, target = torch.from_numpy(logits), torch.from_numpy(labels)
    for key, options in [
        ("top1", {"average": "micro"}),
        ("top5", {"average": "micro", "top_k": 5}),
        ("balanced", {"average": "macro"}),
    ]:
        theirs = 100 * multiclass_accuracy(scores, target, num_classes=12, **options).item()
        assert ours[key] == pytest.approx(theirs, abs=1e-4), key


@pytest.mark.parametrize("bins", [5, 15, 20])
def test_calibration_error_agrees_with_torchmetrics(bins: int) -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    logits, labels = draw(seed=4)
    theirs = multiclass_calibration_error(
        torch.from_numpy(logits), torch.from_numpy(labels), num_classes=12, n_bins=bins, norm="l1"
    )
    ours = evaluate_predictions(logits, labels, COUNTS_12, ece_bins=bins)["ece"]
    assert ours == pytest.approx(100 * theirs.item(), abs=1e-3)
    assert ours > 1  # a case in which there is something to measure
    assert ours == expected_calibration_error(logits, labels, bins)


def test_confusion_matrix_and_balanced_accuracy_agree_with_sklearn() -> None:
    logits, labels = draw(seed=5)
    predicted = logits.argmax(1)
    ours = confusion_matrix(logits, labels, 12)
    assert ours.dtype == np.int64
    np.testing.assert_array_equal(ours, sk_confusion_matrix(labels, predicted, labels=np.arange(12)))
    balanced = evaluate_predictions(logits, labels, COUNTS_12)["balanced"]
    assert balanced == pytest.approx(100 * balanced_accuracy_score(labels, predicted), abs=1e-9)


def loop_metrics(logits: np.ndarray, labels: np.ndarray, counts: np.ndarray, bins: int) -> dict[str, object]:
    """Everything once more, image by image."""
    n, k = logits.shape
    right, total, top1, top5 = [0] * k, [0] * k, 0, 0
    in_bin: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        order = sorted(range(k), key=lambda j: (-row[j], j))
        hit = order[0] == label
        total[label] += 1
        right[label] += hit
        top1 += hit
        top5 += label in order[:5]
        confidence = 1 / math.fsum(math.exp(score - max(row)) for score in row)
        m = next(m for m in range(bins) if confidence <= (m + 1) / bins + 1e-12)
        in_bin[m].append((confidence, hit))
    accuracy = [100 * r / t if t else None for r, t in zip(right, total, strict=True)]

    def mean(classes: list[int]) -> float | None:
        known = [accuracy[c] for c in classes if accuracy[c] is not None]
        return math.fsum(known) / len(known) if known else None

    ece = sum(abs(sum(h for _, h in b) - math.fsum(c for c, _ in b)) for b in in_bin if b) / n * 100
    return {
        "top1": 100 * top1 / n,
        "top5": 100 * top5 / n if k > 5 else None,
        "balanced": mean(list(range(k))),
        "many": mean([c for c in range(k) if counts[c] > 100]),
        "medium": mean([c for c in range(k) if 20 < counts[c] <= 100]),
        "few": mean([c for c in range(k) if counts[c] <= 20]),
        "per_class": accuracy,
        "ece": ece,
    }


@settings(max_examples=150, deadline=None)
@given(predictions())
def test_every_figure_agrees_with_plain_loops_on_ties_and_absent_classes_too(case) -> None:
    logits, labels, counts = case
    ours = evaluate_predictions(logits, labels, counts, ece_bins=7)
    for key, expected in loop_metrics(logits, labels, counts, bins=7).items():
        assert ours[key] == pytest.approx(expected, abs=1e-9), key


def test_blocks_of_rows_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = draw(n=101)
    whole = evaluate_predictions(logits, labels, COUNTS_12)
    monkeypatch.setattr(metrics_module, "_BLOCK", 12 * 7)
    assert evaluate_predictions(logits, labels, COUNTS_12) == whole
    logits[100, 3] = np.nan  # in the last, smaller block
    with pytest.raises(ValueError, match="row 100"):
        evaluate_predictions(logits, labels, COUNTS_12)


# ---- groups


def test_boundaries_of_the_groups() -> None:
    groups = shot_groups([101, 100, 21, 20, 0])
    assert {name: mask.tolist() for name, mask in groups.items()} == {
        "many": [True, False, False, False, False],
        "medium": [False, True, True, False, False],
        "few": [False, False, False, True, True],
    }
    assert shot_groups([20, 19], few=19)["medium"].tolist() == [True, False]


def test_group_is_the_mean_over_classes_and_pooled_accuracy_where_the_test_set_is_balanced() -> None:
    logits = np.eye(3)[[0, 0, 0, 2, 1, 2]]
    labels = np.array([0, 0, 0, 0, 1, 1])  # class 0: 3 of 4, class 1: 1 of 2
    assert evaluate_predictions(logits, labels, [200, 150, 50])["many"] == pytest.approx(62.5)  # pooled: 66.7
    rng = np.random.default_rng(1)
    labels, logits = np.repeat(np.arange(12), 50), rng.normal(size=(600, 12))
    ours = evaluate_predictions(logits, labels, COUNTS_12)
    for group, mask in shot_groups(COUNTS_12).items():
        rows = mask[labels]
        assert ours[group] == pytest.approx(top_k_accuracy(logits[rows], labels[rows]), abs=1e-9)


def test_an_empty_group_and_a_group_without_test_images_are_none() -> None:
    logits, labels = draw(k=4, n=50)
    no_few = evaluate_predictions(logits, labels, [500, 400, 50, 30])
    assert no_few["few"] is None
    sizes = {"many": 2, "medium": 2, "few": 0}
    assert no_few["groups"] == {"boundaries": [100, 20], "classes": sizes, "tested": sizes}
    seen = labels != 3
    unseen = evaluate_predictions(logits[seen], labels[seen], [500, 400, 50, 10])
    assert unseen["few"] is None
    assert unseen["per_class"][3] is None
    assert unseen["groups"]["classes"]["few"] == 1
    assert unseen["balanced"] == pytest.approx(np.mean(unseen["per_class"][:3]))


# ---- ties, scale, types


def test_ties_go_to_the_lower_class_index() -> None:
    flat = np.zeros((8, 8))
    labels = np.arange(8)
    assert [top_k_accuracy(flat, labels, k) for k in (1, 5, 8, 9)] == [12.5, 62.5, 100.0, 100.0]
    assert confusion_matrix(flat, labels, 8)[:, 0].tolist() == [1] * 8


@pytest.mark.parametrize(("k", "none"), [(4, True), (5, True), (6, False)])
def test_top_5_is_none_where_it_would_be_trivial(k: int, none: bool) -> None:
    logits, labels = draw(n=40, k=k)
    assert (evaluate_predictions(logits, labels, np.ones(k))["top5"] is None) is none


def test_softmax_is_stable_and_agrees_with_torch() -> None:
    logits, _ = draw(n=20)
    np.testing.assert_allclose(softmax(logits), torch.from_numpy(logits).softmax(-1).numpy(), atol=1e-15)
    np.testing.assert_allclose(softmax([[1e308, -1e308], [1e4, 1e4]]), [[1, 0], [0.5, 0.5]])
    with pytest.raises(ValueError, match="NaN or infinite"):
        softmax([np.inf, 0.0])


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    # confidences 1/2 (wrong) and 0.6 (right): one bin each under (a, b], the same bin under [a, b)
    logits = np.log([[0.5, 0.5], [0.6, 0.4]])
    expected = 100 * (abs(0 - 0.5) + abs(1 - 0.6)) / 2
    assert expected_calibration_error(logits, [1, 0], bins=2) == pytest.approx(expected)


def test_a_certain_and_right_model_is_calibrated_and_a_certain_wrong_one_is_not() -> None:
    logits = 1e5 * np.eye(6)
    assert evaluate_predictions(logits, np.arange(6), np.ones(6))["ece"] == 0.0
    assert evaluate_predictions(logits, (np.arange(6) + 1) % 6, np.ones(6))["ece"] == 100.0


def test_tensors_lists_and_narrow_types_are_taken() -> None:
    logits, labels = draw(n=30)
    logits = logits.round(1).astype(np.float32)
    whole = evaluate_predictions(logits, labels, COUNTS_12)
    tensor = torch.from_numpy(logits).requires_grad_()
    assert evaluate_predictions(tensor, torch.from_numpy(labels), torch.from_numpy(COUNTS_12)) == whole
    assert evaluate_predictions(logits, labels.astype(np.uint8).tolist(), COUNTS_12.tolist()) == whole
    small = tensor.bfloat16()
    assert evaluate_predictions(small, labels, COUNTS_12) == evaluate_predictions(small.float(), labels, COUNTS_12)


def test_importing_metrics_imports_neither_torch_nor_sklearn() -> None:
    code = "import sys, fsgl.evaluation.metrics; sys.exit(bool({'torch', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- properties


@settings(max_examples=60, deadline=None)
@given(predictions(), st.randoms(use_true_random=False))
def test_permuting_images_changes_nothing(case, random) -> None:
    logits, labels, counts = case
    order = random.sample(range(len(labels)), len(labels))
    before = evaluate_predictions(logits, labels, counts)
    after = evaluate_predictions(logits[order], labels[order], counts)
    assert after.pop("ece") == pytest.approx(before.pop("ece"), abs=1e-9)  # a sum of floats in another order
    assert after == before


@settings(max_examples=60, deadline=None)
@given(predictions(), st.randoms(use_true_random=False), st.integers(0, 2**32 - 1))
def test_permuting_classes_permutes_per_class_and_leaves_the_rest(case, random, seed) -> None:
    logits, labels, counts = case
    logits = logits + np.random.default_rng(seed).uniform(0, 0.5, size=logits.shape)  # no ties: they go by index
    k = len(counts)
    order = np.array(random.sample(range(k), k))  # new class j is old class order[j]
    before = evaluate_predictions(logits, labels, counts)
    after = evaluate_predictions(logits[:, order], np.argsort(order)[labels], counts[order])
    assert after.pop("per_class") == [before["per_class"][j] for j in order]
    before.pop("per_class")
    for key in ("ece", "balanced", "many", "medium", "few"):
        assert after.pop(key) == pytest.approx(before.pop(key), abs=1e-9), key
    assert after == before


@settings(max_examples=60, deadline=None)
@given(predictions(), st.integers(-1000, 1000))
def test_adding_a_constant_to_each_row_changes_nothing(case, shift) -> None:
    logits, labels, counts = case
    shifted = logits + shift * (1 + np.arange(len(labels)))[:, None]
    assert evaluate_predictions(shifted, labels, counts) == evaluate_predictions(logits, labels, counts)


@settings(max_examples=60, deadline=None)
@given(predictions())
def test_json_round_trip_without_nan(case) -> None:
    ours = evaluate_predictions(*case)
    assert json.loads(json.dumps(ours, allow_nan=False)) == ours


@settings(max_examples=60, deadline=None)
@given(predictions())
def test_confusion_matrix_holds_top_1_and_per_class(case) -> None:
    logits, labels, counts = case
    matrix = confusion_matrix(logits, labels, len(counts))
    ours = evaluate_predictions(*case)
    assert matrix.sum() == ours["n"] == len(labels)
    assert 100 * np.trace(matrix) / len(labels) == pytest.approx(ours["top1"])
    rows = matrix.sum(1)
    expected = [100 * matrix[j, j] / rows[j] if rows[j] else None for j in range(len(counts))]
    assert ours["per_class"] == pytest.approx(expected)
    assert ours["per_class"] == per_class_accuracy(logits, labels)


# ---- mistakes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits_NK": np.zeros(6)}, "images x classes"),
        ({"logits_NK": np.zeros((0, 3)), "labels_N": np.zeros(0, np.int64)}, "at least 1 x 1"),
        ({"labels_N": [0, 1]}, "logits of 3 images, but labels of shape"),
        ({"labels_N": [0, 1, 3]}, r"label 3 in row 2 is outside the 3 classes 0 to 2"),
        ({"labels_N": [0, -1, 1]}, r"label -1 in row 1"),
        ({"labels_N": [0.0, 1.0, 2.0]}, "integers"),
        ({"logits_NK": [[0, 1, 2], [0, np.nan, 1], [0, 0, np.inf]]}, "row 1 .* class 1 has nan"),
        ({"logits_NK": [[0, 1, 2], [0, 1, 1], [0, 0, -np.inf]]}, "row 2 .* class 2 has -inf"),
        ({"class_counts_K": [1, 2]}, "3 columns of logits, but class_counts has 2"),
        ({"class_counts_K": [1, 2, -1]}, ">= 0"),
        ({"class_counts_K": [1, 2, np.nan]}, ">= 0"),
        ({"many": 10}, "many > 10, few <= 20"),
        ({"ece_bins": 0}, "at least one bin"),
    ],
)
def test_mistakes_are_named(change: dict, message: str) -> None:
    good = {"logits_NK": np.zeros((3, 3)), "labels_N": [0, 1, 2], "class_counts_K": [1, 2, 3]}
    evaluate_predictions(**good)
    with pytest.raises(ValueError, match=message):
        evaluate_predictions(**(good | change))


def test_mistakes_of_the_single_functions_are_named() -> None:
    with pytest.raises(ValueError, match="k >= 1"):
        top_k_accuracy(np.zeros((2, 2)), [0, 1], 0)
    with pytest.raises(ValueError, match=r"4 x 4 .* 2 columns"):
        confusion_matrix(np.zeros((2, 2)), [0, 1], 4)
