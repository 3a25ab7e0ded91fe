import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from long_suite import few

from spinesearch.controller import Rollout, Suggestion
from spinesearch.controller.policies.lstm import LstmPolicy
from spinesearch.controller.policies.sampling import inverse_cdf, softmax
from spinesearch.controller.ppo import PpoSettings
from spinesearch.controller.reinforce import IN_OLD_LEDGERS, ReinforceController, ReinforceSettings
from spinesearch.space import SpineNetSpace

SPACE = SpineNetSpace()
SMALL = SpineNetSpace(base_levels={2: 1, 4: 2, 5: 1}, window=2, level_offsets=(0, 1))
OLD = ReinforceSettings(**IN_OLD_LEDGERS)


class Coins:
    """Three decisions of two and three choices; after choice 1 the next decision has no choice 0."""

    num_choices = (2, 3, 2)
    size = 8

    def choice_mask(self, prefix):
        n = self.num_choices[len(prefix)]
        return tuple(not (prefix and prefix[-1] == 1 and c == 0) for c in range(n))

    def choice_weights(self, prefix):
        if len(prefix) == 3:
            return (1,)
        allowed = self.choice_mask(prefix)
        return tuple(sum(self.choice_weights((*prefix, c))) * allowed[c] for c in range(len(allowed)))

    def identity(self, tokens):
        return str(tokens)

    def sample(self, rng):
        raise AssertionError("REINFORCE samples from its policy")


def as_rollouts(suggestions: list[Suggestion], rewards: list[float]) -> list[Rollout]:
    return [
        Rollout(trial=i, tokens=s.tokens, log_probs=s.log_probs, reward=r)
        for i, (s, r) in enumerate(zip(suggestions, rewards, strict=True))
    ]


def policy_log_prob(controller: ReinforceController, rollout: Rollout) -> float:
    tokens = torch.tensor([rollout.tokens])
    with torch.no_grad():
        log_probs = controller._learner.log_probs(tokens)
    return log_probs.gather(-1, tokens[..., None]).sum().item()


@pytest.mark.parametrize("strategy", [ReinforceSettings(), PpoSettings(), PpoSettings(encoding="sequence")])
@pytest.mark.parametrize("space", [SPACE, SMALL])
def test_an_untrained_policy_is_random_search(strategy, space):
    """Of every sequence the log-probability is that of uniform sampling: 70 times half a 1e-8 off at most."""
    for suggestion in strategy.build(space, seed=0).suggest(5):
        assert sum(suggestion.log_probs) == pytest.approx(-math.log(space.size), abs=5e-7)


def test_an_untrained_policy_of_an_old_run_prefers_no_choice():
    controller = ReinforceController(Coins(), seed=0, settings=OLD)
    for suggestion in controller.suggest(50):
        expected = 0.0
        for t in range(3):
            expected -= math.log(sum(Coins().choice_mask(suggestion.tokens[:t])))
        assert sum(suggestion.log_probs) == pytest.approx(expected, abs=2e-8)


def test_choices_are_sampled_with_their_probability():
    """A million uniforms through the inverse CDF; the standard error of a share is below 5e-4."""
    probs = softmax(np.array([[0.3, -1.0, -np.inf, 0.0]]))
    weights = np.exp([0.3, -1.0, -np.inf, 0.0])
    np.testing.assert_allclose(probs[0], weights / weights.sum(), rtol=1e-12)
    uniforms = np.random.default_rng(0).random(1_000_000)
    chosen = inverse_cdf(np.repeat(probs, len(uniforms), axis=0), uniforms)
    np.testing.assert_allclose(np.bincount(chosen, minlength=4) / len(uniforms), probs[0], atol=2.5e-3)
    edges = inverse_cdf(np.repeat(probs, 2, axis=0), np.array([0.0, 1 - 1e-16]))
    assert edges.tolist() == [0, 3]


def test_sampling_and_teacher_forcing_agree():
    """The log-probability in the ledger is the one the update computes, to float32."""
    controller = ReinforceController(SPACE, seed=1)
    suggestions = controller.suggest(6)
    controller.update(as_rollouts(suggestions, [0.1, 0.3, 0.0, 0.2, 0.15, 0.4]))
    for rollout in as_rollouts(controller.suggest(6), [0.0] * 6):
        # 70 decisions, each rounded to float32: about 70 * 6e-8 * |log_prob| of some units.
        assert policy_log_prob(controller, rollout) == pytest.approx(sum(rollout.log_probs), abs=1e-3)


