"""The error for data that cannot be used."""

from __future__ import annotations


class DataError(ValueError):
    """A data set, one of its files or a `data.*` setting breaks a rule.

    The message is one line for the user: what, its value, the rule and the next step.
    """
