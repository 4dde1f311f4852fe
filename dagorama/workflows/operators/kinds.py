"""The operators that do something: commands, functions, requests."""

from __future__ import annotations

import inspect
import json as json_module
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from dagorama.inspection import problem_of_call
from dagorama.workflows.model import Command
from dagorama.workflows.operators.base import Operator
from dagorama.workflows.operators.calls import Call, Secret, ValueOf, exchanged, make_call
from dagorama.workflows.operators.collecting import told
from dagorama.workflows.operators.http import HttpRequest, HttpResponse, request
from dagorama.workflows.operators.options import Options
from dagorama.workflows.problems import quoted
from dagorama.workflows.staging.secrets import BadSecret, secret_names

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class BashOperator(Operator):
    """A script that bash runs, in the folder of the DAG's file or in `cwd` below that; it returns no value."""

    def __init__(self, task_id: str, bash_command: str, *, cwd: str = "", **options: Unpack[Options]) -> None:
        """Take the script."""
        super().__init__(task_id, **options)
        self.bash_command = bash_command
        self.cwd = cwd
        if not isinstance(bash_command, str) or not bash_command.strip() or "\0" in bash_command:
            self.wrong(f"bash_command must be a script, not {told(bash_command)}")

    def work(self) -> Command:
        """Return the command."""
        return Command(argv=("bash", "-c", self.bash_command), directory=self.cwd)


class PythonOperator(Operator):
    """A function that is called in a process of its own, and returns the value of the task.

    An operator in `op_args` or `op_kwargs`, alone or in lists, tuples and dicts, stands for its value, and is waited
    for. The function, and what it uses of the file of the DAG, go with it (cloudpickle); modules that it imports must
    be on the workers.
    """

    has_value = True

    def __init__(
        self,
        task_id: str,
        python_callable: Callable[..., object],
        op_args: Sequence[object] = (),
        op_kwargs: Mapping[str, object] | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Take the function and its arguments."""
        super().__init__(task_id, **options)
        self.python_callable = python_callable
        self.op_args: tuple[object, ...] = ()
        self.op_kwargs: dict[str, object] = {}
        if not callable(python_callable):
            self.wrong(f"python_callable must be a function, not {told(python_callable)}")
        elif not isinstance(op_args, (list, tuple)):
            self.wrong(f"op_args must be a list or a tuple, not {told(op_args)}", "write op_args=[...]")
        elif not isinstance(op_kwargs or {}, dict) or not all(isinstance(name, str) for name in op_kwargs or {}):
            self.wrong("op_kwargs must be a dict of arguments by their names", "write op_kwargs={'name': ...}")
        else:
            self.op_args = exchanged(tuple(op_args), self._taken)
            self.op_kwargs = exchanged(dict(op_kwargs or {}), self._taken)
            problem = _problem(python_callable, self.op_args, self.op_kwargs)
            if problem:
                self.wrong(f"the function cannot be called so: {problem}")

    def work(self) -> Call:
        """Return the call; `ValueError` where the function or an argument cannot travel."""
        return make_call(self.python_callable, self.op_args, self.op_kwargs, self.dag.module)

    def _taken(self, argument: object) -> object:
        """Return what stands for an argument: for an operator the place of its value, which is waited for."""
        if not isinstance(argument, Operator):
            return argument
        if not argument.has_value:
            kind = type(argument).__name__
            way_out = f"read what it has left in a file, and write {argument.task_id} >> {self.task_id}"
            self.wrong(f"it takes the value of {quoted(argument.task_id)}, a {kind}, which returns none", way_out)
        self.wait_for(argument)
        return ValueOf(argument.task_id)


class HttpOperator(Operator):
    """A request; the text of the answer is the task's value, or what `response_filter` makes of the `HttpResponse`.

    The method is GET, or POST where there is `data` or `json`, unless `method` says otherwise. Another status than 2xx
    fails, and so does an answer that `response_check` says no to. In values of `headers` {{NAME}} is a secret of the
    workers. `timeout` is how many seconds the server may be silent.
    """

    has_value = True

    def __init__(
        self,
        task_id: str,
        url: str,
        *,
        method: str = "",
        headers: Mapping[str, str] | None = None,
        data: str | bytes | None = None,
        json: object = None,
        response_check: Callable[[HttpResponse], object] | None = None,
        response_filter: Callable[[HttpResponse], object] | None = None,
        timeout: float = 60.0,
        **options: Unpack[Options],
    ) -> None:
        """Take the request."""
        super().__init__(task_id, **options)
        self.response_check = response_check
        self.response_filter = response_filter
        body, kind = read_body(self, data, json)
        self.headers = read_headers(self, {**({"Content-Type": kind} if kind else {}), **(headers or {})})
        self.asked = read_request(self, method or ("GET" if body is None else "POST"), url, body, timeout)

    def work(self) -> Call:
        """Return the call; `ValueError` where a function cannot travel."""
        args = (self.asked, self.headers, self.response_check, self.response_filter)
        return make_call(request, args, {}, self.dag.module)


def read_request(one: Operator, method: str, url: str, body: bytes | None, timeout: float) -> HttpRequest:
    """Return the request of an operator, which is told what is wrong with it."""
    if not isinstance(url, str) or not re.match(r"https?://[^/\s]", url) or not url.isprintable() or " " in url:
        one.wrong(f"the url must be one of http or https, not {told(url)}")
    if method not in _METHODS:
        one.wrong(f"there is no method {told(method)}", f"there are {', '.join(_METHODS)}")
    silence_s = timeout if isinstance(timeout, (int, float)) and timeout > 0 else None
    if silence_s is None:
        one.wrong(f"timeout must be a number of seconds, not {told(timeout)}")
    return HttpRequest(method=method, url=url, body=body, silence_s=silence_s or 0.0)


def read_headers(one: Operator, headers: Mapping[str, str]) -> dict[str, object]:
    """Return the headers of a request, with places where secrets are; the operator is told what is wrong with them."""
    read: dict[str, object] = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str) or not re.fullmatch(r"[!-9;-~]+", name):
            one.wrong(f"headers must have texts by their names, unlike {told(name)}")
            continue
        if "\n" in value or "\r" in value or "\0" in value:
            one.wrong(f"the header {name} must be one line")
        try:
            read[name] = Secret(value) if secret_names(value) else value
        except BadSecret as error:
            one.wrong(f"the header {name} {error}")
    return read


def read_body(one: Operator, data: str | bytes | None, json: object) -> tuple[bytes | None, str]:
    """Return the body of a request and its type, empty for none; the operator is told what is wrong with it."""
    if data is not None and json is not None:
        one.wrong("it has data and json", "leave one of them out")
    if json is not None:
        try:
            return json_module.dumps(json).encode(), "application/json"
        except (TypeError, ValueError) as error:
            one.wrong(f"json cannot be written as JSON: {error}")
            return None, ""
    if data is not None and not isinstance(data, (str, bytes)):
        one.wrong(f"data must be a text or bytes, not {told(data)}", "write json=... for other values")
        return None, ""
    return data.encode() if isinstance(data, str) else data, ""


def _problem(function: Callable[..., Any], args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
    """Return what is wrong with a call by Python's rules; empty for nothing, or where that cannot be told."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    return problem_of_call(signature, args, kwargs)
