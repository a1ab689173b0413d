from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsgl.evaluation.posthoc import (
    estimate_prior_bbse,
    estimate_prior_em,
    fit_group_temperatures,
    fit_temperature,
    groups_that_tell,
    max_normed,
    negative_log_likelihood,
    probabilities,
    tau_normalised,
)


def sample(temperature: float, count: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax at this temperature is the truth."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(count, 5)) * 3
    true = torch.softmax(torch.from_numpy(logits) / temperature, dim=1)
    labels = torch.multinomial(true, 1, generator=torch.Generator().manual_seed(seed))[:, 0]
    return logits, labels.numpy()


def test_likelihood_is_torchs() -> None:
    logits, labels = sample(1.0, 50)
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    assert negative_log_likelihood(logits, labels) == pytest.approx(expected.item())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_true_temperature_is_found(temperature: float) -> None:
    assert fit_temperature(*sample(temperature)) == pytest.approx(temperature, rel=0.1)


def test_it_is_the_minimum_on_a_grid() -> None:
    logits, labels = sample(1.7, 300)
    found = fit_temperature(logits, labels)
    best = negative_log_likelihood(logits / found, labels)
    assert all(best <= negative_log_likelihood(logits / t, labels) + 1e-9 for t in np.geomspace(0.05, 20, 400))


def test_no_images_are_an_error() -> None:
    with pytest.raises(ValueError, match="held-out"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=int))


def test_without_a_prior_it_is_a_tempered_softmax() -> None:
    logits, _ = sample(1.0, 20)
    expected = torch.softmax(torch.from_numpy(logits) / 1.3, dim=1)
    np.testing.assert_allclose(probabilities(logits, 1.3), expected, rtol=1e-12)


@given(st.lists(st.floats(0.01, 100), min_size=4, max_size=4), st.lists(st.floats(0.01, 100), min_size=4, max_size=4))
def test_another_prior_is_bayes_rule(prior: list[float], assumed: list[float]) -> None:
    """Built from class-conditional densities: the posterior under the new prior follows from them directly."""
    density = np.array([0.2, 0.7, 0.05, 1.3])
    old = density * assumed / (density * assumed).sum()
    new = density * prior / (density * prior).sum()
    found = probabilities(np.log(old)[None], prior_K=np.array(prior), assumed_K=np.array(assumed))[0]
    np.testing.assert_allclose(found, new, rtol=1e-9)


def test_a_class_that_does_not_occur_has_no_probability() -> None:
    found = probabilities(np.zeros((1, 3)), prior_K=np.array([1.0, 0.0, 3.0]), assumed_K=np.ones(3))
    np.testing.assert_allclose(found, [[0.25, 0.0, 0.75]])


def test_perfect_images_say_nothing_of_how_sure_to_be() -> None:
    labels = np.arange(20) % 5
    assert fit_temperature(np.eye(5)[labels] * 2, labels) == 1
    assert fit_temperature(-np.eye(5)[labels] * 2, labels) == 1  # all wrong: no temperature is high enough


def test_group_temperatures_are_those_of_each_group_alone() -> None:
    sharp, labels_a = sample(3.0, 3000, 1)
    blunt, labels_b = sample(0.5, 3000, 2)
    logits, labels = np.concatenate([sharp, blunt]), np.concatenate([labels_a, labels_b])
    # Images of either kind are recognised by the class predicted: classes 0 and 1 the one, 2 to 4 the other.
    of_a = np.isin(sharp.argmax(1), (0, 1))
    of_b = np.isin(blunt.argmax(1), (2, 3, 4))
    kept = np.concatenate([of_a, of_b])
    found = fit_group_temperatures(logits[kept], labels[kept], np.array([7, 7, 1, 1, 1, 9][:5]))
    assert found[0] == found[1] == pytest.approx(fit_temperature(sharp[of_a], labels_a[of_a]))
    assert found[2] == found[4] == pytest.approx(fit_temperature(blunt[of_b], labels_b[of_b]))
    unseen = fit_group_temperatures(sharp[of_a], labels_a[of_a], np.array([0, 0, 1, 1, 1]))
    assert unseen[4] == fit_temperature(sharp[of_a], labels_a[of_a])


@given(st.floats(0.01, 5), st.integers(0, 99))
def test_row_norms(radius: float, seed: int) -> None:
    weight = np.random.default_rng(seed).normal(size=(4, 6))
    lengths = np.linalg.norm(weight, axis=1)
    np.testing.assert_allclose(np.linalg.norm(tau_normalised(weight, 0.4), axis=1), lengths**0.6)
    np.testing.assert_allclose(tau_normalised(weight, 0.0), weight)
    shortened = max_normed(weight, radius)
    np.testing.assert_allclose(np.linalg.norm(shortened, axis=1), np.minimum(lengths, radius))
    expected = torch.renorm(torch.from_numpy(weight), 2, 0, radius)
    np.testing.assert_allclose(shortened, expected, rtol=1e-6)


