"""What a search shows and logs: the live line, plain lines, TensorBoard."""

import io
import sys
from pathlib import Path

import pytest
from fake_scorer import FakeScorer, Scoring, healthy_score, scored
from fake_search import carry_out
from fake_space import SPACE
from PIL import Image
from rich.console import Console

from spinesearch.results.drawing.architecture import draw_architecture
from spinesearch.results.drawing.pixels import draw_pixels
from spinesearch.results.finalists import standings
from spinesearch.results.ledger.run import Run
from spinesearch.results.tables import duration
from spinesearch.search.loop.failed_share import TooManyFailedError
from spinesearch.search.loop.finalists import FinalistPlan
from spinesearch.search.loop.observer import Observers
from spinesearch.search.scoring.scorer import Outcome
from spinesearch.search.watchers.display import Display
from spinesearch.search.watchers.tensorboard import TensorBoardObserver, rebuild, tensorboard_observers
from spinesearch.space import ArchSpec, ResNetSpec


def shown(tmp_path: Path, *, terminal: bool, num_trials: int = 24) -> tuple[Run, str]:
    file = io.StringIO()
    display = Display(Console(file=file, force_terminal=terminal, width=140), reward_metric="ap")
    run, _ = carry_out(tmp_path, observer=display, scorer=FakeScorer(2, delay_s=0.05), num_trials=num_trials)
    return run, file.getvalue()


def test_plain_lines_where_the_output_is_no_terminal(tmp_path: Path):
    run, text = shown(tmp_path, terminal=False)
    assert "\x1b" not in text
    lines = text.splitlines()
    trial_lines = [line for line in lines if line.startswith("[")]
    assert len(trial_lines) == 24
    for trial in run.trials:
        (line,) = (line for line in trial_lines if f"] trial {trial.trial} " in line)
        if trial.status == "completed":
            assert f"ap {trial.reward:.4f}" in line
        elif trial.status == "duplicate":
            assert f"same network as trial {trial.duplicate_of}" in line
        else:
            assert f"failed: {trial.reason}" in line
    assert [line for line in lines if line.startswith("update 5: baseline ")]
    best = max(trial.reward for trial in run.trials)
    assert f"ap {best:.4f}" in [line for line in lines if line.endswith("best so far")][-1]


def test_a_live_line_on_a_terminal(tmp_path: Path):
    _, text = shown(tmp_path, terminal=True)
    for part in ("/24", "running ", "best 0.", "mean 0.", "/min", " left"):
        assert part in text
    _, text = shown(tmp_path, terminal=True, num_trials=28)
    assert "24 of 28 candidates are done already, best 0." in text


