"""The documentation site: every link leads somewhere, every page is in the navigation, versions agree."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from spinesearch.search.config.sections import GROUPS, choices

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_every_page_is_in_the_navigation():
    """That of the site, and the index's own tables: GitHub shows a toctree as text, without links."""
    text = (DOCS / "index.md").read_text()
    listed = re.findall(r"```\{toctree\}\n(.*?)```", text, re.DOTALL)
    names = [line for block in listed for line in block.splitlines() if line and not line.startswith(":")]
    pages = sorted(path.stem for path in DOCS.glob("*.md") if path.stem != "index")
    assert sorted(names) == pages
    assert sorted(set(re.findall(r"\]\(([\w-]+)\.md\)", text))) == pages


def test_every_link_of_the_readme_is_to_a_file():
    """Those of the site Sphinx checks; GitHub shows these."""
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)#\s]+)", text)
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
    assert len(text.splitlines()) < 150


def test_the_settings_page_lists_every_choice_of_every_group():
    rows = re.findall(r"^\| `(\w+)`.*? \| (.*) \|$", (DOCS / "settings.md").read_text(), re.MULTILINE)
    remark = re.compile(r"\[[^]]*\]\([^)]*\)|\([^()]*\)")  # a link, then what stands in parentheses
    listed = {
        group: sorted(re.findall(r"`(\w+)`", remark.sub("", remark.sub("", cell)))) for group, cell in rows
    }
    assert listed == {group: list(choices(group)) for group in GROUPS if len(choices(group)) > 1}


def test_the_citation_is_of_this_version():
    versions = [
        re.search(pattern, (ROOT / name).read_text(), re.MULTILINE)
        for name, pattern in (("pyproject.toml", r'^version = "(.*)"'), ("CITATION.cff", r"^version: (.*)"))
    ]
    assert all(versions)
    assert len({found[1] for found in versions if found}) == 1


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path):
    pytest.importorskip("sphinx", reason="the site needs Sphinx: pip install -e '.[docs]'")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(tmp_path)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "reference.html").read_text()
    assert "spinesearch.build_backbone" in page
    assert (tmp_path / "_images" / "spinenet49.svg").exists()
