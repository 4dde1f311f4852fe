"""A terminal that is drawn again and again, on a screen of its own, and left as it was."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import monotonic
from types import FrameType
from typing import Protocol

from dagorama.cli.stopping import stopping_on_signals

#: Control sequences of xterm, which all terminals of today know: its second screen, the cursor, and what is erased.
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
HOME, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

#: So often it is drawn, and so often it is looked whether the terminal has another size.
INTERVAL_S, SIZE_S = 1.0, 0.2


class Output(Protocol):
    """The terminal, as far as it is written to."""

    def write(self, text: str, /) -> object:
        """Write a text."""
        ...

    def flush(self) -> object:
        """Have it seen."""
        ...


def watch_lines(render: Callable[[tuple[int, int]], Sequence[str]], *, interval_s: float = INTERVAL_S) -> None:
    """Draw the lines for the columns and rows of the terminal, again and again, until somebody presses q.

    A signal that ends the process, and an exception of `render`, leave the terminal as it was too.
    """
    with stopping_on_signals(), own_screen(sys.stdout):
        while True:
            size = shutil.get_terminal_size()
            sys.stdout.write(frame(render(size), size))
            sys.stdout.flush()
            if _wait(interval_s, size):
                return


def frame(lines: Sequence[str], size: os.terminal_size) -> str:
    """Return the text that shows lines on a screen; where there are too many, the last line says how many more."""
    shown = list(lines[: size.lines])
    if len(lines) > size.lines:
        shown[-1] = f"and {len(lines) - size.lines + 1} more lines"
    # Erased is before it is written: after the last column the cursor stands on the last letter. The last line has no
    # end, which would move the screen up.
    text = HOME + "\r\n".join(END_OF_LINE + line for line in shown)
    return text + (f"\r\n{END_OF_SCREEN}" if len(shown) < size.lines else "")


@contextmanager
def own_screen(output: Output) -> Iterator[None]:
    """Use a screen of our own, without a cursor, while the block lasts; keys come at once and are not shown."""

    def enter() -> None:
        output.write(ENTER)
        output.flush()

    def leave() -> None:
        output.write(LEAVE)
        output.flush()

    with ExitStack() as stack:
        keys = stack.enter_context(_keys_at_once())
        stack.callback(leave)
        enter()

        def pause(number: int, seen: FrameType | None) -> None:
            """Give the terminal back while the process is stopped, as by Ctrl-Z."""
            leave()
            keys.back()
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            signal.signal(number, pause)
            keys.take()
            enter()

        before = signal.signal(signal.SIGTSTP, pause)
        stack.callback(signal.signal, signal.SIGTSTP, before)
        yield


class _Keys:
    """The mode of the terminal that keys come from; nothing where they come from elsewhere."""

    def __init__(self) -> None:
        self._file = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
        self._mode = None if self._file is None else termios.tcgetattr(self._file)

    def take(self) -> None:
        if self._file is not None:
            tty.setcbreak(self._file, termios.TCSADRAIN)

    def back(self) -> None:
        if self._file is not None and self._mode is not None:
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._mode)


@contextmanager
def _keys_at_once() -> Iterator[_Keys]:
    keys = _Keys()
    keys.take()
    try:
        yield keys
    finally:
        keys.back()


def _wait(seconds: float, size: os.terminal_size) -> bool:
    """Wait for so long, or until the terminal has another size; return whether somebody wants to end."""
    end = monotonic() + seconds
    # Where nobody can press a key, a signal ends it.
    files = [sys.stdin.fileno()] if sys.stdin is not None and sys.stdin.isatty() else []
    while (rest_s := end - monotonic()) > 0:
        ready, _, _ = select.select(files, [], [], min(rest_s, SIZE_S))
        if ready:
            pressed = os.read(files[0], 64).decode("ascii", "replace")
            # The end of the input is as good as a q; an arrow begins with escape, and is no wish to end.
            if not pressed or pressed[0] in "qQ\x04" or pressed == "\x1b":
                return True
        if shutil.get_terminal_size() != size:
            return False
    return False
