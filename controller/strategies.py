"""All search strategies, by the names that `conf/controller` gives them: here a new one is added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from spinesearch.controller.bayesian import BayesianSettings
from spinesearch.controller.evolution import EvolutionSettings
from spinesearch.controller.local_search import LocalSearchSettings
from spinesearch.controller.ppo import PpoSettings
from spinesearch.controller.protocol import Controller, DecisionSpace
from spinesearch.controller.random import RandomSettings
from spinesearch.controller.reinforce import ReinforceSettings


class ControllerSettings(Protocol):
    """The settings of a strategy, a frozen dataclass: plain data, and what builds it."""

    @property
    def name(self) -> str:
        """What `conf/controller` calls it."""

    def build(self, space: DecisionSpace, *, seed: int) -> Controller:
        """The strategy in its initial state.

        Args:
            space: what it chooses from.
            seed: the run's.
        """


STRATEGIES: Mapping[str, type[Any]] = {
    "random": RandomSettings,
    "reinforce": ReinforceSettings,
    "ppo": PpoSettings,
    "evolution": EvolutionSettings,
    "local_search": LocalSearchSettings,
    "bayesian": BayesianSettings,
}
