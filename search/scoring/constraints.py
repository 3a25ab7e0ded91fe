"""What a network may cost: decided from its spec, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.results.ledger.trial import Latency
from spinesearch.space import ArchSpec, SearchSpace
from spinesearch.space.cost import Cost
from spinesearch.space.cost.latency_table import LatencyTable

if TYPE_CHECKING:
    import numpy as np

# Uniform samples that are looked at for one within the limits. A limit that one network in a hundred keeps to
# is met with a probability of 1 - 4e-5.
_MAX_DRAWS = 1000
# Mutations of one network that are looked at: all of the paper's space are some 250.
_MAX_MUTATIONS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The most that a network may cost; None for no limit.

    Attributes:
        cost: of the detector that is trained, as its result records it.
        max_multiply_adds: for one image.
        max_parameters: in all.
        max_latency_ms: by the table.
        table: of latencies on a device that is elsewhere; without one, they are measured where candidates
            are trained, just before (`TrainingRequest.max_latency_ms`).
    """

    cost: Callable[[ArchSpec], Cost]
    max_multiply_adds: float | None
    max_parameters: float | None
    max_latency_ms: float | None = None
    table: LatencyTable | None = None

    def excess(self, spec: ArchSpec) -> str:
        """By what a network is over a limit, in words; empty if it is within all."""
        for name, value, most in self._costs(spec):
            if value > most:
                if self.table is not None and name == "latency_ms":
                    return too_slow(value, self.table.device, most)
                return f"{value:,} {name.replace('_', '-')}, search.max_{name} is {most:,.0f}"
        return ""

    def overrun(self, spec: ArchSpec) -> float:
        """What a network costs as a share of what it may, by the limit that it is furthest over."""
        return max(value / most for _, value, most in self._costs(spec))

    def _costs(self, spec: ArchSpec) -> Iterator[tuple[str, float, float]]:
        """What is limited, what it is of a network, and the limit."""
        cost = self.cost(spec)
        if self.max_multiply_adds is not None:
            yield "multiply_adds", cost.multiply_adds, self.max_multiply_adds
        if self.max_parameters is not None:
            yield "parameters", cost.parameters, self.max_parameters
        if self.table is not None and self.max_latency_ms is not None:
            yield "latency_ms", self.table.latency_ms(spec), self.max_latency_ms

    def latency(self, spec: ArchSpec) -> Latency | None:
        """By the table; None without one."""
        return None if self.table is None else Latency(self.table.latency_ms(spec), self.table.device)


def too_slow(ms: float, device: str, max_latency_ms: float) -> str:
    """By what a latency is over its limit, in words."""
    return f"{ms:g} ms on {device}, search.max_latency_ms is {max_latency_ms:g}"


def limits_of(
    proxy: ProxySettings,
    num_classes: int,
    *,
    max_multiply_adds: float | None,
    max_parameters: float | None,
    max_latency_ms: float | None = None,
    table: LatencyTable | None = None,
) -> Limits | None:
    """The limits on the detectors of a proxy setting that follow from specs; None without any.

    ``num_classes`` are those that are trained (`ProxySettings.num_trained_classes`).
    """
    if max_multiply_adds is None and max_parameters is None and table is None:
        return None
    from spinesearch.proxy_task.model import network_cost_of

    return Limits(
        cost=lambda spec: network_cost_of(spec, proxy, num_classes),
        max_multiply_adds=max_multiply_adds,
        max_parameters=max_parameters,
        max_latency_ms=max_latency_ms,
        table=table,
    )


def limited(space: SearchSpace, limits: Limits) -> SearchSpace:
    """A space whose samples and mutations keep to limits, as far as a bounded number of draws finds some.

    A network over a limit has no identity there, so that strategies draw again. Choices, completions and size
    are those of the whole space.

    Raises:
        ValueError: no sample keeps to them; the message has the cheapest.
    """
    import numpy as np

    found = _Limited(space, limits)
    rng = np.random.default_rng(0)
    drawn: list[ArchSpec] = []
    while not drawn or limits.excess(drawn[-1]):
        if len(drawn) == _MAX_DRAWS:
            raise ValueError(_unattainable(space, limits, drawn))
        drawn.append(space.decode(space.sample(rng)))
    return cast(SearchSpace, found)


def _unattainable(space: SearchSpace, limits: Limits, drawn: Sequence[ArchSpec]) -> str:
    cheapest = min(drawn, key=limits.overrun)
    return (
        f"search: none of {len(drawn):,} random networks of the space {space.name} is cheap enough: the "
        f"cheapest, {cheapest.arch_id}, has {limits.excess(cheapest)}; allow more, or make the networks "
        "narrower (proxy_task.filter_size_scale)"
    )


class _Limited:
    """See `limited`."""

    def __init__(self, space: SearchSpace, limits: Limits) -> None:
        self._space = space
        self._limits = limits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._space, name)

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        """The first of some uniform samples that is within the limits; without one, the last."""
        return self._first_within(lambda: self._space.sample(rng), _MAX_DRAWS)

    def mutate(self, tokens: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
        """The first of some mutations that is within the limits; without one, the last."""
        return self._first_within(lambda: self._space.mutate(tokens, rng), _MAX_MUTATIONS)

    def identity(self, tokens: Sequence[int]) -> str | None:
        """That of the space, within the limits."""
        return self._space.identity(tokens) if self._is_within(tokens) else None

    def _is_within(self, tokens: Sequence[int]) -> bool:
        return not self._limits.excess(self._space.decode(tokens))

    def _first_within(self, draw: Callable[[], tuple[int, ...]], count: int) -> tuple[int, ...]:
        for _ in range(count):
            tokens = draw()
            if self._is_within(tokens):
                break
        return tokens
