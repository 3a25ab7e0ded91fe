import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from spinesearch.controller import Rollout
from spinesearch.controller.policies.advantages import MovingBaseline, next_ent_coef
from spinesearch.controller.policies.blocks import BlockPolicy
from spinesearch.controller.ppo import PpoController, PpoSettings
from spinesearch.space import SpineNetSpace

SMALL = SpineNetSpace(base_levels={2: 1, 4: 2, 5: 1}, window=3, level_offsets=(0, 1))
SETTINGS = PpoSettings(hidden_size=8, embedding_size=4)


def block_policy(seed: int = 0) -> BlockPolicy:
    """One whose scores are not 0."""
    policy = BlockPolicy(SMALL.decisions, hidden_size=8, embedding_size=4, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in (policy.heads, policy.pointers):
            parameter.uniform_(-1, 1, generator=generator)
    return policy


def samples(count: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.tensor([SMALL.sample(rng) for _ in range(count)])


def test_blocks_are_decided_one_after_another_and_parents_last():
    names = [SMALL.decisions[t].name for t in block_policy().order]
    assert names[:5] == [
        "block 2 base level",
        "block 2 level offset",
        "block 2 type",
        "block 2 nearer parent",
        "block 2 farther parent",
    ]
    assert names[-4:] == ["block 10 output level", "block 10 type", *names[-2:]]
    assert sorted(block_policy().order) == list(range(len(SMALL.decisions)))


def test_step_by_step_and_all_at_once_agree():
    policy, tokens = block_policy(), samples(3)
    with torch.no_grad():
        scores = policy(tokens)
        state = None
        for index, t in enumerate(policy.order):
            stepped, state = policy.step(index, tokens, state)
            assert stepped.shape[1] == SMALL.num_choices[t]
            torch.testing.assert_close(scores[:, t, : stepped.shape[1]], stepped, rtol=1e-4, atol=1e-5)


def test_a_score_depends_on_what_was_decided_before_it_alone():
    """Changing one decision changes no score of it, nor of one before it, but of those after it."""
    policy, tokens = block_policy(), samples(1)
    changed = tokens.clone()
    at = len(policy.order) // 2
    t = policy.order[at]
    changed[0, t] = (changed[0, t] + 1) % SMALL.num_choices[t]
    with torch.no_grad():
        differs = (policy(tokens) - policy(changed)).abs().amax(dim=-1)[0]
    assert differs[list(policy.order[: at + 1])].max() == 0
    assert differs[list(policy.order[at + 1 :])].min() > 0


def test_a_parent_is_chosen_by_its_own_state():
    """Without heads, parents have scores, and nothing else has; they differ by the block pointed at."""
    policy = block_policy()
    with torch.no_grad():
        policy.heads.zero_()
        scores = policy(samples(1))[0]
    for t, decision in enumerate(SMALL.decisions):
        own = scores[t, : decision.num_choices]
        assert (own.abs().max() > 0) == ("parent" in decision.kind)
        if "parent" in decision.kind:
            assert len(own.unique()) == decision.num_choices


@pytest.mark.parametrize("encoding", ["blocks", "sequence"])
def test_the_loss_is_the_formula(encoding: str):
    """Ratios of single choices, clipped where the gain would grow, and the entropy, in plain numbers."""
    settings = replace(SETTINGS, encoding=encoding, num_epochs=1, clip_coef=0.25, ent_coef=0.5)
    controller = PpoController(SMALL, seed=0, settings=settings)
    first, second = controller.suggest(2)
    # As if the policy of then had found the first candidate's choices half as likely, the second's twice.
    told = [
        Rollout(trial=0, tokens=first.tokens, log_probs=shifted(first, -math.log(2)), reward=0.6),
        Rollout(trial=1, tokens=second.tokens, log_probs=shifted(second, math.log(2)), reward=0.2),
    ]
    stats = controller.update(told)
    # The baseline is .4, the deviation .2 and a thousandth.
    advantage = 0.2 / (0.2 + 1e-3)
    gain_first = min(2 * advantage, 1.25 * advantage)
    gain_second = min(0.5 * -advantage, 0.75 * -advantage)
    entropy = stats["entropy"]
    assert stats["baseline"] == pytest.approx(0.4)
    assert stats["loss"] == pytest.approx(-(gain_first + gain_second) / 2 - 0.5 * entropy, rel=1e-4)
    assert stats["ratio"] == pytest.approx((1 + 0.5) / 2, rel=1e-4)


def shifted(suggestion, by: float) -> tuple[float, ...]:
    return tuple(log_prob + by for log_prob in suggestion.log_probs)


def test_success_after_failures_counts_within_a_bound():
    """Without one, the variance of a generation of failures makes an advantage of 300 of it."""
    for bound, expected in ((None, 300), (2.0, 2.0)):
        baseline = MovingBaseline(0.9, bound)
        baseline.advantages([0.0] * 8)
        advantages, _ = baseline.advantages([0.0] * 7 + [0.3])
        if bound is None:
            assert 2.5 < advantages.max().item() < expected
        else:
            assert advantages.max().item() == expected


def test_the_entropy_bonus_grows_below_its_target_and_shrinks_above():
    assert next_ent_coef(0.01, 0.1, target=0.5) > 0.01 > next_ent_coef(0.01, 0.9, target=0.5)
    assert next_ent_coef(0.01, math.nan, target=0.5) == 0.01
    for entropy in (0.0, 5.0):
        ent_coef = 0.01
        for _ in range(200):
            ent_coef = next_ent_coef(ent_coef, entropy, target=0.5)
        assert ent_coef in (1.0, 1e-4)


@pytest.mark.parametrize(
    ("field", "value"),
    [("encoding", "tree"), ("num_epochs", 0), ("clip_coef", 1.0), ("learning_rate", 0.0)],
)
def test_bad_settings_name_the_field(field, value):
    with pytest.raises(ValueError, match=f"controller.{field}: must .*, got '?{value}"):
        PpoSettings(**{field: value})
