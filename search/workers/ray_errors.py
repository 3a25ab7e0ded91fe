"""Ray's errors, which carry whole reports, in one line."""

from __future__ import annotations

import re

from ray.exceptions import RayActorError

_ADVICE = " Some common causes include"  # and then what Ray supposes in general
_MAX_REASON = 300  # characters
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def why_lost(error: BaseException) -> str:
    """The type of an error and its most useful line: of an actor that died, why."""
    report = _COLOURS.sub("", str(error))
    lines = [line.strip() for line in report.splitlines() if line.strip()] or [""]
    text = lines[0]
    if isinstance(error, RayActorError):
        # The first line says that it died, lines with names and numbers follow, then the reason.
        causes = [line for line in lines if " because " in line or line.startswith("the actor's node")]
        if error.actor_init_failed:  # what it raised; the lines before are Ray's names and numbers
            causes = lines[-1:]
        text = " ".join(causes).partition(_ADVICE)[0] or text
        if error.preempted:
            text = f"its node was preempted: {text}"
    return f"{type(error).__name__}: {text}"[:_MAX_REASON]


def import_failure(error: BaseException) -> tuple[str, str] | None:
    """The address of a node that lacks the code of an actor, and what it says; None of any other error.

    Ray has no field for either, so both are read from its report: ``(pid=7, ip=10.0.0.5, actor_id=...``.
    """
    text = _COLOURS.sub("", str(error))
    address = re.search(r"\bip=([^,\s)]+)", text)
    if address is None or "failed to import on the worker" not in text:
        return None
    return address[1], text.strip().splitlines()[-1].strip()[:_MAX_REASON]
