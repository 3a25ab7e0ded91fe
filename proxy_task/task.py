"""`ProxyTask`: opened once per worker, then called for one candidate after the other."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spinesearch.data.open import ProxyData
from spinesearch.models.gpu import folded, mark_for_gpu
from spinesearch.proxy_task.computed_on import computed_on
from spinesearch.proxy_task.model import build_model, network_cost_of
from spinesearch.proxy_task.request import DETECTIONS, STATE, WEIGHTS, WHOLE, Trained, TrainingRequest
from spinesearch.proxy_task.result import TaskResult
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.space import ArchSpec, ResNetSpec
from spinesearch.training.input.device_pack import TrainingBatches
from spinesearch.training.measure.classify import class_scores, classify_images, true_classes
from spinesearch.training.measure.curve import Curve
from spinesearch.training.measure.evaluate import CocoMetrics, coco_metrics, evaluation_case, mask_ap
from spinesearch.training.measure.evaluators import find_evaluator
from spinesearch.training.measure.found import Found, find_objects, mask_pair
from spinesearch.training.measure.matched import matched_bytes
from spinesearch.training.optim.optimizer import num_constant_steps
from spinesearch.training.process.device_memory import limit_share, return_unused
from spinesearch.training.process.failures import released
from spinesearch.training.process.machine import find_device, fix_precision, keep_freed_memory, threads
from spinesearch.training.process.stopwatch import Lap, no_lap
from spinesearch.training.process.streams import (
    AUGMENTATION,
    INIT,
    ORDER,
    RECALIBRATION,
    seed_global,
    stream_generator,
    stream_seed,
)
from spinesearch.training.recipe import CLASSIFICATION
from spinesearch.training.step.captured_step import GraphSession
from spinesearch.training.step.capturing import Capturing
from spinesearch.training.step.cuda_graph import find_session
from spinesearch.training.step.state import TrainingState
from spinesearch.training.step.train import recalibrate_batch_norm, train
from spinesearch.training.targets.task_anchors import task_anchors

PHASES = ("build", "recalibration", "evaluation")  # of a candidate's time, besides the steps of its training


class ProxyTask:
    """Trains a small detector, or a classifier, on a candidate's backbone and scores it on held-out images.

    Args:
        settings: how.
        data: on what; opened at ``settings.image_size``.
        gpu_share: of a GPU's memory that is this process's, in (0, 1].

    Raises:
        ValueError: the settings and the data or the machine do not fit together.
    """

    def __init__(self, settings: ProxySettings, data: ProxyData, *, gpu_share: float = 1.0) -> None:
        side = data.pack.images.shape[1]
        if side != settings.image_size:
            raise ValueError(
                f"proxy_task.image_size: is {settings.image_size} but the data were opened at {side}; "
                "open them again"
            )
        if settings.needs_masks and data.masks is None:
            raise ValueError(
                "proxy_task.detector: mask_rcnn needs masks, which these data were opened without"
            )
        keep_freed_memory()
        self.settings = settings
        self.data = data.with_merged_classes() if settings.merge_classes else data
        self.device = find_device(settings.device)
        self._precision = fix_precision(self.device)
        self._is_shared = gpu_share < 1
        limit_share(self.device, gpu_share)
        is_kept = settings.pack_on_device == "auto"
        self._batches = TrainingBatches(self.data, self.device, is_kept=is_kept)
        # The step of a Mask R-CNN asks in between what suppression has left.
        cuda_graph = "off" if settings.needs_masks else settings.cuda_graph
        self.capturing = Capturing(self.device, find_session(cuda_graph, self.device))
        find_evaluator(settings.evaluator)
        is_on_gpu = self.device.type == "cuda"
        self._is_for_gpu = settings.kernels == "all" and is_on_gpu and not settings.needs_masks
        most = settings.bn_recalibration_batch_size if is_on_gpu else None  # few images take as long as many
        self._scoring_batch_size = max(settings.batch_size, most or 0)
        self.recipe = settings.recipe(len(data.train_index))
        self._anchors = task_anchors(settings).to(self.device)

    def score(
        self,
        spec: ArchSpec | ResNetSpec,
        seed: int,
        *,
        on_step: Callable[[int, float], None] | None = None,
        lap: Lap = no_lap,
    ) -> TaskResult:
        """Result of this candidate: built, trained, evaluated; see `train`."""
        return self.train(spec, seed, on_step=on_step, lap=lap).result

    def train(
        self,
        spec: ArchSpec | ResNetSpec,
        seed: int,
        request: TrainingRequest = WHOLE,
        *,
        on_step: Callable[[int, float], None] | None = None,
        lap: Lap = no_lap,
    ) -> Trained:
        """Result of this candidate and the files that are asked for.

        On the CPU it is a function of spec, settings, data, seed and number of steps alone, bit for bit, in
        any process and after anything. torch's global random state and number of threads are as before when
        it returns.

        Args:
            spec: the backbone.
            seed: decides initialisation, order of the images and augmentation; at least 0.
            request: how far it is trained, from where, and what comes back besides the result.
            on_step: called with (step, loss), on the CPU after every step; from the first again if a capture
                failed.
            lap: called at the end of each of `PHASES` and, between them, of each phase of every step.

        Raises:
            TrainingDiverged: the loss stopped being finite.
            OutOfMemory: the candidate needs more memory than there is.
            DeviceLost, DeviceCrowded: this process is of no use any more, or has no room beside others.
            Exception: whatever else went wrong. No error holds on to a tensor, and this task stays usable.
        """
        cuda = [self.device] if self.device.type == "cuda" else []
        with threads(self.settings.num_threads), torch.random.fork_rng(devices=cuda):
            try:
                trained = self.capturing.run(partial(self._train, spec, seed, request, on_step, lap))
                if self._is_shared:
                    return_unused(self.device)
                return trained
            except Exception as error:  # what it held is returned with it
                raise released(error, self.device) from None

    def _train(
        self,
        spec: ArchSpec | ResNetSpec,
        seed: int,
        request: TrainingRequest,
        on_step: Callable[[int, float], None] | None,
        lap: Lap,
        session: GraphSession | None,
    ) -> Trained:
        begin = time.perf_counter()
        recipe = replace(self.recipe, num_steps=request.num_steps or self.recipe.num_steps)
        state = None if request.state is None else TrainingState.from_bytes(request.state)
        first = 0 if state is None else state.step
        has_state = STATE in request.wants and recipe.schedule == "constant_decay"
        files: dict[str, bytes] = {}
        seed_global(stream_seed(seed, INIT), self.device)  # for initialisers and stochastic depth
        model = build_model(spec, self.settings, num_classes=self.data.num_classes).to(self.device)
        if self._is_for_gpu:
            mark_for_gpu(model)
        lap("build")

        train_start = time.perf_counter()
        curve = Curve(
            model,
            self.settings.measure_at,
            lambda: float(self._measured(model, seed)[0][self._main_metric]),
            on_step,
            losses=() if state is None else state.losses,
            aps={} if state is None else state.aps,
        )
        order = stream_generator(seed, ORDER)
        batches = self._batches.raw(recipe.num_steps, recipe.batch_size, order, first=first)
        loss = train(
            model,
            curve.between_steps(batches),
            self._anchors,
            recipe,
            generator=stream_generator(seed, AUGMENTATION),
            on_step=curve.on_step,
            lap=lap,
            session=session,
            pack=self._batches.pack,
            start=state,
            state_at=num_constant_steps(recipe) if has_state else None,
            on_state=lambda state: files.update({STATE: replace(state, aps=dict(curve.aps)).to_bytes()}),
        )
        train_seconds = time.perf_counter() - train_start
        metrics, found = self._measured(model, seed, lap)
        cost = network_cost_of(spec, self.settings, self.data.num_classes)
        if found is not None and DETECTIONS in request.wants:
            case = evaluation_case(self.data.scored.dataset, self.data.scored.held_out_index, *found[:3])
            files[DETECTIONS] = matched_bytes(case)
        if WEIGHTS in request.wants:
            files |= _weight_files(model)
        result = TaskResult(
            **metrics,
            loss=loss,
            mean_loss=curve.mean_loss,
            curve=curve.points,
            num_steps=recipe.num_steps,
            num_parameters=cost.parameters,
            num_multiply_adds=cost.multiply_adds,
            seconds=time.perf_counter() - begin,
            train_seconds=train_seconds,
            images_per_s=(recipe.num_steps - first) * self.settings.batch_size / train_seconds,
            device=computed_on(self.settings, self.device, self._precision),
        )
        return Trained(result=result, files=files)

    @property
    def _main_metric(self) -> str:
        return "top1" if self.settings.task == CLASSIFICATION else "ap"

    def _measured(
        self, model: nn.Module, seed: int, lap: Lap = no_lap
    ) -> tuple[dict[str, Any], Found | None]:
        """Metrics by name and the detections they are of, statistics taken anew if the settings say so."""
        if num_batches := self.settings.bn_recalibration_batches:
            batch_size = self.settings.bn_recalibration_batch_size or self.settings.batch_size
            batches = self._batches.whole(num_batches, batch_size, stream_generator(seed, RECALIBRATION))
            recalibrate_batch_norm(model, batches, self._anchors, self.recipe)
        lap("recalibration")
        if self.settings.task == CLASSIFICATION:
            scores = self._classified(model)
            lap("evaluation")
            return scores, None
        found = self.find(model)
        metrics = self.metrics(found)
        lap("evaluation")
        assert metrics.ap is not None, "open_data ensures that there are held-out objects"
        numbers = asdict(metrics)
        if self.settings.needs_masks:
            masks = mask_pair(self.data.scored, found)
            assert masks is not None
            numbers["mask_ap"] = mask_ap(
                self.data.scored.dataset,
                self.data.scored.held_out_index,
                *found[:3],
                masks,
                evaluator=self.settings.evaluator,
                num_threads=self.settings.num_threads,
            )
        return numbers, found

    def evaluate(self, model: nn.Module) -> CocoMetrics:
        """COCO metrics of a model on the images to score on; the model is left in evaluation mode."""
        return self.metrics(self.find(model))

    def metrics(self, found: Found) -> CocoMetrics:
        """COCO metrics of what was found in the images to score on."""
        return coco_metrics(
            self.data.scored.dataset,
            self.data.scored.held_out_index,
            *found[:3],
            evaluator=self.settings.evaluator,
            num_threads=self.settings.num_threads,
        )

    def find(self, model: nn.Module) -> Found:
        """What a model finds in the images to score on; the model is left in evaluation mode."""
        model.eval()
        return find_objects(
            folded(model) if self._is_for_gpu else model,
            self.data.scored,
            self.data.scored.held_out_index,
            self._anchors,
            batch_size=self._scoring_batch_size,
            precision=self.recipe.precision,
        )

    def _classified(self, model: nn.Module) -> dict[str, Any]:
        """Top-1 and top-5 on the images to score on."""
        data = self.data.scored
        model.eval()
        seen = classify_images(
            folded(model) if self._is_for_gpu else model,
            data,
            data.held_out_index,
            batch_size=self._scoring_batch_size,
            precision=self.recipe.precision,
        )
        return dict(class_scores(seen, true_classes(data, data.held_out_index)).summary)


def _weight_files(model: nn.Module) -> dict[str, bytes]:
    """What `save_weights` writes of a trained network, by file name."""
    # Here, as a machine that only measures has no safetensors.
    from spinesearch.models.weights.files import save_weights

    with tempfile.TemporaryDirectory() as folder:
        save_weights(model, Path(folder) / WEIGHTS)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}
