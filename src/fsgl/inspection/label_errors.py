"""Labels that are probably wrong, by confident learning (Northcutt et al., JAIR 2021, section 3.1).

Out-of-fold probabilities of a quick model; an image is confidently of a class where the class's probability is at least
the mean that images labelled so get (the threshold t_j of eq. 1). The quick model is a logistic regression on features
of a network trained on ImageNet (pretrained.py) or, where there are none, on 16 x 16 pixels, which finds gross errors
among classes that differ in colour and layout. Its guess is no proof.
"""

from __future__ import annotations

import numpy as np

FOLDS = 4
# Balanced accuracy in %: most of what a weaker model finds wrong is its own mistakes (results/label-errors-stamps.json:
# near this, every second of its surest 40 is a label that was made wrong, of 40 among 782).
TRUSTED_FROM = 50.0
WIDTH = 256  # of longer features the principal components, in which the regression is fitted several times faster
LEAST = 8  # images of a class, below which nothing is said of it
MOST = 20_000  # images the model is fitted to: beyond that a random part


def out_of_fold(features_ND: np.ndarray, labels_N: np.ndarray, seed: int = 0) -> np.ndarray:
    """Probabilities ``N x K`` of each image by a model that has not seen it; K: the classes among the labels, in order.

    features: float.  labels: each with at least FOLDS images.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    steps = [StandardScaler(), LogisticRegression(C=0.01, max_iter=200, class_weight="balanced")]
    fitted = len(labels_N) * (FOLDS - 1) // FOLDS
    if features_ND.shape[1] > WIDTH * 4 and fitted > WIDTH:
        steps.insert(1, PCA(WIDTH, random_state=seed))
    model = make_pipeline(*steps)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return np.asarray(cross_val_predict(model, features_ND, labels_N, cv=folds, method="predict_proba"))


def confident_errors(probabilities_NK: np.ndarray, labels_N: np.ndarray) -> list[tuple[int, int, float]]:
    """(place, class it confidently is, its probability there) of images that are confidently of another class than
    labelled; the surest first. labels: columns of the probabilities."""
    count = probabilities_NK.shape[1]
    thresholds = np.array([probabilities_NK[labels_N == k, k].mean() for k in range(count)])
    confident = np.where(probabilities_NK >= thresholds, probabilities_NK, -1.0)
    best = confident.argmax(axis=1)
    wrong = np.flatnonzero((confident.max(axis=1) >= 0) & (best != labels_N))
    surest = wrong[np.argsort(-probabilities_NK[wrong, best[wrong]], kind="stable")]
    return [(int(i), int(best[i]), float(probabilities_NK[i, best[i]])) for i in surest]


def some_of_each(labels_N: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """Places, ascending, of images of classes that can be judged: about ``most`` at most, at random, LEAST of each."""
    classes = np.flatnonzero(np.bincount(labels_N) >= LEAST)
    judged = np.flatnonzero(np.isin(labels_N, classes))
    if len(judged) <= most:
        return judged
    random = np.random.default_rng(seed)
    share = most / len(judged)
    keep = [random.permutation(judged[labels_N[judged] == k]) for k in classes]
    return np.sort(np.concatenate([part[: max(LEAST, int(share * len(part)))] for part in keep]))


def likely_errors(
    features_ND: np.ndarray, labels_N: np.ndarray, seed: int = 0
) -> tuple[list[tuple[int, int, float]], float, int]:
    """(place, likelier class, probability) of probable errors; the quick model's balanced accuracy in %; images judged.

    features: float. Classes of fewer than LEAST images are not judged; nothing is found where the model is too weak to
    be trusted.
    """
    classes = np.flatnonzero(np.bincount(labels_N) >= LEAST)
    if len(classes) < 2:
        return [], float("nan"), 0
    judged = some_of_each(labels_N, MOST, seed)
    columns = np.searchsorted(classes, labels_N[judged])
    shares = out_of_fold(features_ND[judged], columns, seed)
    predicted = shares.argmax(axis=1)
    accuracy = 100 * float(np.mean([(predicted[columns == k] == k).mean() for k in range(len(classes))]))
    if accuracy < TRUSTED_FROM:
        return [], accuracy, len(judged)
    found = confident_errors(shares, columns)
    return [(int(judged[place]), int(classes[k]), share) for place, k, share in found], accuracy, len(judged)
