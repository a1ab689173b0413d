"""Corrections after training, on logits or on the rows of the classifier; runs/adjustment.py applies them to a run.

temperature        softmax(z / T), T of the lowest negative log-likelihood      Guo et al., ICML 2017, section 4.2
... by group       T of the group (many, medium, few) of the class predicted
tau-norm           w_k / ||w_k||^tau, no bias                                   Kang et al., ICLR 2020, eq. 4
MaxNorm            min(1, radius / ||w_k||) w_k                                 Alshammari et al., CVPR 2022, eq. 4
logit adjustment   z_k - tau log pi_k, pi of training                           Menon et al., ICLR 2021, eq. 9
another prior      p'(k | x) ~ p(k | x) p'(k) / p(k), p as the classifier has it    Saerens et al., 2002, eq. 2.4
... estimated      by EM from unlabelled images' probabilities                  Saerens et al., 2002, eq. 2.9
                   by BBSE from their predicted classes and the confusion       Lipton et al., ICML 2018, section 4
                   of labelled ones
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fsgl.evaluation.metrics import softmax

LOWEST, HIGHEST = 0.05, 20.0  # temperatures
INDISTINCT = 0.05  # of a log-likelihood of all images: a tenth of what one standard error takes from the highest
FEWEST = 20  # images of a group that say more of its temperature than all images do


def negative_log_likelihood(logits_NK: NDArray[np.floating], labels_N: NDArray[np.integer]) -> float:
    """Mean over the images, in nats.

    >>> import fsgl, numpy as np
    >>> round(fsgl.negative_log_likelihood(np.zeros((2, 4)), np.array([0, 3])), 3)  # log 4
    1.386
    """
    shifted = logits_NK - logits_NK.max(axis=1, keepdims=True)
    normaliser = np.log(np.exp(shifted).sum(axis=1))
    return float((normaliser - shifted[np.arange(len(labels_N)), labels_N]).mean())


def fit_temperature(logits_NK: NDArray[np.floating], labels_N: NDArray[np.integer]) -> float:
    """The temperature, in [0.05, 20], that fits these held-out images best. Raises ValueError for none of them.

    1 where the best one is at either end: images that are all classified rightly want it ever lower, and images of
    which nothing is known ever higher; neither says how sure to be of others.

    >>> import fsgl, numpy as np
    >>> logits, labels = np.array([[4.0, 0.0]] * 10), np.array([0] * 7 + [1] * 3)  # sure, and right in 7 of 10
    >>> round(fsgl.fit_temperature(logits, labels), 2)
    4.72
    """
    if len(labels_N) == 0:
        raise ValueError("a temperature needs held-out images")
    return _best_temperature(logits_NK, labels_N) or 1.0


def _best_temperature(logits_NK: NDArray[np.floating], labels_N: NDArray[np.integer]) -> float | None:
    """As of ``fit_temperature``; None where it is at either end."""
    from scipy.optimize import minimize_scalar

    logits = np.asarray(logits_NK, dtype=np.float64)
    # In 1 / T the likelihood is concave, so the minimum found is the minimum.
    found = minimize_scalar(
        lambda inverse: negative_log_likelihood(logits * inverse, labels_N),
        bounds=(1 / HIGHEST, 1 / LOWEST), method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    temperature = float(1 / found.x)
    all_right = bool((logits.argmax(axis=1) == labels_N).all())
    return temperature if not all_right and 1.05 * LOWEST < temperature < HIGHEST / 1.05 else None


def probabilities(
    logits_NK: NDArray[np.floating],
    temperature: float = 1.0,
    prior_K: NDArray[np.floating] | None = None,
    assumed_K: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """Calibrated probabilities ``N x K`` under the class frequencies ``prior``.

    prior, assumed: positive weights, of any sum; None for either leaves the frequencies as they are. assumed: those
    that the classifier's probabilities hold for.

    >>> import fsgl, numpy as np
    >>> fsgl.probabilities(np.zeros((1, 2)), prior_K=np.array([9, 1]), assumed_K=np.array([1, 1])).round(3).tolist()
    [[0.9, 0.1]]
    """
    logits = np.asarray(logits_NK, dtype=np.float64) / temperature
    if prior_K is None or assumed_K is None:
        return softmax(logits)
    shares = np.zeros_like(logits)
    occurring = prior_K > 0  # a class that does not occur has a probability of 0
    shares[:, occurring] = softmax(logits[:, occurring] + np.log(prior_K[occurring] / assumed_K[occurring]))
    return shares


def fit_group_temperatures(
    logits_NK: NDArray[np.floating], labels_N: NDArray[np.integer], group_K: NDArray[np.integer]
) -> NDArray[np.float64]:
    """A temperature for each class ``K``: that of its group, fitted on the held-out images predicted as one of it.

    group: of each class, any integers. An image's group is that of its predicted class, as its own is not known at
    test, so no prediction changes. A group as which fewer than ``FEWEST`` are predicted, or all of them rightly or all
    wrongly, has the temperature of all images (``groups_that_tell`` says which have their own). Raises ValueError for
    no images.

    >>> import fsgl, numpy as np
    >>> logits, labels = np.array([[4.0, 0.0]] * 100 + [[0.0, 1.0]] * 40), np.array([0] * 70 + [1] * 60 + [0] * 10)
    >>> fsgl.fit_group_temperatures(logits, labels, group_K=np.array([0, 1])).round(2).tolist()
    [4.72, 0.91]
    """
    temperatures = np.full(len(group_K), fit_temperature(logits_NK, labels_N))
    for group, temperature in groups_that_tell(logits_NK, labels_N, group_K).items():
        temperatures[group_K == group] = temperature
    return temperatures


def groups_that_tell(
    logits_NK: NDArray[np.floating], labels_N: NDArray[np.integer], group_K: NDArray[np.integer]
) -> dict[int, float]:
    """By group, its own temperature: of those whose held-out images say what it is (``fit_group_temperatures``)."""
    predicted, found = group_K[logits_NK.argmax(axis=1)], {}
    for group in np.unique(predicted):
        rows = predicted == group
        right = logits_NK[rows].argmax(axis=1) == labels_N[rows]
        enough = len(right) >= FEWEST and right.any() and not right.all()
        if enough and (temperature := _best_temperature(logits_NK[rows], labels_N[rows])) is not None:
            found[int(group)] = temperature
    return found


def tau_normalised(weight_KD: NDArray[np.floating], tau: float) -> NDArray[np.float64]:
    """The rows divided by their length to the power ``tau``: 0 leaves them, 1 makes all of length 1.

    >>> import fsgl, numpy as np
    >>> fsgl.tau_normalised(np.array([[3.0, 4.0]]), tau=1.0).tolist()
    [[0.6, 0.8]]
    """
    rows = np.asarray(weight_KD, dtype=np.float64)
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return np.asarray(rows / lengths**tau)


def max_normed(weight_KD: NDArray[np.floating], radius: float) -> NDArray[np.float64]:
    """The rows, those that are longer than ``radius`` (> 0) shortened to it.

    >>> import fsgl, numpy as np
    >>> fsgl.max_normed(np.array([[3.0, 4.0], [0.3, 0.4]]), radius=1.0).round(3).tolist()
    [[0.6, 0.8], [0.3, 0.4]]
    """
    rows = np.asarray(weight_KD, dtype=np.float64)
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return np.asarray(rows * np.minimum(1.0, radius / lengths))


def estimate_prior_em(
    probabilities_NK: NDArray[np.floating], assumed_K: NDArray[np.floating], steps: int = 1000, tolerance: float = 1e-8
) -> NDArray[np.float64]:
    """Class frequencies ``K``, summing to 1, of unlabelled images, from probabilities that hold under ``assumed``.

    Expectation maximisation from ``assumed`` on, extrapolated after every two steps (SQUAREM, scheme S3; Varadhan and
    Roland, Scand. J. Stat. 2008), until a step changes no frequency by more than ``tolerance``. The likelihood is
    concave, and an extrapolation that lowers it is not taken. Of classes that the probabilities hardly tell apart it
    moves on for long where nothing is to be gained; after so many extrapolations it is taken as it stands where the
    log-likelihood of all images is within ``INDISTINCT`` of the highest. Probabilities must be calibrated to be of use.
    Raises ValueError for no images or where it did not settle by then.

    >>> import fsgl, numpy as np
    >>> sure = np.array([[0.99, 0.01]] * 8 + [[0.01, 0.99]] * 2)
    >>> fsgl.estimate_prior_em(sure, np.array([1, 1])).round(2).tolist()
    [0.81, 0.19]
    """
    shares = np.asarray(probabilities_NK, dtype=np.float64)
    if not len(shares):
        raise ValueError("a prior is estimated from images, and there are none")
    assumed = np.asarray(assumed_K, dtype=np.float64) / np.sum(assumed_K)
    density = shares / assumed  # of each image given each class, up to a factor of the image
    prior = assumed

    def step(prior: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """One step of EM from here, and the mean log-likelihood here."""
        mixed = density @ prior
        return prior * (density / mixed[:, None]).mean(axis=0), float(np.log(mixed).mean())

    for _ in range(steps):
        once, _ = step(prior)
        if np.abs(once - prior).max() <= tolerance:
            return once
        twice, _ = step(once)
        change, bend = once - prior, twice - 2 * once + prior
        far = max(1.0, float(np.linalg.norm(change) / max(float(np.linalg.norm(bend)), 1e-300)))
        guess = np.maximum(prior + 2 * far * change + far**2 * bend, 1e-3 * twice)
        guess /= guess.sum()
        (settled, likely), (plain, certain) = step(guess), step(twice)
        prior = settled if likely >= certain else plain
    # Of a mixture's mean log-likelihood no point lies higher than here by more than the steepest way up to a class.
    steepest = float((density / (density @ prior)[:, None]).mean(axis=0).max()) - 1
    if len(shares) * steepest <= INDISTINCT:
        return prior
    raise ValueError(f"the estimate of the class frequencies did not settle in {steps} steps")


def estimate_prior_bbse(
    predicted_N: NDArray[np.integer],
    labels_N: NDArray[np.integer],
    predicted_unlabelled_M: NDArray[np.integer],
    classes: int,
) -> NDArray[np.float64]:
    """Class frequencies ``K``, summing to 1, of unlabelled images, from the classes predicted for them.

    predicted, labels: of held-out images, whose confusion P(predicted | class) is taken to hold for the unlabelled ones
    too. Solves P(predicted) = P(predicted | class) P(class) by non-negative least squares (where the confusion is well
    conditioned and the answer positive: its inverse, as in the paper). Raises ValueError for a class without held-out
    image, naming it, for no unlabelled images, and where none is taken for a class that held-out images are taken for.

    >>> import fsgl, numpy as np
    >>> predicted, labels = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])
    >>> fsgl.estimate_prior_bbse(predicted, labels, np.array([0, 0, 0, 1]), classes=2).tolist()
    [0.75, 0.25]
    """
    from scipy.optimize import nnls

    if not len(predicted_unlabelled_M):
        raise ValueError("a prior is estimated from images, and there are none")
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (predicted_N, labels_N), 1.0)
    held_out = confusion.sum(axis=0)
    if not (held_out > 0).all():
        raise ValueError(f"class {int((held_out == 0).argmax())} has no held-out image, so its confusion is not known")
    seen = np.bincount(predicted_unlabelled_M, minlength=classes) / len(predicted_unlabelled_M)
    prior, _ = nnls(confusion / held_out, seen)
    if not prior.any():
        raise ValueError("the unlabelled images are taken for classes that no held-out image is taken for")
    return np.asarray(prior / prior.sum())
