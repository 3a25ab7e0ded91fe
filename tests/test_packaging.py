"""What is built from this repository holds every package, whichever way it is built."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
REPORT_PAGE = "results/report/page"
PACKAGES = {path.name for path in (ROOT / "src/spinesearch").iterdir() if path.is_symlink()}


def package_files() -> set[str]:
    """Every source and yaml file of the packages, and the parts of a report, from the root."""
    found = {path for name in PACKAGES for end in ("py", "yaml") for path in (ROOT / name).rglob(f"*.{end}")}
    found |= {path for path in (ROOT / REPORT_PAGE).rglob("*") if path.is_file()}
    return {path.relative_to(ROOT).as_posix() for path in found}


def built_files(builder: SdistBuilder | WheelBuilder) -> set[str]:
    return {file.distribution_path for file in builder.recurse_selected_project_files()}


def test_the_wheel_holds_every_package():
    files = built_files(WheelBuilder(str(ROOT)))
    assert len(PACKAGES) == 10
    assert {f"spinesearch/{name}" for name in package_files()} <= files
    assert {"spinesearch/__init__.py", "spinesearch/__main__.py", "spinesearch/py.typed"} <= files


def test_what_a_report_is_made_of_comes_with_its_licences():
    files = package_files()
    parts = {
        "page.html",
        "page.css",
        "echarts.min.js",
        "licenses/echarts-LICENSE",
        "licenses/zrender-LICENSE",
    }
    assert {f"{REPORT_PAGE}/{name}" for name in parts} <= files
    assert (ROOT / REPORT_PAGE / "echarts.min.js").stat().st_size < 1.2e6
    metadata = WheelBuilder(str(ROOT)).metadata
    assert f"{REPORT_PAGE}/licenses/echarts-LICENSE" in metadata.core.license_files


def test_the_source_distribution_holds_every_package():
    """`pip install` of it, and `python -m build`, make the wheel from these files."""
    files = built_files(SdistBuilder(str(ROOT)))
    assert package_files() <= files
    assert {"src/spinesearch/__init__.py", "pyproject.toml", "LICENSE", "Makefile"} <= files


@pytest.mark.slow
def test_the_wheel_searches_from_an_empty_folder(tmp_path: Path):
    """Built, unpacked, and used beside the installed dependencies: from no file of the repository."""
    wheel = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path / "dist"), versions=["standard"]))
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)

    def spinesearch(*words: str) -> str:
        # The editable install stands behind, in `site-packages`: the path decides which one it is.
        env = {**os.environ, "PYTHONPATH": str(site), "SPINESEARCH_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-m", "spinesearch", *words]
        done = subprocess.run(command, cwd=empty, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import spinesearch, spinesearch.space, spinesearch.conf as c; print(spinesearch.space.__file__)"
    env = {**os.environ, "PYTHONPATH": str(site)}
    found = subprocess.run([sys.executable, "-c", where], cwd=empty, env=env, capture_output=True, text=True)
    assert found.stdout.startswith(str(site)), found.stdout + found.stderr
    tiny = ["data.num_images=16", "data.num_val_images=0", "data.held_out_share=0.4", "search.num_trials=2"]
    tiny += ["proxy_task=small", "proxy_task.num_steps=1", "proxy_task.batch_size=4", "search.engine=serial"]
    tiny += ["search.generation_size=2", "search.finalists=0", "name=run"]
    assert "next:" in spinesearch("search", *tiny)
    assert "2 of 2 candidates done" in spinesearch("show", "run")
    assert "af6e18860979" in spinesearch("models", "spinenet49")
    assert sorted(path.name for path in empty.iterdir()) == ["runs"]
