"""Search strategies: integer tokens in, integer tokens out. Imports none of the other packages.

Import a strategy from its module (`spinesearch.controller.reinforce` needs torch).
"""

from spinesearch.controller.protocol import Controller, DecisionSpace, Rollout, Suggestion

__all__ = ["Controller", "DecisionSpace", "Rollout", "Suggestion"]
