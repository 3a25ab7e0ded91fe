"""Standard output and error that never end a command's work: what cannot be written is dropped.

A search takes days, and its reader may go away: ``| head``, a log viewer that is closed, a disk that is full.
From the first write that fails on, nothing more is written, and the exit code shows it (`Outputs.code`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

OUTPUT_LOST = 4
"""Exit code of a command that did its work, but whose output could not be written."""


class Output:
    """A text stream that drops what the stream below it cannot take.

    Args:
        stream: where to.
        is_closed: whether the process was started without it, and ``stream`` only takes its place.

    Attributes:
        error: why nothing more is written; None as long as everything could be.
    """

    def __init__(self, stream: TextIO, *, is_closed: bool = False) -> None:
        self._stream = stream
        self._is_closed = is_closed
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write what can be written; characters that the encoding lacks become question marks."""
        if self.error is None and text:
            try:
                self._write(text)
            except (OSError, ValueError) as error:  # a ValueError: the stream was closed
                self._lose(error)
        return len(text)

    def _write(self, text: str) -> None:
        if self._is_closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))

    def flush(self) -> None:
        """Write what is buffered."""
        if self.error is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def _lose(self, error: Exception) -> None:
        self.error = error if isinstance(error, OSError) else OSError(errno.EBADF, str(error))
        # What is buffered below would fail once more when the interpreter ends, and change the exit code.
        with contextlib.suppress(OSError, ValueError):
            descriptor = self._stream.fileno()
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)

    @property
    def encoding(self) -> str:
        """That of the stream below."""
        return self._stream.encoding or "utf-8"

    def isatty(self) -> bool:
        """Whether a terminal shows it."""
        return self.error is None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Outputs:
    """Both streams of a command."""

    def __init__(self, out: Output, err: Output) -> None:
        self._out = out
        self._err = err

    def code(self, code: int) -> int:
        """The exit code of a command that ended with this one, after what is buffered was written.

        A reader that went away is no failure, as for other tools. Where output could not be written, a
        command that would end with 0 ends with `OUTPUT_LOST`.
        """
        self._out.flush()
        lost = self._out.error
        if lost is not None and lost.errno != errno.EPIPE and code == 0:
            self._err.write(f"spinesearch: finished, but its output could not be written: {lost.strerror}\n")
            code = OUTPUT_LOST
        self._err.flush()
        return code


@contextlib.contextmanager
def guarded_output() -> Iterator[Outputs]:
    """``sys.stdout`` and ``sys.stderr`` that never raise, while a command runs."""
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    out, err = _output(sys.stdout, 1), _output(sys.stderr, 2)
    streams: Any = out, err  # text streams by duck typing: what they lack they have from those below
    sys.stdout, sys.stderr = streams
    try:
        yield Outputs(out, err)
    finally:
        sys.stdout, sys.stderr = before


def _output(stream: TextIO | None, descriptor: int) -> Output:
    """A guard of a standard stream; Python has None for one that is closed."""
    if stream is not None:
        return Output(stream)
    return Output(open(descriptor, "w", encoding="utf-8", closefd=False), is_closed=True)


def _fill_descriptors() -> None:
    """Open the null device where a standard stream is closed: else the next file would be taken for it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
