"""Logits after training: a temperature that makes probabilities honest, and other class frequencies than in training.

Temperature scaling: Guo et al., ICML 2017, section 4.2: softmax(z / T), with the T that minimises the negative
log-likelihood of held-out images. Prior shift: Saerens et al., Neural Computation 2002, eq. 2.4:
p'(k | x) is proportional to p(k | x) p'(k) / p(k), where p is what the classifier assumes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fsgl.metrics import softmax

LOWEST, HIGHEST = 0.05, 20.0  # temperatures; a fit that ends there has found none


def negative_log_likelihood(logits_NK: NDArray[np.floating], labels_N: NDArray[np.integer]) -> float:
    """Mean over the images, in nats."""
    shifted = logits_NK - logits_NK.max(axis=1, keepdims=True)
    normaliser = np.log(np.exp(shifted).sum(axis=1))
    return float((normaliser - shifted[np.arange(len(labels_N)), labels_N]).mean())


def fit_temperature(logits_NK: NDArray[np.floating], labels_N: NDArray[np.integer]) -> float:
    """The temperature, in [0.05, 20], that fits these held-out images best. Raises ValueError for none of them."""
    if len(labels_N) == 0:
        raise ValueError("a temperature needs held-out images")
    from scipy.optimize import minimize_scalar

    logits = np.asarray(logits_NK, dtype=np.float64)
    # In 1 / T the likelihood is concave, so the minimum found is the minimum.
    found = minimize_scalar(
        lambda inverse: negative_log_likelihood(logits * inverse, labels_N),
        bounds=(1 / HIGHEST, 1 / LOWEST), method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    return float(1 / found.x)


def probabilities(
    logits_NK: NDArray[np.floating],
    temperature: float = 1.0,
    prior_K: NDArray[np.floating] | None = None,
    assumed_K: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """Calibrated probabilities ``N x K`` under the class frequencies ``prior``.

    prior, assumed: positive weights, of any sum; None for either leaves the frequencies as they are. assumed: those
    that the classifier's probabilities hold for.
    """
    logits = np.asarray(logits_NK, dtype=np.float64) / temperature
    if prior_K is None or assumed_K is None:
        return softmax(logits)
    shares = np.zeros_like(logits)
    occurring = prior_K > 0  # a class that does not occur has a probability of 0
    shares[:, occurring] = softmax(logits[:, occurring] + np.log(prior_K[occurring] / assumed_K[occurring]))
    return shares
