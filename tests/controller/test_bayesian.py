import numpy as np
import pytest
import torch

from spinesearch.controller import Rollout
from spinesearch.controller.bayesian import BayesianController, BayesianSettings
from spinesearch.controller.ridge import Ridge, _normal
from spinesearch.space import SpineNetSpace

SPACE = SpineNetSpace(base_levels={2: 1, 4: 2, 5: 1}, window=2, level_offsets=(0, 1))


def linear(count: int, noise: float, d: int = 12) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, noisy rewards and the rewards without noise, about .2 with a deviation of .05."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, d, generator=generator, dtype=torch.float64) * 3 + 7
    weights = torch.randn(d, generator=generator, dtype=torch.float64)
    true = 0.2 + 0.05 * (features - 7) @ weights / 3 / weights.norm()
    return features, true + noise * torch.randn(count, generator=generator, dtype=torch.float64), true


def test_a_linear_reward_is_found_and_its_uncertainty_is_honest():
    """Of 400 predictions about 95 % lie within two standard deviations; here 85 % at least."""
    features, rewards, true = linear(440, noise=0.01)
    model = Ridge.fit(features[:40], rewards[:40].tolist())
    mean, spread = model.predict(features[40:])
    error = (mean - true[40:]).abs()
    assert error.mean() < 0.01
    assert (error < 2 * spread).double().mean() > 0.85
    few = Ridge.fit(features[:6], rewards[:6].tolist())  # fewer results than features
    assert few.predict(features[40:])[1].mean() > 3 * spread.mean()


def test_draws_are_of_the_posterior():
    """Their mean and deviation at a point, of 4,000 draws: standard errors of 1.6 and 1.1 %."""
    features, rewards, _ = linear(30, noise=0.02)
    model = Ridge.fit(features, rewards.tolist())
    point = features[:1]
    mean, spread = model.predict(point)
    values = []
    for seed in range(4000):
        weights = model.draw(np.random.default_rng(seed))
        values.append(((point - model.centre) @ weights * model.reward_scale + model.reward_centre).item())
    assert np.mean(values) == pytest.approx(mean.item(), abs=5 * spread.item() / 63)
    assert np.std(values) == pytest.approx(spread.item(), rel=0.06)


def test_normal_numbers_are_normal():
    numbers = _normal(np.random.default_rng(0), 100_000)
    assert abs(numbers.mean()) < 0.015
    assert numbers.std() == pytest.approx(1, abs=0.01)
    assert (np.abs(numbers) > 1.96).mean() == pytest.approx(0.05, abs=0.004)


@pytest.mark.parametrize("rewards", [[0.3] * 4, [0.0, 0.0, 0.0, 0.4]])
def test_results_that_say_nothing_do_no_harm(rewards):
    """Equal rewards, equal features, a single success."""
    features = torch.ones(4, 3, dtype=torch.float64)
    model = Ridge.fit(features, rewards)
    mean, spread = model.predict(features)
    assert mean.isfinite().all()
    assert spread.isfinite().all()
    assert mean[0].item() == pytest.approx(np.mean(rewards), abs=1e-6)


def test_it_proposes_what_the_model_expects_most_of():
    """The reward is one of the features: after 24 random ones, all are better than most."""
    settings = BayesianSettings(num_initial=24, num_looked_at=128)
    controller = BayesianController(SPACE, seed=0, settings=settings)
    first = controller.suggest(24)
    reward = [float(SPACE.features(s.tokens)[7]) for s in first]
    assert all(suggestion.info == {} for suggestion in first)
    controller.update(
        [
            Rollout(trial=i, tokens=s.tokens, reward=r)
            for i, (s, r) in enumerate(zip(first, reward, strict=True))
        ]
    )
    found = controller.suggest(4)
    values = [float(SPACE.features(s.tokens)[7]) for s in found]
    assert np.mean(values) >= np.quantile(reward, 0.75)
    for suggestion, value in zip(found, values, strict=True):
        assert suggestion.info["prediction"] == pytest.approx(value, abs=6 * suggestion.info["spread"] + 0.5)
        assert suggestion.info.get("parent", 0) in range(24)
    stats = controller.update(
        [
            Rollout(trial=24 + i, tokens=s.tokens, info=s.info, reward=s.info["prediction"] + 0.25)
            for i, s in enumerate(found)
        ]
    )
    assert stats == {"prediction_error": pytest.approx(0.25)}


@pytest.mark.parametrize("field", ["num_initial", "num_incumbents", "num_rounds", "num_looked_at"])
def test_bad_settings_name_the_field(field):
    with pytest.raises(ValueError, match=f"controller.{field}: must be at least [12], got 0"):
        BayesianSettings(**{field: 0})
    with pytest.raises(ValueError, match=r"controller\.exploration: must be finite and not negative, got -1"):
        BayesianSettings(exploration=-1)
