"""Files of trainings: in the run's folder, in the ledger by their digest, and in the mirror."""

import hashlib
from pathlib import Path

import fsspec
import pytest
from fake_scorer import FakeScorer, fake_score
from fake_search import Warnings, carry_out
from fake_space import SPACE
from faulty_storage import empty_storage

from spinesearch.proxy_task.request import STATE, TrainingRequest
from spinesearch.results.ledger.run import load_run
from spinesearch.search.loop.controlled import ControlledCandidates
from spinesearch.search.runs.mirror import Mirror
from spinesearch.search.scoring.scorer import Job, run_job
from spinesearch.search.scoring.trial_files import TrialFiles
from spinesearch.space import ArchSpec

WANTED = TrainingRequest(wants=frozenset({"notes.txt"}))


class Noting:
    """A `FlexibleScore` whose training leaves a note."""

    def __call__(self, spec: ArchSpec, seed: int) -> dict[str, float]:
        return fake_score(spec, seed)

    def train(
        self, spec: ArchSpec, seed: int, request: TrainingRequest
    ) -> tuple[dict[str, float], dict[str, bytes]]:
        return fake_score(spec, seed), {name: spec.arch_id.encode() for name in request.wants}


@pytest.fixture
def noting(monkeypatch: pytest.MonkeyPatch) -> FakeScorer:
    monkeypatch.setattr(ControlledCandidates, "request", lambda self, trial: WANTED)
    return FakeScorer(score=Noting())


def test_what_is_asked_for_lies_in_the_folder_the_ledger_and_the_mirror(noting, tmp_path: Path):
    empty_storage()
    mirror = Mirror("memory://bucket/runs", "run")
    carry_out(tmp_path / "a", num_trials=8, scorer=noting, mirror=mirror)
    run, _ = load_run(tmp_path / "a")
    trained = [trial for trial in run.trials if trial.status == "completed"]
    assert trained
    for trial in trained:
        path = tmp_path / "a" / "files" / f"trial-{trial.trial:06d}.notes.txt"
        assert path.read_text() == trial.arch_id
        assert trial.files == {"notes.txt": hashlib.sha256(path.read_bytes()).hexdigest()}
    files, root = fsspec.url_to_fs("memory://bucket/runs/run/files")
    assert len(files.ls(root)) == len(trained)
    # Another machine has them, too; what is removed there goes from the mirror.
    other = Mirror("memory://bucket/runs", "run")
    noted = f"trial-{trained[0].trial:06d}.notes.txt"
    carry_out(tmp_path / "b", num_trials=8, scorer=noting, mirror=other)
    assert (tmp_path / "b" / "files" / noted).read_text() == trained[0].arch_id
    (tmp_path / "b" / "files" / noted).unlink()
    other.push(tmp_path / "b", 0)
    assert len(files.ls(root)) == len(trained) - 1


def test_a_file_that_cannot_be_written_is_a_warning(noting, tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "files").write_text("in the way")
    watching = Warnings()
    run, _ = carry_out(tmp_path / "run", num_trials=12, scorer=noting, observer=watching)
    assert run.num_done == 12
    assert not any(trial.files for trial in run.trials)
    assert any("could not be written: " in message for message in watching.messages)


def test_a_state_that_is_gone_or_damaged_is_none(tmp_path: Path):
    messages: list[str] = []
    files = TrialFiles(tmp_path, messages.append)
    digests = files.write(3, {STATE: b"state"}, part="100")
    kept = files.kept(3, STATE, digests[STATE], part="100")
    job = Job(trial=3, spec=SPACE.decode((0,) * 6), seed=0, request=TrainingRequest(num_steps=9), state=kept)
    assert job.handed_out().request == TrainingRequest(num_steps=9, state=b"state")
    kept.path.write_bytes(b"stat")
    assert job.handed_out().request == TrainingRequest(num_steps=9)
    files.remove(3, STATE, part="100")
    files.remove(3, STATE, part="100")
    assert job.handed_out().state is None
    for number in (3, 4):
        files.write(number, {STATE: b"state"}, part="100")
    (tmp_path / "files" / f".trial-000003.100.{STATE}.7.tmp").write_bytes(b"st")
    files.sweep(STATE, {3})
    assert [path.name for path in (tmp_path / "files").iterdir()] == [f"trial-000003.100.{STATE}"]
    files.sweep(STATE, ())
    assert not messages
    assert not list((tmp_path / "files").iterdir())


def test_a_score_that_keeps_nothing_says_so():
    outcome = run_job(fake_score, Job(trial=0, spec=SPACE.decode((0,) * 6), seed=0, request=WANTED), "")
    assert outcome.metrics is None
    assert "only trains whole candidates" in outcome.reason
