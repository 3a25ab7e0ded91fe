"""What is reproduced: searches, trainings, and their least form on generated data (``--scale tiny``)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from spinesearch.data.whole_file import write_whole
from spinesearch.search.config.config_errors import ConfigError

STAGES = ("verify", "search", "train", "evaluate", "table")
SCALES = ("coco", "tiny")
GPU_DAY = "one_gpu_day"
BEST = "best"
_STATE = "reproduction.json"


class PaperSearch(NamedTuple):
    """A search that was published, or this project's for one GPU.

    Attributes:
        words: its settings, as for ``spinesearch search``.
        candidates: that the paper or product sampled; None where nothing was published.
        found: the published model that came out of it; empty if none was published.
    """

    words: tuple[str, ...]
    candidates: int | None
    found: str = ""


def _rows(space: str, candidates: int) -> tuple[str, ...]:
    return ("experiment=paper", f"space={space}", f"search.num_trials={candidates}", f"label={space}")


# Candidates sampled until the best was found: section 5.1 of the paper; `cloud`: docs of the product.
SEARCHES: Mapping[str, PaperSearch] = {
    "paper_search": PaperSearch(("experiment=paper",), 14_000, "spinenet49"),
    "r0_sp53": PaperSearch(_rows("r0_sp53", 13_000), 13_000, "r0_sp53"),
    "r14_sp39": PaperSearch(_rows("r14_sp39", 13_000), 13_000),
    "r23_sp30": PaperSearch(_rows("r23_sp30", 10_000), 10_000, "r23_sp30"),
    "r35_sp18": PaperSearch(_rows("r35_sp18", 6_000), 6_000),
    "cloud": PaperSearch(("experiment=cloud",), 1_000),
    GPU_DAY: PaperSearch((f"experiment={GPU_DAY}",), None),
}
# By name: the published model; the best one is what the search found.
TRAININGS = (BEST, "spinenet49", "resnet50_fpn")
NAMES: Mapping[str, Sequence[str]] = {"search": tuple(SEARCHES), "train": TRAININGS, "evaluate": TRAININGS}
RECIPE = "protocol_b"  # the one under which the paper has both SpineNet-49 and ResNet-50-FPN from scratch

_TINY_DATA = (
    "data=generated",
    "data.num_images=24",
    "data.num_val_images=8",
    "data.object_sizes=narrow",
)
_TINY_SEARCH = (
    *_TINY_DATA,
    "data.held_out_share=0.3",
    "proxy_task.image_size=128",
    "proxy_task.filter_size_scale=0.125",
    "proxy_task.stem_filters=16",
    "proxy_task.endpoints_num_filters=16",
    "proxy_task.head_num_convs=1",
    "proxy_task.head_num_filters=16",
    "proxy_task.merge_classes=true",
    "proxy_task.num_epochs=null",
    "proxy_task.num_steps=4",
    "proxy_task.batch_size=4",
    "proxy_task.warmup_steps=1",
    "proxy_task.bn_recalibration_batches=2",
    "proxy_task.precision=float32",
    "search.num_trials=6",  # two of them proposed by what was learnt from the first two
    "search.generation_size=2",
    "search.finalists=1",
    "search.finalist_seeds=1",
    "search.finalist_length=1.0",
    "search.export_top=1",
)
_TINY_TRAINING = (
    *_TINY_DATA,
    "train.image_size=128",
    "train.filter_size_scale=0.125",
    "train.stem_filters=16",
    "train.endpoints_num_filters=16",
    "train.head_num_convs=1",
    "train.head_num_filters=16",
    "train.num_epochs=2",
    "train.decay_epochs=[1]",
    "train.warmup_epochs=0.5",
    "train.batch_size=8",
    "train.scale_jitter=[0.8,1.25]",
    "train.bn_momentum=0.1",
    "train.eval_every_epochs=2",
    "train.precision=float32",
)


def search_words(name: str, scale: str) -> list[str]:
    """The settings of a search, without data and place."""
    return [*SEARCHES[name].words, *(_TINY_SEARCH if scale == "tiny" else ())]


def training_words(scale: str) -> list[str]:
    """The settings of every training, without data and place."""
    return [f"train={RECIPE}", *(_TINY_TRAINING if scale == "tiny" else ("data=coco",))]


class Reproduction:
    """The folder of a reproduction, in which every stage finds what those before it left.

    Attributes:
        folder: it.
        scale: one of `SCALES`.
        searches: folder of their runs.
        trainings: likewise.
    """

    def __init__(self, folder: Path, scale: str) -> None:
        self.folder, self.scale = folder, scale
        self.searches, self.trainings = folder / "searches", folder / "trainings"

    def check(self) -> None:
        """Check that the folder is one of this scale, or can become one.

        Raises:
            ConfigError: it is one of another scale, or holds something else.
        """
        state = self.folder / _STATE
        if state.is_file():
            try:
                scale = json.loads(state.read_bytes())["scale"]
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(f"{state}: is damaged; give another --folder") from error
            if scale != self.scale:
                raise ConfigError(
                    f"--scale: {self.folder} holds a reproduction at scale {scale}, got {self.scale}; give "
                    f"--scale {scale}, or another --folder"
                )
            return
        if self.folder.is_dir():
            # Another process of the same training may be at `begin`.
            is_other = any(not path.name.startswith(f".{_STATE}.") for path in self.folder.iterdir())
        else:
            is_other = self.folder.exists()
        if is_other:
            raise ConfigError(f"--folder: {self.folder} is there and is no reproduction; give another")

    def begin(self) -> None:
        """Make the folder, unless it is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / _STATE, json.dumps({"scale": self.scale}))

    def command(self, *words: str) -> str:
        """The command of a stage, for a line that says what is missing."""
        scale = [] if self.scale == SCALES[0] else ["--scale", self.scale]
        return shlex.join(["spinesearch", "reproduce", *words, *scale, "--folder", str(self.folder)])

    def evaluation(self, name: str) -> Path:
        """The file of a training's evaluation."""
        return self.folder / "evaluations" / f"{name}.json"

    @property
    def verification(self) -> Path:
        """The file of what was verified."""
        return self.folder / "verify.json"
