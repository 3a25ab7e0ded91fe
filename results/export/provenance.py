"""What the provenance of an exported spec says to those who build its network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def searched_with(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """The proxy setting that an architecture was scored under, as far as its provenance says."""
    setting = provenance.get("proxy_task")
    return setting if isinstance(setting, dict) else {}
