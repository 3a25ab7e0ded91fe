"""Games on file: `played` takes from there what has been played, and has the rest played.

Every game is a line of JSON, written once it is over: the fields of `Game`, what was found, and `origin`, a
digest of what decided it besides: the code of the game, the space and its strategy, the settings of both
and, where they count, the recorded candidates. Comments, docstrings and errors' messages are not part of it.
Lines of another origin stay in the file and are not used.
"""

from __future__ import annotations

import ast
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from one_game import Game, play_game, settings_of
from recorded import RECORDS

import spinesearch
from spinesearch.controller.strategies import STRATEGIES
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.space import SpineNetSpace

_HERE, _PACKAGE = Path(__file__).parent, Path(spinesearch.__file__).parent
_DECIDING = ("analytic", "games", "judges", "one_game", "recorded", "surrogate")  # of the modules here

_FOLLOWED = ("spinesearch.controller.", "spinesearch.space.")

Row = dict[str, Any]


def played(path: Path, games: Sequence[Game], workers: int) -> list[Row]:
    """The lines of all games, from the file or played now; a longer game stands for a shorter one.

    Args:
        path: the file.
        games: those wanted.
        workers: processes that play; 0 to play nothing, and return what is on file.

    Raises:
        ValueError: a line of the file is damaged.
    """
    longest, num_others = _longest(path, games)
    left = [game for game in games if _length(longest, game) < game.num_trials]
    left.sort(key=lambda game: _length(longest, game) > 0)  # what has never been played first
    others = f", where {num_others} of other code or records are not used" if num_others else ""
    rest = "to play" if workers else "not played to their end"
    print(f"{len(games) - len(left)} games in {path}{others}; {len(left)} {rest}", file=sys.stderr)
    if not workers:
        return _found(longest, games)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.environ |= {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    fresh = multiprocessing.get_context("spawn")  # which loads numpy and torch anew, with one thread
    pool = ProcessPoolExecutor(workers, mp_context=fresh, initializer=_end_with_parent)
    with path.open("a", encoding="utf-8") as file, pool:
        try:
            for future in as_completed([pool.submit(play_game, game) for game in left]):
                row = future.result()
                row["origin"] = origin(_game(row))
                _keep_longer(longest, row)
                file.write(json.dumps(row) + "\n")
                file.flush()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    return _found(longest, games)


def on_file(path: Path, games: Sequence[Game]) -> list[Row]:
    """The lines of those of these games that are on file, as long as they were played.

    Raises:
        ValueError: a line of the file is damaged.
    """
    return _found(_longest(path, games)[0], games)


def _end_with_parent() -> None:
    """Have a worker end at Ctrl-C without a word, and as soon as the process that wants its games is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def origin(game: Game) -> str:
    """The digest of what decides a game besides its own fields."""
    return _origin(game.strategy, game.needs_records)


@cache
def _origin(strategy: str, needs_records: bool) -> str:
    module = STRATEGIES[strategy.partition(":")[0]].__module__
    code = [
        *(_HERE / f"{name}.py" for name in _DECIDING),
        *_with_imported(*map(_path_of, (module, SpineNetSpace.__module__))),
        _PACKAGE / "search/loop/generations.py",
    ]
    of_strategy: Any = settings_of(strategy)
    of_space: Any = run_config(compose([])).space
    parts = [*map(_meaning, code), *(json.dumps(asdict(one)).encode() for one in (of_strategy, of_space))]
    if needs_records:
        parts += [path.read_bytes() for path in sorted(RECORDS.glob("*.jsonl.gz"))]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def _path_of(module: str) -> Path:
    return _PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")


def _with_imported(*paths: Path) -> list[Path]:
    """Modules of `controller/` and `space/` and all of these folders that they import, by path."""
    found, new = set(paths), [*paths]
    while new:
        for node in ast.walk(ast.parse(new.pop().read_bytes())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(_FOLLOWED):
                named = [f"{node.module}.{alias.name}" for alias in node.names]
                for imported in map(_path_of, (str(node.module), *named)):
                    if imported.exists() and imported not in found:
                        new.append(imported)
                        found.add(imported)
    return sorted(found)


@cache
def _meaning(path: Path) -> bytes:
    """A module's syntax tree without places, comments, docstrings and errors' messages.

    It is the same in all versions of Python.
    """
    return repr(_plain(ast.parse(path.read_bytes()))).encode()


def _plain(node: Any) -> Any:
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return "Raise", _plain(node.exc.func)
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        return type(node).__name__, [(name, _plain(value)) for name, value in fields]
    if isinstance(node, list):
        return [_plain(part) for part in node if not _is_docstring(part)]
    return node


def _is_docstring(node: Any) -> bool:
    """Whether this is a statement that is a text."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _rows(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row: Row = json.loads(line)
            _game(row), row["origin"], row["best"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: is no game ({error}); remove the line, or move the file away"
            ) from error
        yield row


def _game(row: Mapping[str, Any]) -> Game:
    return Game(**{field: row[field] for field in Game._fields})


def _key(game: Game) -> tuple[Any, ...]:
    return game[:-1]


def _length(longest: Mapping[tuple[Any, ...], Row], game: Game) -> int:
    return int(longest.get(_key(game), {"num_trials": 0})["num_trials"])


def _longest(path: Path, games: Sequence[Game]) -> tuple[dict[tuple[Any, ...], Row], int]:
    """The longest game on file for each of these, by its key, and how many lines are of another origin."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]  # the last line may have been cut when the command was stopped
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    wanted, longest, num_others = set(map(_key, games)), dict[tuple[Any, ...], Row](), 0
    for row in _rows(path, whole):
        if _key(game := _game(row)) in wanted:
            if row["origin"] == origin(game):
                _keep_longer(longest, row)
            else:
                num_others += 1
    return longest, num_others


def _found(longest: Mapping[tuple[Any, ...], Row], games: Sequence[Game]) -> list[Row]:
    return [longest[_key(game)] for game in games if _key(game) in longest]


def _keep_longer(longest: dict[tuple[Any, ...], Row], row: Row) -> None:
    game = _game(row)
    if game.num_trials > _length(longest, game):
        longest[_key(game)] = row
