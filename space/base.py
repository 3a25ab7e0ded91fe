"""What every search space offers: `SearchSpace`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np

    from spinesearch.space.arch.spec import ArchSpec


class Decision(NamedTuple):
    """One decision of a space: of which block it decides what, and among how many choices.

    A ``nearer parent`` or ``farther parent`` is decided as its distance back, less one.
    """

    block: int
    kind: str
    num_choices: int

    @property
    def name(self) -> str:
        """For people."""
        return f"block {self.block} {self.kind}"


class SearchSpace(Protocol):
    """A set of architectures, each reached by a fixed number of decisions in a fixed order.

    Example::

        tokens = []
        for _ in space.decisions:
            mask = space.choice_mask(tokens)      # which choices are allowed now
            tokens.append(mask.index(True))
        spec = space.decode(tokens)
    """

    @property
    def name(self) -> str:
        """What the configuration calls it."""

    @property
    def levels(self) -> frozenset[int]:
        """Every level that a block of some spec of this space stands at, the stem's included."""

    @property
    def is_mbconv(self) -> bool:
        """Whether its specs are made of MBConv blocks."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision in order."""

    @property
    def num_choices(self) -> tuple[int, ...]:
        """Number of choices of each decision, before masking."""

    @property
    def size(self) -> int:
        """Exact number of choice sequences the masks allow."""

    def choice_mask(self, prefix: Sequence[int]) -> tuple[bool, ...]:
        """Which choices the decision after ``prefix`` has; at least one."""

    def choice_weights(self, prefix: Sequence[int]) -> tuple[int, ...]:
        """Number of complete sequences that begin with ``prefix`` and then each choice; 0 if not allowed."""

    def decode(self, tokens: Sequence[int]) -> ArchSpec:
        """The spec of a complete choice sequence; `SpecError` if a choice is not allowed."""

    def encode(self, spec: ArchSpec) -> tuple[int, ...]:
        """A choice sequence that decodes to this spec; `SpecError` if it is not in the space."""

    def sample(self, rng: np.random.Generator) -> tuple[int, ...]:
        """A choice sequence drawn uniformly from all allowed ones."""

    def mutate(self, tokens: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
        """A choice sequence one change away, of another network; `SpecError` if there is none."""

    def features(self, tokens: Sequence[int]) -> tuple[float, ...]:
        """What a model of the reward sees, equal for equal networks; `FEATURE_NAMES` says what each is."""

    def identity(self, tokens: Sequence[int]) -> str | None:
        """The `ArchSpec.arch_id` of a sequence; None for a network that is not to be proposed."""