def shifted(prior: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities, under an even prior, of images drawn under another; and their classes."""
    random = np.random.default_rng(seed)
    labels = random.choice(3, count, p=prior)
    centres = 1.5 * np.eye(3)
    points = centres[labels] + random.normal(size=(count, 3))
    density = np.exp(-((points[:, None] - centres) ** 2).sum(2) / 2)
    return density / density.sum(1, keepdims=True), labels


@pytest.mark.parametrize("prior", [(0.8, 0.15, 0.05), (1 / 3, 1 / 3, 1 / 3), (0.0, 0.5, 0.5)])
def test_priors_are_found_again(prior: tuple[float, ...]) -> None:
    truth = np.array(prior)
    unlabelled, _ = shifted(truth, 20_000, 0)
    np.testing.assert_allclose(estimate_prior_em(unlabelled, np.ones(3)), truth, atol=0.02)
    held_out, labels = shifted(np.array([0.2, 0.3, 0.5]), 20_000, 1)
    found = estimate_prior_bbse(held_out.argmax(1), labels, unlabelled.argmax(1), 3)
    np.testing.assert_allclose(found, truth, atol=0.03)


def test_bbse_of_classes_that_were_never_predicted_is_no_estimate() -> None:
    with pytest.raises(ValueError, match="that no held-out image is taken for"):
        estimate_prior_bbse(np.array([0, 0]), np.array([0, 1]), np.array([1, 1]), 2)


def test_em_is_a_fixed_point_and_bbse_an_inverse() -> None:
    unlabelled, _ = shifted(np.array([0.6, 0.3, 0.1]), 500, 2)
    assumed = np.array([0.5, 0.25, 0.25])
    prior = estimate_prior_em(unlabelled, assumed, tolerance=1e-12)
    np.testing.assert_allclose(probabilities(np.log(unlabelled), 1.0, prior, assumed).mean(0), prior, atol=1e-9)
    held_out, labels = shifted(np.array([0.3, 0.3, 0.4]), 5000, 3)
    predicted = held_out.argmax(1)
    confusion = np.array([[np.mean(predicted[labels == j] == i) for j in range(3)] for i in range(3)])
    seen = np.array([np.mean(unlabelled.argmax(1) == i) for i in range(3)])
    expected = np.linalg.solve(confusion, seen)
    np.testing.assert_allclose(estimate_prior_bbse(predicted, labels, unlabelled.argmax(1), 3), expected, atol=1e-9)


def test_priors_that_cannot_be_estimated() -> None:
    with pytest.raises(ValueError, match="there are none"):
        estimate_prior_em(np.zeros((0, 3)), np.ones(3))
    with pytest.raises(ValueError, match="there are none"):
        estimate_prior_bbse(np.array([0]), np.array([0]), np.array([], dtype=int), 1)
    with pytest.raises(ValueError, match="class 2 has no held-out image"):
        estimate_prior_bbse(np.array([0, 1]), np.array([0, 1]), np.array([0]), 3)
    with pytest.raises(ValueError, match="did not settle"):
        estimate_prior_em(shifted(np.array([0.9, 0.05, 0.05]), 100, 0)[0], np.ones(3), steps=1)


def test_a_long_tailed_prior_of_many_classes_is_that_of_plain_em_run_to_its_end() -> None:
    """100 classes, about 54 % right: plain EM needs thousands of steps."""
    random, classes, images = np.random.default_rng(0), 100, 2000
    target = np.exp(-np.arange(classes) / 12)
    labels = random.choice(classes, images, p=target / target.sum())
    evidence = random.normal(0, 1, (images, classes))
    evidence[np.arange(images), labels] += 2.6
    shares = probabilities(2.6 * evidence)
    plain, density = np.full(classes, 1 / classes), shares * classes
    for _ in range(6000):
        plain = plain * (density / (density @ plain)[:, None]).mean(axis=0)
    found = estimate_prior_em(shares, np.ones(classes))
    np.testing.assert_allclose(found, plain, atol=2e-5)


def test_classes_that_are_hardly_told_apart_have_a_prior_as_likely_as_any() -> None:
    """Where nothing is to be gained the estimate moves on for long; that is no reason to have none."""
    random, classes, images = np.random.default_rng(0), 40, 200
    shares = probabilities(random.normal(0, 0.1, (images, classes)))
    found, density = estimate_prior_em(shares, np.ones(classes), steps=100), shares * classes
    plain = np.full(classes, 1 / classes)
    for _ in range(6_000):
        plain = plain * (density / (density @ plain)[:, None]).mean(axis=0)
    assert np.abs(found - plain).max() > 1e-4, "it settled, which shows nothing"
    assert np.log(density @ plain).sum() - np.log(density @ found).sum() < 0.05


def test_a_group_that_says_too_little_has_the_temperature_of_all() -> None:
    few = np.array([[4.0, 0.0]] * 100 + [[0.0, 1.0]] * 19), np.array([0] * 70 + [1] * 30 + [0] * 9 + [1] * 10)
    right = np.array([[4.0, 0.0]] * 100 + [[0.0, 1.0]] * 40), np.array([0] * 70 + [1] * 70)
    wrong = np.array([[4.0, 0.0]] * 100 + [[0.0, 1.0]] * 40), np.array([0] * 70 + [1] * 30 + [0] * 40)
    # right in less than half: the surer, the worse, so that its own temperature would be the highest there is
    end = np.array([[4.0, 0.0]] * 100 + [[0.0, 1.0]] * 40), np.array([0] * 70 + [1] * 30 + [0] * 35 + [1] * 5)
    for logits, labels in (few, right, wrong, end):
        found = fit_group_temperatures(logits, labels, np.array([0, 1]))
        assert found[1] == fit_temperature(logits, labels) != found[0]
        assert groups_that_tell(logits, labels, np.array([0, 1])) == {0: found[0]}
