"""The files of deploy/, as far as they can be checked without a cloud."""

import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_checks import STOP_WITHOUT_RETRY, parsed

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


# --- What is not retried


@pytest.mark.parametrize(("code", "ends_with"), [(0, 0), (1, 1), (2, 2), (3, 0), (130, 130)])
def test_only_too_many_failures_make_a_finished_job_of_a_search(code: int, ends_with: int):
    script = f"echo the reason; exit {code}"
    command = [STOP_WITHOUT_RETRY, "bash", "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert result.returncode == ends_with
    lines = result.stdout.splitlines()
    assert lines[0] == "the reason"
    assert ("too many candidates failed, or all were too slow" in lines[-1]) == (code == 3)


def test_a_signal_reaches_the_search_and_its_code_comes_out():
    script = "trap 'exit 130' TERM; echo ready; while :; do sleep 0.05; done"
    command = [STOP_WITHOUT_RETRY, "bash", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 130


def test_every_search_that_could_be_retried_is_started_so():
    assert Path(ray_up_command()[0]).name == STOP_WITHOUT_RETRY.name
    entrypoint = shlex.split(load("kuberay-rayjob.yaml")["spec"]["entrypoint"])
    assert entrypoint[0] == STOP_WITHOUT_RETRY.name
    copies = [rest.split() for word, rest in instructions() if word == "COPY"]
    assert ["deploy/stop-without-retry", "/usr/local/bin/"] in copies
    folder, _ = next(iter(load("ray-up-aws.yaml")["file_mounts"].items()))
    assert ray_up_command()[0].replace("~", "/home/ubuntu") == f"{folder}/deploy/{STOP_WITHOUT_RETRY.name}"
    assert STOP_WITHOUT_RETRY.stat().st_mode & 0o111 == 0o111


# --- ray up


def ray_up_command() -> list[str]:
    (line,) = [text for text in load("ray-up-aws.yaml")["head_start_ray_commands"] if "new-session" in text]
    *_, script = shlex.split(line)
    command, pipe, _ = script.partition("2>&1 |")
    assert pipe
    return shlex.split(command)


def test_ray_takes_the_ray_up_configuration():
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(load("ray-up-aws.yaml"))
    validate_config(config)
    with pytest.raises(Exception, match="Additional properties"):
        validate_config(config | {"spot_workers": 3})


def test_only_workers_of_ray_up_are_spot_machines():
    config = load("ray-up-aws.yaml")
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert "InstanceMarketOptions" not in head["node_config"]
    for worker in types.values():
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert 0 <= worker["min_workers"] <= worker["max_workers"] <= config["max_workers"]


def test_the_command_of_ray_up_resumes_from_its_mirror(capsys):
    config = parsed(ray_up_command(), capsys)
    assert config.mirror is not None
    assert config.mirror.startswith("s3://")
    assert config.search.ray_address == "auto"
    assert config.search.num_workers == load("ray-up-aws.yaml")["max_workers"]


def test_ray_up_installs_what_is_pinned():
    commands = "\n".join(load("ray-up-aws.yaml")["setup_commands"])
    assert "--constraint ~/spinesearch/constraints.txt" in commands
    assert load("ray-up-aws.yaml")["file_mounts"] == {"/home/ubuntu/spinesearch": "."}


# --- Dockerfile


def instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    pairs = [line.split(maxsplit=1) for line in lines]
    return [(word, rest) for word, rest in pairs]


def test_the_dockerfile_has_known_instructions_and_ends_without_root():
    words = [word for word, _ in instructions()]
    assert words[0] == "FROM"
    assert set(words) <= {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "CMD"}
    users = [rest for word, rest in instructions() if word == "USER"]
    assert users
    assert users[-1] not in ("root", "0")


def test_the_dockerfile_copies_all_that_the_wheel_is_made_of():
    import tomllib

    copied = set()
    for word, rest in instructions():
        if word == "COPY":
            *sources, _ = rest.split()
            copied |= set(sources)
    assert all((ROOT / source).exists() for source in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    own = {f"src/spinesearch/{path.name}" for path in (ROOT / "src/spinesearch").glob("*.py")}
    assert own <= set(wheel)
    needed = {path.partition("/")[0] for path in wheel} | {"pyproject.toml", "constraints.txt"}
    licences = project["project"]["license-files"]
    needed |= {project["project"]["readme"], *(path.partition("/")[0] for path in licences)}
    assert needed <= copied


def test_the_dockerfile_installs_what_is_pinned_and_what_kuberay_and_triton_need():
    (install,) = [rest for word, rest in instructions() if word == "RUN" and "pip install" in rest]
    options = shlex.split(install)
    assert options[options.index("--constraint") + 1] == "constraints.txt"
    assert {".", "ray[default]"} <= set(options)
    (packages,) = [rest.split() for word, rest in instructions() if word == "RUN" and "install --yes" in rest]
    assert {"wget", "gcc", "libc6-dev"} <= set(packages)
