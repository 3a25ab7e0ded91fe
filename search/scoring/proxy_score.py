"""The proxy task as the search's `Score`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spinesearch.data.data_settings import DataSettings
from spinesearch.data.open import ProxyData, reopen_data
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.search.scoring.scorer import Score
from spinesearch.space import ArchSpec


def open_proxy_score(settings: ProxySettings, data: DataSettings, data_key: str) -> Score:
    """Open the data set on this machine and give the function that scores candidates on it.

    Raises:
        DataError: the data set cannot be opened here, or is not the one of ``data_key``.
    """
    return proxy_score(settings, reopen_data(data, image_size=settings.image_size, key=data_key))


def proxy_score(settings: ProxySettings, data: ProxyData) -> Score:
    """The function that scores candidates on data opened already."""
    from spinesearch.proxy_task.task import ProxyTask

    task = ProxyTask(settings, data)

    def score(spec: ArchSpec, seed: int) -> Mapping[str, Any]:
        return task.score(spec, seed).to_dict()

    return score
