from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fsgl.posthoc import fit_temperature, negative_log_likelihood, probabilities


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
