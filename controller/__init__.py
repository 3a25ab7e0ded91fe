"""Search strategies: integer tokens in, integer tokens out. Imports none of the other packages.

`spinesearch.controller.strategies` holds them all by name; import one from its module.
"""

from spinesearch.controller.protocol import Controller, DecisionSpace, Rollout, Suggestion

__all__ = ["Controller", "DecisionSpace", "Rollout", "Suggestion"]
