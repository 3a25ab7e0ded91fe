"""What tests of the command line check again and again."""

import re

from spinesearch.cli.main import main


def fails(arguments: list[str], message: str, capsys) -> None:
    """The command ends with code 2 and one line on standard error."""
    capsys.readouterr()
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("spinesearch: ")
    assert re.search(message, captured.err), captured.err
    assert "Traceback" not in captured.out + captured.err
