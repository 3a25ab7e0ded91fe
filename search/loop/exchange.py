"""What passes between a controller and the ledger: `proposal` there, `rollout` back."""

from __future__ import annotations

from typing import Any

from spinesearch.controller import Rollout, Suggestion
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.trial import Trial
from spinesearch.space import ArchSpec


def proposal(number: int, generation: int, suggestion: Suggestion, spec: ArchSpec) -> Event:
    """The ledger's event of a candidate."""
    event: dict[str, Any] = {
        "event": "propose",
        "trial": number,
        "generation": generation,
        "tokens": list(suggestion.tokens),
        "arch_id": spec.arch_id,
    }
    if suggestion.log_probs is not None:
        event["log_probs"] = list(suggestion.log_probs)
    return event | ({"info": dict(suggestion.info)} if suggestion.info else {})


def rollout(trial: Trial) -> Rollout:
    """What the controller gets of a trial; of one that the infrastructure failed it has no reward."""
    trial = trial.learnt or trial
    assert trial.status != "proposed"
    return Rollout(
        trial=trial.trial,
        tokens=trial.tokens,
        log_probs=trial.log_probs,
        info=trial.info,
        status="lost" if trial.is_masked else trial.status,
        reward=trial.reward,
        metrics=trial.metrics,
        rung=trial.rung,
    )
