"""``spinesearch doctor``: what is there, what is missing, and the exit code."""

import json
from pathlib import Path

import pytest

from spinesearch.cli.main import main
from spinesearch.search import doctor


@pytest.mark.slow
def test_a_machine_that_can_search(tmp_path: Path, capsys):
    assert main(["doctor", "--json", "--runs-dir", str(tmp_path / "runs")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["can_search"] is True
    states = {one["what"]: one["state"] for one in found["findings"]}
    assert {"Python", "packages", "decoders", "memory", "/dev/shm", "runs", "torch", "GPU", "ray"} <= set(
        states
    )
    assert not (tmp_path / "runs").exists()
    assert main(["doctor", "--runs-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "ready: " in out
    assert f"{tmp_path}: " in out


def test_what_is_missing_is_said_with_how_to_get_it(tmp_path: Path, monkeypatch, capsys):
    version = doctor._version

    def without(package: str) -> str | None:
        return {"hydra-core": None, "rich": "1.0"}.get(package, version(package))

    monkeypatch.setattr(doctor, "_version", without)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "_memory_bytes", lambda: (4 * 2**30, 2**30))
    (tmp_path / "file").touch()
    assert main(["doctor", "--runs-dir", str(tmp_path / "file")]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "hydra-core missing not installed pip install 'hydra-core" in out
    assert "rich missing 1.0, and >=13.7 is needed" in out
    assert "torch missing not installed" in out
    assert "memory note 1.0 of 4.0 GiB free" in out
    assert "runs missing" in out
    assert "cannot be written; give runs_dir=DIR" in out
    assert "no search can run here" in out


def test_a_package_that_is_broken(monkeypatch):
    def broken(name: str) -> object:
        raise OSError("libtorch.so: cannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    found = doctor._imported("torch")
    assert found.state == "missing"
    assert found.found == "cannot be imported: libtorch.so: cannot open shared object file"


def test_the_driver_by_its_kernel_module(tmp_path: Path, monkeypatch):
    lines = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\nGCC version: 12\n"
    (tmp_path / "version").write_text(lines)
    monkeypatch.setattr(doctor, "Path", lambda path: tmp_path / "version")
    assert doctor._driver() == "550.54.15"


@pytest.mark.parametrize(
    ("absent", "state", "said"),
    [("", "ok", "can be compiled"), ("gcc clang", "note", "there is no C compiler")],
)
def test_what_triton_needs_beside_a_gpu(absent: str, state: str, said: str, tmp_path: Path, monkeypatch):
    (tmp_path / "Python.h").touch()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(doctor.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(
        doctor.shutil, "which", lambda name: None if name in absent.split() else f"/bin/{name}"
    )
    found = doctor._kernels()
    assert (found.what, found.state) == ("kernels", state)
    assert said in found.found
