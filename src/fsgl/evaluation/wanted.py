"""Which classes would gain most by more training images, and how many: accuracy against number, over classes.

    P(right | class k) = sigmoid(a + b log n_k + r_k)

a and b are fitted by maximum likelihood on held-out images, whether each was right; r_k is what is left of class k, its
share of right ones drawn to the curve by ``PRIOR`` images that lie on it. What a class would reach with more images is
read off the curve at the same r_k. That is a reading across classes of what has not been tried within one: a class that
is hard for another reason stays hard, and the p-value says only whether the curve rises at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

PRIOR = 4.0  # images


@dataclass(frozen=True)
class Growth:
    """slope: b, of the logit with log n.  p_value: of no slope (likelihood ratio).  share_K: what is expected of each
    class now, in [0, 1]; NaN without held-out images."""

    slope: float
    p_value: float
    share_K: NDArray[np.float64]
    _offset_K: NDArray[np.float64]

    @property
    def rises(self) -> bool:
        """Whether more images are seen to help, at the level of 5 %."""
        return self.slope > 0 and self.p_value < 0.05

    def with_images(self, counts_K: ArrayLike) -> NDArray[np.float64]:
        """Expected share of right ones of each class with so many training images, ``K``."""
        return np.asarray(_sigmoid(self._offset_K + self.slope * np.log(np.asarray(counts_K, dtype=np.float64))))

    def images_for(self, share: float) -> NDArray[np.float64]:
        """Training images of each class at which so large a share is expected, ``K``; infinity without a rise."""
        if self.slope <= 0:
            return np.full(len(self._offset_K), np.inf)
        with np.errstate(over="ignore"):
            return np.asarray(np.exp((np.log(share / (1 - share)) - self._offset_K) / self.slope))


def growth(right_K: ArrayLike, total_K: ArrayLike, counts_K: ArrayLike) -> Growth:
    """Fit the curve. right, total: held-out images of each class that were right, and all.  counts: training images,
    1 or more. Raises ValueError for fewer than three classes with held-out images.

    >>> import fsgl
    >>> found = fsgl.growth(right_K=[95, 17, 9, 2], total_K=[100, 20, 12, 5], counts_K=[400, 80, 20, 5])
    >>> found.rises, bool(found.with_images([400, 80, 20, 20])[3] > found.share_K[3])
    (True, True)
    """
    from scipy.optimize import minimize
    from scipy.stats import chi2

    right, total, counts = (np.asarray(each, dtype=np.float64) for each in (right_K, total_K, counts_K))
    seen = total > 0
    if seen.sum() < 3:
        raise ValueError("a curve over classes needs three that have held-out images")
    log_n = np.log(counts)

    def loss(parameters: NDArray[np.float64]) -> float:
        logit = parameters[0] + (parameters[1] * log_n if len(parameters) > 1 else 0.0)
        # Half an image on either side (Firth's penalty in spirit): where all are right the slope stays finite.
        lies = (right + 0.5 / seen.sum())[seen] * np.logaddexp(0, -logit * np.ones_like(log_n))[seen]
        wrong = (total - right + 0.5 / seen.sum())[seen] * np.logaddexp(0, logit * np.ones_like(log_n))[seen]
        return float((lies + wrong).sum())

    flat, curve = minimize(loss, np.zeros(1)), minimize(loss, np.zeros(2))
    a, b = (float(value) for value in curve.x)
    p_value = float(chi2.sf(max(0.0, 2 * (flat.fun - curve.fun)), 1))
    on_curve = _sigmoid(a + b * log_n)
    share = (right + PRIOR * on_curve) / (total + PRIOR)
    offset = np.log(share / (1 - share)) - b * log_n
    return Growth(b, p_value, np.where(seen, share, np.nan), offset)


def _sigmoid(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logit)))
