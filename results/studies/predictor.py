"""What graph features alone know of a score, as a baseline: cross-validated ridge regression."""

from __future__ import annotations

import numpy as np

from spinesearch.results.studies.resamples import Floats

_NUM_FOLDS = 10
_PENALTIES = np.logspace(-2, 5, 15)  # on coefficients of standardised features
LEAST_ARCHS = 20  # fewer teach a hundred features nothing


def cross_validated(features: Floats, scores: Floats) -> Floats:
    """A prediction for each network by a model that was fitted to the networks of the other folds, `[N]`.

    They say how far a network is above or below the mean of those fitted. That mean itself is left out: the
    better the networks of a fold are, the lower it is, so that it would rank them the wrong way round.

    Args:
        features: `[N, F]`.
        scores: `[N]`.
    """
    folds = np.random.default_rng(0).permutation(len(scores)) % _NUM_FOLDS
    predicted = np.zeros(len(scores))
    for fold in np.unique(folds):
        is_left_out = folds == fold
        predicted[is_left_out] = _ridge(features[~is_left_out], scores[~is_left_out], features[is_left_out])
    return predicted


def _ridge(features: Floats, scores: Floats, others: Floats) -> Floats:
    """Deviations from the mean score, of `others`; generalised cross-validation sets the penalty."""
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    used = deviation > 0
    x, new = ((v[:, used] - mean[used]) / deviation[used] for v in (features, others))
    y = scores - scores.mean()
    u, singular, vt = np.linalg.svd(x, full_matrices=False)
    projected = u.T @ y

    def error(penalty: float) -> float:
        shrunk = singular**2 / (singular**2 + penalty)
        residual = y - u @ (shrunk * projected)
        return float((residual**2).sum() / (len(y) - 1 - shrunk.sum()) ** 2)

    penalty = min(_PENALTIES, key=error)
    return np.asarray(new @ (vt.T @ (singular / (singular**2 + penalty) * projected)))
