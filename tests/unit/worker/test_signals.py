"""Signals as something that can be waited for."""

from __future__ import annotations

import signal

from dagorama.worker.processes.signals import signals_in
from dagorama.worker.shell import forking


def test_signals_can_be_read() -> None:
    """Each as a byte, within the block; before and after it they are handled as ever."""
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    try:
        with signals_in(signal.SIGUSR1, signal.SIGUSR2) as signals:
            for number in (signal.SIGUSR2, signal.SIGUSR1):
                signal.raise_signal(number)
            assert list(signals.recv(10)) == [signal.SIGUSR2, signal.SIGUSR1]
            assert signals in forking._private
        assert signal.set_wakeup_fd(-1) == -1
        signal.raise_signal(signal.SIGUSR1)
        assert seen == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)
