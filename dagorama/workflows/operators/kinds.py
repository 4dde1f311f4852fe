"""The operators that do something: commands, functions, requests."""

from __future__ import annotations

import json as json_module
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, Unpack

from dagorama.common.urls import url_problem, without_secrets
from dagorama.inspection import problem_of_function
from dagorama.workflows.model import Command
from dagorama.workflows.operators.base import Operator
from dagorama.workflows.operators.calls import Call, Secret, ValueOf, exchanged, make_call
from dagorama.workflows.operators.collecting import told
from dagorama.workflows.operators.http import HttpRequest, HttpResponse, request
from dagorama.workflows.operators.options import Options, seconds
from dagorama.workflows.problems import quoted
from dagorama.workflows.staging.secrets import BadSecret, secret_names

Function = TypeVar("Function", bound=Callable[[HttpResponse], object] | None)

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
        if not isinstance(cwd, str) or "\0" in cwd:
            self.wrong(f"cwd must be a folder, not {told(cwd)}")

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
            problem = problem_of_function(python_callable, self.op_args, self.op_kwargs)
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
        self.response_check = read_function(self, "response_check", response_check)
        self.response_filter = read_function(self, "response_filter", response_filter)
        body, kind = read_body(self, data, json)
        self.headers = {**({"Content-Type": kind} if kind else {}), **read_headers(self, headers)}
        self.asked = read_request(self, method or ("GET" if body is None else "POST"), url, body, timeout)

    def work(self) -> Call:
        """Return the call; `ValueError` where a function cannot travel."""
        args = (self.asked, self.headers, self.response_check, self.response_filter)
        return make_call(request, args, {}, self.dag.module)


def read_request(one: Operator, method: str, url: str, body: bytes | None, timeout: float) -> HttpRequest:
    """Return the request of an operator, which is told what is wrong with it."""
    if not isinstance(url, str):
        one.wrong(f"the url must be a text, not {told(url)}")
    elif problem := url_problem(url):
        one.wrong(f"the url cannot be {told(without_secrets(url))}: {problem}", "take one of http or https")
    if method not in _METHODS:
        one.wrong(f"there is no method {told(method)}", f"there are {', '.join(_METHODS)}")
    return HttpRequest(method=method, url=url, body=body, silence_s=read_seconds(one, "timeout", timeout))


def read_seconds(one: Operator, name: str, value: object) -> float:
    """Return a length of time that is not 0; the operator is told what is wrong with it."""
    try:
        found = seconds(value)
    except ValueError as error:
        one.wrong(f"{name} {error}")
        return 1.0
    if not found:
        one.wrong(f"{name} must be more than 0")
    return found


def read_function(one: Operator, name: str, given: Function) -> Function:
    """Return a function, if one is given; the operator is told what is wrong with it."""
    if given is not None and not callable(given):
        one.wrong(f"{name} must be a function, not {told(given)}")
    return given


def read_headers(one: Operator, headers: Mapping[str, str] | None) -> dict[str, object]:
    """Return the headers of a request, with places where secrets are; the operator is told what is wrong with them."""
    if headers is not None and not isinstance(headers, Mapping):
        one.wrong(f"headers must be a dict of texts by their names, not {told(headers)}")
        return {}
    read: dict[str, object] = {}
    for name, value in (headers or {}).items():
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
