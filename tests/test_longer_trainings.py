"""The figures of two real searches' longer trainings are those of their ledgers."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_has_what_the_ledgers_say():
    """Each row of the table in docs/controllers.md, to the digits that it prints."""
    script = ROOT / "benchmarks" / "training" / "longer_trainings.py"
    printed = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    page = (ROOT / "docs" / "controllers.md").read_text(encoding="utf-8")
    table = page[page.index("| AP after twice the training") :].split("\n\n")[0]

    lines = [line for line in printed.splitlines() if "all but" not in line]
    numbers = [number.replace("0.", ".") for line in lines for number in re.findall(r"-?\d\.\d{3}", line)]
    assert len(numbers) == 25
    for number in numbers:
        assert number in table, (number, table)
