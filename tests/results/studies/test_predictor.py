"""The baseline that trains nothing: what features predict of networks that it was not fitted to."""

import numpy as np

from spinesearch.results.studies.predictor import cross_validated
from spinesearch.results.studies.rank_correlation import kendall_tau


def test_features_that_decide_the_score_predict_it_and_noise_does_not():
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(60, 20)), np.ones((60, 1))], axis=1)  # one is constant
    scores = 0.3 + 0.05 * features[:, 0] - 0.03 * features[:, 1] + 0.005 * rng.normal(size=60)
    found = kendall_tau(cross_validated(features, scores), scores)
    assert found is not None
    assert found.value > 0.8
    taus = []
    for _ in range(30):
        noise = kendall_tau(cross_validated(features, values := rng.normal(size=60)), values)
        taus.append(0.0 if noise is None else noise.value)
    # The mean of the networks fitted would rank those left out backwards: the mean tau would be -0.1 or less.
    assert abs(np.mean(taus)) < 0.06


def test_a_network_is_predicted_without_its_own_score():
    rng = np.random.default_rng(1)
    features, scores = rng.normal(size=(30, 4)), rng.normal(size=30)
    before = cross_validated(features, scores)
    scores[7] += 100.0
    assert cross_validated(features, scores)[7] == before[7]
