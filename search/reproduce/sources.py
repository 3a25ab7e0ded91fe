"""What a stage takes from those before it, or a line that names the command which gives it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spinesearch.results.finalists import finished_rerank
from spinesearch.results.ledger.files import WEIGHTS_FOLDER
from spinesearch.results.ledger.run import load_run, ranked_trials
from spinesearch.search.config.config_errors import ConfigError
from spinesearch.search.reproduce.stages import BEST, SEARCHES, TRAININGS, Reproduction
from spinesearch.search.runs.run_folder import has_run
from spinesearch.search.training.model_source import ModelSource, published_source, run_source
from spinesearch.search.training.recorder import BEST as BEST_WEIGHTS
from spinesearch.search.training.train_session import is_complete


def source_of(reproduction: Reproduction, name: str, search: str | None) -> ModelSource | None:
    """The architecture of a training: published, or the best of a search that is over.

    None for the best whose training has begun: that keeps its network, whatever the search has
    found since.

    Args:
        reproduction: its folder.
        name: one of `TRAININGS`.
        search: one of `SEARCHES`, whose best; None for the first that was run.

    Raises:
        ConfigError: there is no such search yet, it is not over, or another one's best is trained already.
    """
    if name != BEST:
        return published_source(name)
    begun = reproduction.trainings / BEST
    if has_run(begun):
        training = load_run(begun)[0].training
        trained = None if training is None else training["source"].get("run")
        if search not in (None, trained):
            raise ConfigError(
                f"--search: {begun} trains the best of {trained}, got {search}; leave --search out to "
                "continue it, or move it away"
            )
        return None
    known = [key for key in SEARCHES if has_run(reproduction.searches / key)]
    chosen = search or next(iter(known), next(iter(SEARCHES)))
    run_dir = reproduction.searches / chosen
    give = f"`{reproduction.command('search', chosen)}`"
    if chosen not in known:
        raise ConfigError(f"reproduce train: {run_dir} is missing, whose best is wanted; {give} gives it")
    run, _ = load_run(run_dir)
    if run.num_done < run.config["search"]["num_trials"] or not ranked_trials(run.trials):
        raise ConfigError(
            f"reproduce train: {run_dir} is not over, {run.num_done} of "
            f"{run.config['search']['num_trials']} candidates are done; {give} continues it"
        )
    newest = run.reranks[-1] if run.reranks else None
    if run.config["search"]["finalists"] and (newest is None or finished_rerank(run) is not newest):
        raise ConfigError(
            f"reproduce train: {run_dir} is not over, its finalists are not ranked yet; {give} continues it"
        )
    return run_source(run, run_dir, 1)


def trained_weights(reproduction: Reproduction, names: Sequence[str]) -> dict[str, Path]:
    """The best weights of the trainings of these names, or of all there are.

    Raises:
        ConfigError: one is missing or not over, or there are none.
    """
    wanted = names or [name for name in TRAININGS if has_run(reproduction.trainings / name)]
    if not wanted:
        raise ConfigError(
            f"reproduce evaluate: nothing has been trained in {reproduction.folder}; "
            f"`{reproduction.command('train')}` does that"
        )
    found = {}
    for name in wanted:
        run_dir = reproduction.trainings / name
        give = f"`{reproduction.command('train', name)}`"
        if not has_run(run_dir):
            raise ConfigError(f"reproduce evaluate: {run_dir} is missing; {give} trains it")
        if not is_complete(load_run(run_dir)[0]):
            raise ConfigError(f"reproduce evaluate: {run_dir} is not over; {give} continues it")
        found[name] = run_dir / WEIGHTS_FOLDER / BEST_WEIGHTS
    return found
