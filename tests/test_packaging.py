"""What is built from this repository holds every package, whichever way it is built."""

from pathlib import Path

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
