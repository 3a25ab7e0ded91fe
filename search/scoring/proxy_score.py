"""The proxy task as the search's `Score`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from spinesearch.data.data_settings import DataSettings
from spinesearch.data.open import ProxyData
from spinesearch.data.reopen import reopen_data
from spinesearch.proxy_task.request import INFEASIBLE, LATENCY_DEVICE, LATENCY_MS, WHOLE, TrainingRequest
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.search.scoring.constraints import too_slow
from spinesearch.search.scoring.scorer import Files, Score
from spinesearch.space import ArchSpec, ResNetSpec

if TYPE_CHECKING:
    from spinesearch.proxy_task.task import ProxyTask


def open_proxy_score(
    settings: ProxySettings, data: DataSettings, data_key: str, *, gpu_share: float = 1.0
) -> Score:
    """Open the data set on this machine and give the function that scores candidates on it.

    Raises:
        DataError: the data set cannot be opened here, or is not the one of ``data_key``.
    """
    opened = reopen_data(data, image_size=settings.image_size, key=data_key, masks=settings.needs_masks)
    return proxy_score(settings, opened, gpu_share=gpu_share)


def proxy_score(settings: ProxySettings, data: ProxyData, *, gpu_share: float = 1.0) -> Score:
    """The function that scores candidates on data opened already, with this share of a GPU's memory."""
    from spinesearch.proxy_task.task import ProxyTask

    return ProxyScore(ProxyTask(settings, data, gpu_share=gpu_share))


def few_held_out(data: ProxyData, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The first held-out images with an object, without which there is no AP."""
    found: list[int] = []
    for i in data.held_out_index.tolist():
        if np.any(data.boxes[i]):
            found.append(i)
            if len(found) == count:
                break
    return np.array(found, np.int64)


class ProxyScore:
    """Scores candidates on an opened proxy task: a `SteppedScore`, a `FlexibleScore` and a `WearingScore`.

    Attributes:
        on_step: called with the number of every training step.
    """

    def __init__(self, task: ProxyTask) -> None:
        self._task = task
        self.on_step: Callable[[int], None] = lambda step: None

    @property
    def is_worn(self) -> bool:
        """Whether another process had better score the next candidate."""
        return self._task.capturing.is_worn

    def __call__(self, spec: ArchSpec | ResNetSpec, seed: int) -> Mapping[str, Any]:
        """Metrics of a candidate, trained whole."""
        return self.train(spec, seed, WHOLE)[0]

    def train(
        self, spec: ArchSpec | ResNetSpec, seed: int, request: TrainingRequest
    ) -> tuple[Mapping[str, Any], Files]:
        """Metrics and files of a candidate, see `ProxyTask.train`; with its latency if that is asked for."""
        said: dict[str, Any] = {}
        if request.max_latency_ms is not None:
            from spinesearch.proxy_task.latency import detector_latency

            task = self._task
            ms, device = detector_latency(spec, task.settings, task.data.num_classes, task.device)
            said = {LATENCY_MS: ms, LATENCY_DEVICE: device}
            if ms > request.max_latency_ms:
                return said | {INFEASIBLE: too_slow(ms, device, request.max_latency_ms)}, {}
        trained = self._task.train(spec, seed, request, on_step=lambda step, loss: self.on_step(step))
        return trained.result.to_dict() | said, trained.files