@pytest.mark.parametrize("terminal", [True, False])
def test_finalists_are_counted_by_themselves(tmp_path: Path, terminal: bool):
    def unlucky(spec: ArchSpec | ResNetSpec, seed: int) -> dict[str, float]:
        if seed == 2 and isinstance(spec, ResNetSpec):
            raise ArithmeticError("it diverged")
        return scored(spec, seed)

    file = io.StringIO()
    display = Display(Console(file=file, force_terminal=terminal, width=140), reward_metric="ap")
    plan = FinalistPlan(num_finalists=2, seeds=(1, 2), proxy_task={})
    scorer = FakeScorer(2, delay_s=0.05, score=Scoring(unlucky))
    run, _ = carry_out(tmp_path, observer=display, scorer=scorer, num_trials=8, finalists=plan)
    text = file.getvalue()
    assert "ranking the best 2 again, beside 2 baselines" in text
    assert "[8/8]" in text
    assert "resnet50_fpn seed 2  failed: ArithmeticError: it diverged" in text
    for number in run.reranks[0].trials:
        assert f"trial {number} seed 1  ap 0." in text


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard's own reader
def test_tensorboard_has_every_scalar_once_however_often_a_run_is_continued(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for num_trials in (12, 24):
        observer = TensorBoardObserver(tmp_path, space=SPACE)
        run, _ = carry_out(tmp_path, observer=observer, num_trials=num_trials)
    reader = EventAccumulator(str(tmp_path / "tensorboard"))
    reader.Reload()
    scalars = {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    assert set(scalars) >= {
        "search/reward",
        "search/best",
        "controller/loss",
        "controller/entropy",
        "controller/baseline",
        "proxy/seconds",
    }
    rewards = dict(scalars["search/reward"])
    assert len(scalars["search/reward"]) == 24
    assert rewards == pytest.approx({trial.trial: trial.reward for trial in run.trials})
    best = [value for _, value in scalars["search/best"]]
    assert best == sorted(best)
    assert best[-1] == pytest.approx(max(rewards.values()))
    pictures = reader.Images("search/best_architecture")
    trial = max((t for t in run.trials if t.status == "completed"), key=lambda t: (t.reward, -t.time))
    spec = SPACE.decode(trial.tokens).renamed(f"trial {trial.trial}, reward {trial.reward:.4f}")
    drawn = draw_pixels(draw_architecture(spec, theme="light"))
    shown = Image.open(io.BytesIO(pictures[-1].encoded_image_string))
    assert shown.size == drawn.size
    assert shown.tobytes() == drawn.tobytes()
    assert sorted({picture.step for picture in pictures}) == [picture.step for picture in pictures]
    losses = {update.update: update.stats["loss"] for update in run.updates}
    assert dict(scalars["controller/loss"]) == pytest.approx(losses)
    completed = [trial.trial for trial in run.trials if trial.status == "completed"]
    assert sorted(step for step, _ in scalars["proxy/seconds"]) == completed


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard's own reader
def test_made_again_from_the_ledger_tensorboard_shows_what_the_search_wrote(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    plan = FinalistPlan(num_finalists=2, seeds=(1, 2), proxy_task={})
    observer = TensorBoardObserver(tmp_path, space=SPACE)
    scorer = FakeScorer(score=Scoring(scored))
    run, _ = carry_out(tmp_path, observer=observer, scorer=scorer, num_trials=8, finalists=plan)
    rebuild(run, tmp_path / "again", space=SPACE, top=3)
    live, again = (EventAccumulator(str(tmp_path / name)) for name in ("tensorboard", "again"))
    shown: list[dict[str, list[tuple[int, float]]]] = []
    for reader in (live, again):
        reader.Reload()
        tags = reader.Tags()["scalars"]
        shown.append({tag: sorted((e.step, e.value) for e in reader.Scalars(tag)) for tag in tags})
    assert shown[0] == shown[1]
    scores = {row.baseline: row.score for row in standings(run, run.reranks[0]) if row.baseline}
    assert len(shown[1]["finalists_0/score"]) == 2
    named = {tag.rpartition("_of_")[2]: values for tag, values in shown[1].items() if "_of_" in tag}
    assert {name: value for name, ((_, value),) in named.items()} == pytest.approx(scores)
    assert len(shown[1]["finalists_0/ap"]) == 8
    pictures = {tag: [image.step for image in again.Images(tag)] for tag in again.Tags()["images"]}
    assert pictures["ranking/architecture"] == [1, 2, 3]
    assert len(pictures["finalists_0/architecture"]) == 2
    assert set(live.Tags()["images"]) == set(pictures) - {"ranking/architecture"}


class DiskFull(FakeScorer):
    """Trials from the ninth on fail; with ``is_lost`` every worker that tries them is lost."""

    def __init__(self, is_lost: bool) -> None:
        super().__init__(score=healthy_score)
        self._is_lost = is_lost

    def wait(self, timeout_s: float) -> list[Outcome]:
        return [
            Outcome(trial=o.trial, metrics=None, reason="disk full", is_lost=self._is_lost)
            if o.trial >= 8
            else o
            for o in super().wait(timeout_s)
        ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard's own reader
@pytest.mark.parametrize("is_lost", [False, True])
def test_candidates_that_are_tried_once_more_are_counted_and_drawn_once(tmp_path: Path, is_lost: bool):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    file = io.StringIO()

    def watching() -> Observers:
        display = Display(Console(file=file, width=140), reward_metric="ap")
        return Observers([display, TensorBoardObserver(tmp_path)])

    settings = {"num_trials": 16, "max_failed_share": 0.3, "controller": "random"}
    with pytest.raises(TooManyFailedError):
        carry_out(tmp_path, scorer=DiskFull(is_lost), observer=watching(), **settings)
    healthy = FakeScorer(score=healthy_score)
    run, _ = carry_out(tmp_path, scorer=healthy, observer=watching(), **settings)
    (reopening,) = run.reopenings
    line = f"tried once more: {len(reopening.trials)} candidates, as {reopening.reason}"
    lines = file.getvalue().splitlines()
    assert lines.count(line) == 1
    after = [text.split("]")[0] for text in lines[lines.index(line) + 1 :] if text.startswith("[")]
    first = 16 - len(after) + 1
    assert after == [f"[{number:2}/16" for number in range(first, 17)]
    reader = EventAccumulator(str(tmp_path / "tensorboard"))
    reader.Reload()
    rewards = [(event.step, event.value) for event in reader.Scalars("search/reward")]
    expected = {trial.trial: trial.reward for trial in run.trials if trial.reward is not None}
    assert len(rewards) == len(expected) == 16 - sum(trial.is_masked for trial in run.trials)
    assert dict(rewards) == pytest.approx(expected)


def test_durations_for_people():
    shown_as = {42: "42 s", 95: "2 min", 3 * 3600: "3.0 h", 5 * 86400: "5.0 d"}
    assert {seconds: duration(seconds) for seconds in shown_as} == shown_as


def test_scalars_that_cannot_be_written_at_the_end_are_a_warning(tmp_path: Path, monkeypatch, caplog):
    from torch.utils.tensorboard import SummaryWriter

    close = SummaryWriter.close

    def close_in_vain(writer: SummaryWriter) -> None:
        close(writer)
        raise FileNotFoundError("events.out.tfevents")

    monkeypatch.setattr(SummaryWriter, "close", close_in_vain)
    carry_out(tmp_path, observer=TensorBoardObserver(tmp_path), num_trials=8)
    assert "TensorBoard scalars are no longer written: events.out.tfevents" in caplog.text


def test_without_tensorboard_a_search_has_one_note_and_no_scalars(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    notes: list[str] = []
    assert tensorboard_observers(tmp_path, notes.append, space=SPACE) == []
    (note,) = notes
    assert "pip install tensorboard" in note
    monkeypatch.undo()
    (observer,) = tensorboard_observers(tmp_path, notes.append, space=SPACE)
    assert isinstance(observer, TensorBoardObserver)
    assert len(notes) == 1
