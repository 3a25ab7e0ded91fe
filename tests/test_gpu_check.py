"""The GPU check runs where little is installed, finds what is far off, and refuses what cannot begin."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "gpu"
# What no section needs; with the plugins of pytest, which the environment below turns off as well.
ABSENT = (
    "faster_coco_eval",
    "fsspec",
    "grpc",
    "matplotlib",
    "pytest_timeout",
    "ray",
    "safetensors",
    "simplejpeg",
    "tensorboard",
    "tensorflow",
    "xdist",
)
WITHOUT = """
import sys
from importlib.machinery import PathFinder


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {names!r} else PathFinder.find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""


@pytest.fixture
def check(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(FOLDER)
    import gpu_check

    return gpu_check


def run_bare(tmp_path: Path, *arguments: str, absent: tuple[str, ...] = ABSENT) -> dict[str, dict]:
    """The report's sections of a run from another folder, with nothing but the light dependencies."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT.format(names=absent))
    output = tmp_path / "report"
    command = [sys.executable, str(FOLDER / "gpu_check.py"), "--minutes", "60", "--output", str(output)]
    command += arguments  # an hour, for the machine may be busy with other tests
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    report = json.loads((output / "gpu-check.json").read_text())
    page = (output / "gpu-check.md").read_text()
    for section in report["sections"].values():
        assert section["status"] == "passed", "\n".join([section["reason"], *section["last_lines"]])
    assert done.returncode == 0, done.stderr
    assert page.startswith("# GPU check\n")
    assert page.count("| passed |") == len(report["sections"])
    return report["sections"]


@pytest.mark.slow
def test_on_a_bare_machine_every_test_of_the_gpu_is_found(tmp_path: Path):
    sections = run_bare(tmp_path, "--quick", "--only", "machine,tests", absent=(*ABSENT, "rich", "hydra"))
    assert list(sections) == ["machine", "tests"]
    facts, rates = sections["machine"]["parts"]
    assert facts["machine"]["versions"].startswith("spinesearch ")
    assert rates["matmul_flops_per_s"]["float32"] > 1e8
    (tests,) = sections["tests"]["parts"]
    assert tests["failures"] == []
    assert sum(tests["counts"].values()) >= 30
    if not torch.cuda.is_available():
        assert set(tests["counts"]) == {"skipped"}


@pytest.mark.slow
def test_on_a_bare_machine_every_section_passes(tmp_path: Path):
    sections = run_bare(tmp_path, "--quick")
    assert list(sections) == [
        "machine",
        "tests",
        "paper",
        "small",
        "host",
        "shared",
        "backbone",
        "fused",
        "loss",
        "search",
        "evaluation",
    ]
    for name in ("paper", "small"):
        bench, *others = sections[name]["parts"]
        assert len(others) == (2 if name == "paper" else 0)
        assert bench["images_per_s"]["eager"] > 0
        assert bench["matmul_share"]["eager"] > 0
    for seconds in sections["paper"]["parts"][2]["seconds_by_kind"].values():
        assert min(seconds["batch norm"], seconds["convolutions and products"]) > 0
    (host,) = sections["host"]["parts"]
    for forms in host["parts"].values():
        assert min(forms["before"]["step_s"], forms["after"]["step_s"]) > 0
    assert len(host["parts"]) == (4 if torch.cuda.is_available() else 2)
    (shared,) = sections["shared"]["parts"]
    assert list(shared["images_per_s"]) == ["1", "2"]
    assert [part["width"] for part in sections["backbone"]["parts"]] == [0.25, 1.0]
    (fused,) = sections["fused"]["parts"]
    assert {"targets, one crowded image", "targets, even", "network, evaluation"} <= fused["seconds"].keys()
    (loss,) = sections["loss"]["parts"]
    assert all(d["found"]["gradient"] < d["gradient_limit"] for d in loss["differences"].values())
    (search,) = sections["search"]["parts"]
    assert [trial["status"] for trial in search["trials"]] == ["completed"] * 4
    (evaluation,) = sections["evaluation"]["parts"]
    seconds = evaluation["seconds"]
    assert 0 < seconds["COCO evaluation"] < seconds["all"]
    assert seconds["all"] == pytest.approx(sum(s for name, s in seconds.items() if name != "all"))


def test_no_section_can_take_the_time_of_those_after_it(check):
    from check_sections import SECTIONS, time_limit

    left_s = 720.0
    for i in range(len(SECTIONS)):  # each takes all that it may
        limit_s = time_limit(left_s, SECTIONS[i:])
        assert limit_s == pytest.approx(SECTIONS[i].weight)
        left_s -= limit_s
    assert left_s == pytest.approx(0)
    assert time_limit(480.0, SECTIONS[-1:]) == 480.0  # what is saved is passed on
    assert time_limit(-5.0, SECTIONS) == 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("void cudnn::bn_fw_tr_1C11_kernel_NCHW<float>", "batch norm"),
        ("void at::native::batch_norm_collect_statistics_channels_last_kernel", "batch norm"),
        ("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc", "convolutions and products"),
        ("_focal_backward", "loss kernels"),
        ("_claim", "targets kernels"),
        ("Memcpy HtoD (Pinned -> Device)", "casts and copies"),
        ("aten::add_", "sums"),
        ("aten::addmm", "convolutions and products"),
        ("aten::sigmoid", "rest"),
    ],
)
def test_kernels_are_told_apart_by_their_names(check, name: str, kind: str):
    from kernel_times import kind_of

    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("problems", "status"), [([], "out of time"), ([""], "cut short"), (["", "not captured"], "out of time")]
)
def test_a_section_that_has_measured_well_when_its_time_is_over_is_cut_short(
    check, problems: list[str], status: str
):
    from check_sections import SECTIONS

    parts = [{"title": "", "problem": problem} for problem in problems]
    outcome = check.Outcome(SECTIONS[0], seconds=30.2, parts=parts)
    found, reason = check._verdict(None, outcome)
    assert found == status
    assert reason.startswith("ended after 30 s")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "no CUDA device"),
        (["--quick", "--output", "{file}"], "cannot be written"),
        (["--only", "machine,lose"], "no section 'lose'"),
        (["--minutes", "0"], "must be above 0"),
    ],
)
def test_what_cannot_begin_is_refused_in_a_line(check, tmp_path, monkeypatch, capsys, arguments, reason):
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", *(a.format(file=tmp_path / "file") for a in arguments)])
    try:
        code = check.main()
    except SystemExit as error:  # argparse's own
        code = error.code
    assert code == 2
    *usage, line = capsys.readouterr().err.splitlines()
    assert reason in line
    assert not usage or usage[0].startswith("usage")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_eager_steps_and_those_in_a_graph_stand_beside_each_other(check):
    from sections import proxy

    from spinesearch.proxy_task.bench import BenchResult, Spread

    result = BenchResult(
        phases={"forward": Spread(0.1, 0.1, 0.1)},
        step=Spread(0.1, 0.09, 0.12),
        graph_step=Spread(0.025, 0.02, 0.03),
        num_steps=40,
        images_per_s=64 / 0.025,
        batch_size=64,
        overhead={"build": 1.0, "graph capture": 0.75},
        full_steps=100,
        candidate_seconds=5.0,
        peak_memory=3 * 2**30,
        eager_peak_memory=2 * 2**30,
        multiply_adds=10**9,
        flops_per_s=64 / 0.025 * 6e9,
        matmul_flops_per_s=100e12,
        device="cuda",
        dtype="bfloat16",
    )
    lines = proxy._rates(result)
    assert lines[0] == "|  | eager | CUDA graph |"
    cells = [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in lines[2:]]
    assert cells == [
        ["100.00 (90.00 to 120.00)", "25.00 (20.00 to 30.00)"],
        ["640", "2560"],
        ["3.8 TFLOP/s, 3.8 %", "15.4 TFLOP/s, 15.4 %"],
        ["2.00", "3.00"],
        ["-", "0.75"],
    ]
    values = proxy._values(result)
    assert values["images_per_s"] == {"eager": pytest.approx(640), "graph": pytest.approx(2560)}
    json.dumps(values)


@pytest.mark.parametrize(
    ("loss", "factor", "is_wrong"),
    [(2.0, 1.0, False), (2.5, 1.0, True), (2.0, -1.0, True), (float("nan"), 1.0, True), (2.0, 1.3, False)],
)
def test_loss_and_gradients_far_from_the_cpu_s_are_a_failure(check, monkeypatch, loss, factor, is_wrong):
    """Where a change of the images by as much as numbers round changes the gradients by a tenth."""
    from sections import loss as section

    gradient = torch.ones(100, dtype=torch.float64)

    def step(settings, data, device, numbers, *, image_change=0.0):
        if image_change:
            return section.Step(2.0, {"w": 1.1 * gradient})
        is_reference = numbers is section.FLOAT32
        return section.Step(2.0 if is_reference else loss, {"w": gradient * (1 if is_reference else factor)})

    monkeypatch.setattr(section, "step", step)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(section, "configured", lambda overrides: (only_settings(overrides), None))
    parts = []
    section.run(True, parts.append)
    assert bool(parts[0].problem) == is_wrong


def only_settings(overrides):
    from spinesearch.search.config.run_config import compose, run_config

    return run_config(compose(overrides))


def test_a_failed_test_is_in_the_report_with_its_last_lines(check):
    from sections import marked_tests

    parts = []
    recorder = marked_tests._Recorder(parts.append)

    def report(name: str, when: str, outcome: str, text: object = None) -> None:
        recorder.pytest_runtest_logreport(
            pytest.TestReport(name, ("f", 1, name), {}, outcome, text, when, duration=1.5)
        )

    for name, outcome, text in (("one", "passed", None), ("two", "failed", "line\n" * 30 + "E   nan != 1")):
        report(name, "setup", "passed")
        report(name, "call", outcome, text)
        report(name, "teardown", "passed")
    report("three", "setup", "skipped", ("f", 1, "Skipped: no second GPU"))
    report("three", "teardown", "passed")
    last = parts[-1]
    assert last.values["counts"] == {"passed": 1, "failed": 1, "skipped": 1}
    assert last.problem == "1 failed"
    assert "E   nan != 1" in last.lines
    assert sum(line == "line" for line in last.lines) == 11
    assert "Skipped: no second GPU (1 tests)." in last.lines
    assert last.values["seconds"] == {"one": 4.5, "two": 4.5, "three": 3.0}