def test_policy_gradient_by_finite_differences():
    policy = LstmPolicy((2, 3, 2), hidden_size=4, embedding_size=3, seed=0).double()
    with torch.no_grad():
        policy.head_weight.uniform_(-1, 1)
    tokens = torch.tensor([[1, 2, 0], [0, 0, 1]])
    masks = torch.tensor([[[1, 1, 0], [0, 1, 1], [1, 1, 0]], [[1, 1, 0], [1, 1, 1], [1, 1, 0]]]).bool()

    def log_prob() -> torch.Tensor:
        scores = policy(tokens).masked_fill(~masks, -torch.inf)
        return torch.log_softmax(scores, dim=-1).gather(-1, tokens[..., None]).sum()

    log_prob().backward()
    for parameter in policy.parameters():
        assert parameter.grad is not None
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(0, len(flat), max(1, len(flat) // 7)):
            with torch.no_grad():
                old = flat[i].item()
                flat[i] = old + 1e-6
                above = log_prob().item()
                flat[i] = old - 1e-6
                below = log_prob().item()
                flat[i] = old
            assert gradient[i].item() == pytest.approx((above - below) / 2e-6, rel=1e-5, abs=1e-8)


def test_the_loss_is_the_formula():
    """Generation 1 in plain numbers: baseline, normalised advantage, truncated ratio, entropy bonus."""
    settings = replace(OLD, ent_coef=0.5, baseline_decay=0.75, max_importance_ratio=1.25)
    controller = ReinforceController(Coins(), seed=0, settings=settings)
    first = as_rollouts(controller.suggest(2), [0.2, 0.6])
    stats = controller.update(first)
    assert stats["baseline"] == pytest.approx(0.4)  # the first generation is its own baseline
    second = controller.suggest(2)
    # As if an older policy had found the first candidate half as likely, the second twice as likely.
    second = [
        Suggestion(tokens=second[0].tokens, log_probs=(*second[0].log_probs, -math.log(2))),
        Suggestion(tokens=second[1].tokens, log_probs=(*second[1].log_probs, math.log(2))),
    ]
    rollouts = as_rollouts(second, [0.5, 0.1])
    log_probs = [policy_log_prob(controller, rollout) for rollout in rollouts]
    entropy = 0.0
    with torch.no_grad():
        all_log_probs = controller._learner.log_probs(torch.tensor([r.tokens for r in rollouts]))
    for n in range(2):
        for t in range(3):
            entropy -= sum(lp.exp().item() * lp.item() for lp in all_log_probs[n, t] if lp > -torch.inf) / 6
    # Variance around the baseline: 0.04 of the first generation, then (0.01 + 0.09) / 2 = 0.05 at a quarter
    # weight.
    deviation = math.sqrt(0.75 * 0.04 + 0.25 * 0.05) + 1e-3  # a thousandth of AP is noise
    terms = [1.25 * (0.5 - 0.4) / deviation * log_probs[0], 0.5 * (0.1 - 0.4) / deviation * log_probs[1]]
    stats = controller.update(rollouts)
    assert stats["loss"] == pytest.approx(-sum(terms) / 2 - 0.5 * 3 * entropy, rel=1e-4)
    assert stats["entropy"] == pytest.approx(entropy, rel=1e-4)
    assert stats["importance_ratio"] == pytest.approx((1.25 + 0.5) / 2, rel=1e-4)
    assert stats["baseline"] == pytest.approx(0.4)
    assert controller.update(rollouts)["baseline"] == pytest.approx(0.75 * 0.4 + 0.25 * 0.3)


@pytest.mark.parametrize("seed", few(range(3), 1))
def test_it_learns(seed: int):
    """The reward is the share of choices equal to one network's: far above random, soon.

    Random candidates share .4 of the 16 choices, with a deviation of .12; the mean of 80 of them would pass
    the threshold by chance with a probability below 1e-20. Seeds 0 to 3 came to .77 to .81.
    """
    space = SpineNetSpace(
        base_levels={2: 1, 4: 2},
        fixed_order=(4, 2, 4, 7, 6, 5, 4, 3),
        level_offsets=(0,),
        block_types=("residual",),
    )
    target = np.array(space.sample(np.random.default_rng(99)))
    controller = ReinforceController(space, seed=seed)
    shares = []
    for _ in range(15):
        suggestions = controller.suggest(16)
        hits = [float((np.array(s.tokens) == target).mean()) for s in suggestions]
        controller.update(as_rollouts(suggestions, hits))
        shares += hits
    assert np.mean(shares[:80]) < 0.5
    assert np.mean(shares[-80:]) > 0.65


@pytest.mark.parametrize("value", [0.1, 0.3])
@pytest.mark.parametrize("num_rollouts", [4, 7, 8])
def test_equal_rewards_teach_nothing_but_entropy(num_rollouts: int, value: float):
    """Also where their mean is not exactly their value: 7 x 0.1, or a baseline some generations old."""
    controller = ReinforceController(Coins(), seed=0, settings=replace(OLD, ent_coef=0.0))
    before = [p.clone() for p in controller._learner._policy.parameters()]
    for _ in range(6):
        suggestions = controller.suggest(num_rollouts)
        stats = controller.update(as_rollouts(suggestions, [value] * num_rollouts))
        # Rounding of float64, 1e-16, over a deviation of 1e-3, times a few nats.
        assert abs(stats["loss"]) < 1e-11
        assert stats["baseline"] == pytest.approx(value, rel=1e-12)
    for old, new in zip(before, controller._learner._policy.parameters(), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=1e-6)


def test_differences_below_a_thousandth_of_ap_are_not_amplified():
    """A deviation of 7e-7 counts as one of a thousandth: advantages of 1e-3 at most, of a few nats each."""
    controller = ReinforceController(Coins(), seed=0, settings=replace(OLD, ent_coef=0.0))
    for _ in range(3):
        stats = controller.update(as_rollouts(controller.suggest(4), [0.3, 0.3 + 1e-6, 0.3, 0.3 - 1e-6]))
        assert abs(stats["loss"]) < 0.01


def test_rewards_must_be_finite():
    controller = ReinforceController(Coins(), seed=0)
    with pytest.raises(ValueError, match="rewards must be finite"):
        controller.update(as_rollouts(controller.suggest(2), [0.1, float("nan")]))


def test_a_gradient_that_is_no_number_makes_no_step():
    """Its loss is logged; the policy stays one that can be sampled from."""
    controller = ReinforceController(Coins(), seed=0)
    before = [parameter.clone() for parameter in controller._learner._policy.parameters()]
    rollouts = as_rollouts(controller.suggest(2), [0.1, 0.3])
    stats = controller.update([rollouts[0], replace(rollouts[1], log_probs=(math.nan,))])
    assert math.isnan(stats["loss"])
    for parameter, old in zip(controller._learner._policy.parameters(), before, strict=True):
        torch.testing.assert_close(parameter, old, rtol=0, atol=0)
    assert all(sum(suggestion.log_probs) < 0 for suggestion in controller.suggest(4))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", 0),
        ("embedding_size", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("ent_coef", -0.1),
        ("baseline_decay", 1.0),
        ("max_importance_ratio", 0.5),
        ("max_grad_norm", 0.0),
        ("entropy_target", 0.0),
        ("entropy_target", 1.5),
        ("max_advantage", 0.0),
    ],
)
def test_bad_settings_name_the_field(field, value):
    with pytest.raises(ValueError, match=f"controller.{field}: must .*, got {value}"):
        ReinforceSettings(**{field: value})


@pytest.mark.parametrize("settings", [ReinforceSettings(), PpoSettings()])
def test_candidates_without_their_log_probabilities_are_no_lesson(settings):
    controller = settings.build(SPACE, seed=0)
    rollouts = [Rollout(trial=i, tokens=s.tokens, reward=0.1) for i, s in enumerate(controller.suggest(2))]
    with pytest.raises(ValueError, match="log_probs must be those of the suggestion, got None"):
        controller.update(rollouts)


def test_imagined_candidates_move_the_policy_once_there_is_a_model():
    """After 16 results; the real step is as it was, and a restored controller goes on as the first would."""

    def told(controller: ReinforceController, first: int) -> list[Rollout]:
        return [
            Rollout(trial=first + i, tokens=s.tokens, log_probs=s.log_probs, reward=sum(s.tokens) / 100)
            for i, s in enumerate(controller.suggest(8))
        ]

    space = SpineNetSpace(base_levels={2: 1, 4: 2}, window=2)
    settings = ReinforceSettings(num_imagined=2, hidden_size=8, embedding_size=4)
    first = settings.build(space, seed=0)
    plain = replace(settings, num_imagined=0).build(space, seed=0)
    stats = first.update(told(first, 0))
    assert stats == plain.update(told(plain, 0))
    assert first.suggest(4) == plain.suggest(4)
    for generation in range(1, 4):
        second = settings.build(space, seed=0)
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        results = told(first, 8 * generation)
        assert told(second, 8 * generation) == results
        stats = first.update(results)
        assert "imagined_loss" in stats
        assert second.update(results) == stats
        assert second.suggest(4) == first.suggest(4)
    assert "results" not in plain.state_dict()
    with pytest.raises(ValueError, match=r"controller\.num_imagined: must not be negative, got -1"):
        ReinforceSettings(num_imagined=-1)
