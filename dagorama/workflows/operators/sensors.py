"""Operators that wait for something outside: a file, an answer over HTTP.

A sensor is a process that looks again and again. It holds a slot of its worker until it has seen what it waits for.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from time import monotonic, sleep
from typing import Unpack

from dagorama.workflows.operators.base import Operator
from dagorama.workflows.operators.calls import Call, make_call
from dagorama.workflows.operators.collecting import told
from dagorama.workflows.operators.http import HttpRequest, HttpResponse, RequestFailed, ask
from dagorama.workflows.operators.kinds import read_function, read_headers, read_request, read_seconds
from dagorama.workflows.operators.options import Options
from dagorama.workflows.problems import PlainFailure

#: How often a sensor looks, and how long it waits.
POKE_INTERVAL_S, TIMEOUT_S = 5.0, 3600.0


class WaitedInVain(PlainFailure, TimeoutError):
    """A sensor's time is over."""


class _Sensor(Operator):
    """An operator that waits."""

    def __init__(
        self, task_id: str, poke_interval: float | timedelta, timeout: float | timedelta, **options: Unpack[Options]
    ) -> None:
        super().__init__(task_id, **options)
        self.poke_interval_s = read_seconds(self, "poke_interval", poke_interval)
        self.timeout_s = read_seconds(self, "timeout", timeout)

    def waiting(self, function: Callable[..., str], *args: object) -> Call:
        """Return the work that waits until a function says that nothing is missing."""
        args = (self.poke_interval_s, self.timeout_s, function, *args)
        return make_call(wait_until, args, {}, self.dag.module)


class FileSensor(_Sensor):
    """Waits for a file or folder on the worker's machine, below the DAG's folder unless absolute; `*` and `?` match.

    It looks every `poke_interval` seconds, and fails after `timeout` seconds.
    """

    def __init__(
        self,
        task_id: str,
        filepath: str,
        *,
        poke_interval: float | timedelta = POKE_INTERVAL_S,
        timeout: float | timedelta = TIMEOUT_S,
        **options: Unpack[Options],
    ) -> None:
        """Take the path."""
        super().__init__(task_id, poke_interval, timeout, **options)
        self.filepath = filepath
        if not isinstance(filepath, (str, os.PathLike)) or not str(filepath) or "\0" in str(filepath):
            self.wrong(f"filepath must be a path, not {told(filepath)}")

    def work(self) -> Call:
        """Return the work that waits."""
        return self.waiting(missing_file, str(self.filepath))


class HttpSensor(_Sensor):
    """Waits for an answer of status 2xx to which `response_check`, where there is one, says yes.

    It asks every `poke_interval` seconds, and fails after `timeout` seconds. The rest is as for `HttpOperator`.
    """

    def __init__(
        self,
        task_id: str,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        response_check: Callable[[HttpResponse], object] | None = None,
        poke_interval: float | timedelta = POKE_INTERVAL_S,
        timeout: float | timedelta = TIMEOUT_S,
        **options: Unpack[Options],
    ) -> None:
        """Take the request."""
        super().__init__(task_id, poke_interval, timeout, **options)
        self.response_check = read_function(self, "response_check", response_check)
        self.headers = read_headers(self, headers)
        # A server that is silent is asked again.
        self.asked = read_request(self, method, url, None, min(60.0, self.timeout_s or 60.0))

    def work(self) -> Call:
        """Return the work that waits; `ValueError` where the function cannot travel."""
        return self.waiting(missing_answer, self.asked, self.headers, self.response_check)


def wait_until(interval_s: float, timeout_s: float, missing: Callable[..., str], *args: object) -> None:
    """Wait until `missing` says nothing more; print what it says as that changes. `WaitedInVain` in the end."""
    began_at = monotonic()
    last = ""
    while problem := missing(*args):
        if problem != last:
            print(problem, flush=True)
            last = problem
        left_s = began_at + timeout_s - monotonic()
        if left_s <= 0:
            raise WaitedInVain(f"waited for {timeout_s:g} s: {problem}")
        sleep(min(interval_s, left_s))


def missing_file(path: str) -> str:
    """Return that a file is not there; empty where it is."""
    return "" if os.path.lexists(path) or glob.glob(path) else f"there is no {path}"


def missing_answer(
    asked: HttpRequest, headers: Mapping[str, str], check: Callable[[HttpResponse], object] | None
) -> str:
    """Return how a request is not answered as it ought to be; empty where it is."""
    try:
        answer = ask(asked, headers)
    except RequestFailed as error:
        return str(error)
    return "" if check is None or check(answer) else "there is an answer, but response_check says no"
