"""Options of single calls: where the decorator has those of all calls of a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from dagorama.calls.capture import FunctionSpec, current_scope, inline_node
from dagorama.calls.labels import checked_label
from dagorama.calls.limit_keys import LimitKeys
from dagorama.limits import Limit, checked_limits
from dagorama.options import checked_name, checked_seconds
from dagorama.retry import ExponentialRetry, RetryConfiguration, StaticRetry

#: So many specs that calls with options have made are kept for each function, so that like calls share one.
_SPECS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """The options that a call has of its own; None where it has those of its function."""

    queue: str | None = None
    taint: str | None = None
    retry: RetryConfiguration | None = None
    timeout_s: float | None = None
    start_timeout_s: float | None = None
    limits: tuple[Limit, ...] | None = None
    #: No part of the function, so calls that differ in it alone share a spec.
    label: str | None = field(default=None, compare=False)


#: Those of a call that has none.
NO_OWN = NodeOptions()

#: The options of calls that are made in this context, and the node that has chosen them; None outside of nodes.
_chosen: ContextVar[tuple[NodeOptions, object]] = ContextVar("node_options", default=(NO_OWN, None))


def node_options(
    *,
    queue_name: str | None = None,
    taint_name: str | None = None,
    retry: RetryConfiguration | None = None,
    timeout: float | None = None,
    start_timeout: float | None = None,
    limit: Limit | Sequence[Limit] | None = None,
    label: str | None = None,
) -> AbstractContextManager[None]:
    """Return these options to the calls of decorated functions made in its `with` block.

    Each takes the place of the option of that name which the decorator has; one that is left out stays as it is in an
    outer block, or else in the decorator. `label` is a text, and no format. `limit=()` is for no limit. A policy for
    `retry` says how often and when; the types of exceptions that are worth it are asked for where the function runs,
    so they stand in the decorator alone. Nodes that these calls call, in their turn, have none of it.

    The block is that of a thread or task, as with `instance_options`. Raises `ValueError` naming the argument that
    cannot be used, and so do calls of functions with which it does not go together.
    """
    options = _here()
    if queue_name is not None:
        options = replace(options, queue=checked_name("queue_name", queue_name))
    if taint_name is not None:
        options = replace(options, taint=checked_name("taint_name", taint_name))
    if retry is not None:
        options = replace(options, retry=_checked_retry(retry))
    if timeout is not None:
        options = replace(options, timeout_s=checked_seconds("timeout", timeout))
    if start_timeout is not None:
        options = replace(options, start_timeout_s=checked_seconds("start_timeout", start_timeout))
    if limit is not None:
        options = replace(options, limits=checked_limits(limit))
    if label is not None:
        options = replace(options, label=checked_label(label))
    return _set(options)


@contextmanager
def _set(options: NodeOptions) -> Iterator[None]:
    token = _chosen.set((options, _caller()))
    try:
        yield
    finally:
        _chosen.reset(token)


def _here() -> NodeOptions:
    options, caller = _chosen.get()
    return options if options is not NO_OWN and caller is _caller() else NO_OWN


def _caller() -> object:
    return current_scope.get() or inline_node.get()


def chosen_options() -> NodeOptions | None:
    """Return the options of a call that is made here; None where it has none of its own."""
    options, caller = _chosen.get()
    return None if options is NO_OWN or caller is not _caller() else options


def _checked_retry(retry: object) -> RetryConfiguration:
    """Return a policy of which the broker has all that counts; `ValueError` for any other."""
    if not isinstance(retry, (StaticRetry, ExponentialRetry)):
        raise ValueError(f"retry must be a StaticRetry or an ExponentialRetry, not {retry!r}")
    if retry.retry_on is not None or retry.give_up_on is not None:
        raise ValueError(
            f"retry={retry!r} names types of exceptions, which are asked for where the function runs: write retry_on "
            "and give_up_on in the decorator, and only how often and when here"
        )
    return retry


def retry_of(options: NodeOptions, decorated: RetryConfiguration | None) -> RetryConfiguration | None:
    """Return the policy of a call: how often and when by its own, for the exceptions of its function's."""
    if options.retry is None:
        return decorated
    assert isinstance(options.retry, (StaticRetry, ExponentialRetry))
    if not isinstance(decorated, (StaticRetry, ExponentialRetry)):
        return options.retry
    return replace(options.retry, retry_on=decorated.retry_on, give_up_on=decorated.give_up_on)


class OwnSpecs:
    """The specs and limits of one function's calls that have options of their own."""

    def __init__(self, fn: Callable[..., object], signature: inspect.Signature) -> None:
        """Begin without any."""
        self._fn = fn
        self._signature = signature
        self._specs: dict[tuple[FunctionSpec, NodeOptions], FunctionSpec] = {}
        self._limits: dict[tuple[Limit, ...], LimitKeys] = {}

    def spec(self, spec: FunctionSpec, options: NodeOptions) -> FunctionSpec:
        """Return the spec of a call with options, the same object for like calls; `ValueError` for a contradiction."""
        key = (spec, options)
        own = self._specs.get(key)
        if own is None:
            if len(self._specs) >= _SPECS_MAX:
                self._specs.clear()  # they are shared within a message, and cost little to make
            own = self._specs[key] = self._made(spec, options)
        return own

    def limit_keys(
        self, options: NodeOptions, name: str, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> tuple[str, ...]:
        """Return the keys of the limits that a call of the function `name` has of its own."""
        if not options.limits:
            return ()
        keys = self._limits.get(options.limits)
        if keys is None:
            if len(self._limits) >= _SPECS_MAX:
                self._limits.clear()
            keys = self._limits[options.limits] = LimitKeys(self._fn, self._signature, options.limits)
        return keys.of_call(name, args, kwargs)

    def _made(self, spec: FunctionSpec, options: NodeOptions) -> FunctionSpec:
        if options.retry is not None and spec.at_most_once and options.retry.numbers().max_attempts > 1:
            raise ValueError(
                f"{spec.name} runs at most once, and retry={options.retry!r} would run it again: leave it out"
            )
        return replace(
            spec,
            queue=options.queue or spec.queue,
            taint=options.taint or spec.taint,
            retry=retry_of(options, spec.retry),
            timeout_s=spec.timeout_s if options.timeout_s is None else options.timeout_s,
            start_timeout_s=spec.start_timeout_s if options.start_timeout_s is None else options.start_timeout_s,
            limits=spec.limits if options.limits is None else options.limits,
        )
