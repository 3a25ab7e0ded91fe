"""Runs for the tests: a Ray of their own, settings of a search of seconds, a COCO data set to break."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

# Ray's workers run at niceness 15 unless set otherwise: on a machine that is busy with anything else they
# start in minutes instead of seconds.
os.environ.setdefault("RAY_worker_niceness", "0")


@pytest.fixture(scope="session")
def cluster():
    """A Ray of our own with two processors; its workers can import the tests' support modules."""
    import ray

    # Before, not instead of, what this process was started with: its workers run the same tree.
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:  # Ray's sockets need a short path
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=80 * 1024**2,
            _temp_dir=folder,
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, paths))}},
        )
        yield
        ray.shutdown()


@pytest.fixture
def ray_scorer(cluster):
    """Builds scorers on that Ray, of two workers unless asked for others, which are closed after the test."""
    from spinesearch.search.workers.ray_scorer import RayScorer
    from spinesearch.search.workers.trial_resources import TrialResources

    scorers = []

    def build(open_score, num_workers=2, max_attempts=3, warnings=None, **options):
        scorer = RayScorer(
            open_score,
            num_workers=num_workers,
            resources=TrialResources(cpus=1),
            max_attempts=max_attempts,
            warn=(warnings if warnings is not None else []).append,
            **options,
        )
        scorers.append(scorer)
        return scorer

    yield build
    for scorer in scorers:
        scorer.close()


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory) -> Path:
    """One data cache for all tests, and not the user's."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tiny(cache_dir: Path, tmp_path: Path) -> list[str]:
    """Overrides for a real search that takes a second per candidate: 16 images, two steps."""
    return [
        f"runs_dir={tmp_path / 'runs'}",
        f"data.cache_dir={cache_dir}",
        "data.object_sizes=narrow",
        "data.num_images=16",
        "data.num_val_images=0",
        "data.held_out_share=0.4",
        "proxy_task=small",
        "proxy_task.num_steps=2",
        "proxy_task.batch_size=4",
        "proxy_task.filter_size_scale=0.125",
        "proxy_task.bn_recalibration_batches=1",
        "search.reward_metric=ap",
        "search.generation_size=2",
        "search.num_trials=6",
        "search.finalists=0",
    ]


@pytest.fixture
def serial(tiny: list[str]) -> list[str]:
    return [*tiny, "search.engine=serial"]


@pytest.fixture(scope="session")
def recorded_run(cache_dir: Path, tmp_path_factory) -> Path:
    """The folder of a run of one candidate, to read and to copy."""
    from spinesearch.cli.main import main

    folder = tmp_path_factory.mktemp("recorded")
    settings = ["search.engine=serial", "search.num_trials=1", "search.generation_size=1", "name=run"]
    settings += ["search.finalists=0"]
    data = [
        "data.object_sizes=narrow",
        "data.num_images=16",
        "data.num_val_images=0",
        "data.held_out_share=0.4",
    ]
    task = [
        "proxy_task=small",
        "proxy_task.num_steps=1",
        "proxy_task.batch_size=4",
        "proxy_task.bn_recalibration_batches=1",
    ]
    paths = [f"runs_dir={folder}", f"data.cache_dir={cache_dir}"]
    assert main(["search", *settings, *data, *task, *paths]) == 0
    return folder / "run"


@pytest.fixture
def coco(tmp_path: Path, serial, cache_dir: Path):
    """A small COCO-format data set to break, and the command that searches on it."""
    from spinesearch.data.drawn.generate import generate_dataset

    source = generate_dataset(cache_dir / "generated", num_images=16, num_val_images=0, seed=0)
    folder = tmp_path / "coco"
    shutil.copytree(source, folder)
    annotations = folder / "annotations" / "instances_train.json"
    settings = [text for text in serial if not text.startswith(("data.num", "data.cache", "data.object"))]
    command = [
        "search",
        *settings,
        "name=run",
        "data=coco",
        f"data.train_images={folder / 'train'}",
        f"data.train_annotations={annotations}",
        f"data.cache_dir={tmp_path / 'coco_cache'}",
    ]
    return folder / "train", annotations, command


@pytest.fixture(scope="session")
def trained(cache_dir: Path, tmp_path_factory) -> Path:
    """The folder of a finished training of a few steps, to read and to copy."""
    from trained_run import train_run

    return train_run(tmp_path_factory.mktemp("trained"), cache_dir)


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Path:
    """Weights of a tiny detector, to read and to copy."""
    from tiny_models import tiny_detector

    from spinesearch.models.weights.files import save_weights

    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_weights(tiny_detector(), path)
    return path
