"""The decorators that turn methods of a definition into nodes.

To a type checker a decorated method is what it was before: it takes the same arguments and returns the same value. At
run time, called on an instance, it captures the call and returns the promise of that value; inline it runs at once.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import Any, Literal, NoReturn, TypeVar, cast, overload

from dagorama.call_options import NO_OWN, NodeOptions, OwnSpecs, chosen_options, retry_of
from dagorama.calls import capture
from dagorama.calls.capture import (
    Begun,
    CapturedCall,
    FunctionSpec,
    Scope,
    captured_call,
    current_scope,
    inline_node,
)
from dagorama.calls.class_attributes import decorated_in, node_name
from dagorama.calls.construction import Construction, construction_of, take_state
from dagorama.calls.ids import new_id
from dagorama.calls.labels import Labels
from dagorama.calls.large import MemoryValues, TooLarge, ValueStore, asks_for
from dagorama.calls.limit_keys import LimitKeys
from dagorama.calls.names import Definition, class_name
from dagorama.calls.payload import Draft, Payload, draft_arguments, encode, is_stored_as, keep_whole, part_in, too_large
from dagorama.calls.placeholders import STORED
from dagorama.calls.references import is_referring, read_references
from dagorama.calls.release import release_of, version_in
from dagorama.calls.showing import parameters_of, show_arguments
from dagorama.client.shortened import shortened
from dagorama.code.policy import CodeMismatch, code_mismatch_named
from dagorama.code.signature import calculate_function_hash, remember_code
from dagorama.code.stale import tell_if_edited
from dagorama.definition import DAGDefinition, DAGInstance, constructor_of, instance_in_node
from dagorama.errors import BrokerRefused, DagoramaError, PayloadError
from dagorama.inspection import CallRules
from dagorama.instance.handle import definition_of, id_of
from dagorama.instance.starting import Start, is_plain, start_of, take_start
from dagorama.limits import Limit, checked_limits
from dagorama.models.promise import Arguments, new_promise, submitted_promise
from dagorama.options import InstanceOptions, check_encodable, checked_seconds, current_options
from dagorama.retry import RetryConfiguration
from dagorama.running.belonging import check_is_no_child, check_process
from dagorama.running.inline import InlineCall
from dagorama.running.standing import tell_if_loop_stood
from dagorama.running.unawaited import remembered
from dagorama.settings import should_run_inline, should_show_inputs

F = TypeVar("F", bound=Callable[..., object])

Args = tuple[object, ...]
Kwargs = dict[str, object]

#: By a name of its own: on Python 3.11 that takes a third of the time that the attribute of an enum does.
_OF_A_NODE = Arguments.OF_A_NODE


#: What is no function and stands below `@dagorama()` all the same, with what to do about it.
_WAY_OUT: dict[type, str] = {
    staticmethod: ": a node is a method with the instance as self, so leave @staticmethod out",
    classmethod: ": a node is a method with the instance as self, so leave @classmethod out",
    property: ": put @property above @dagorama()",
    functools.partialmethod: ": decorate the method, and make the partialmethod of that",
    functools.singledispatchmethod: ": decorate a method that calls it",
    type(functools.cache(len)): ": what one process caches the next does not have; cache what the node calls",
}


class Decorator:
    """The result of `dagorama(...)`: decorates any function, or with `syncfn` and `asyncfn` only one of that kind."""

    def __init__(
        self,
        queue_name: str | None,
        taint_name: str | None,
        retry: RetryConfiguration | None,
        timeout: float | None = None,
        code_mismatch: str | None = None,
        limit: Limit | Sequence[Limit] | None = None,
        start_timeout: float | None = None,
        at_most_once: bool = False,
        label: str | None = None,
        inputs: bool = True,
        redact: Collection[str] = (),
    ) -> None:
        """Take the arguments of `dagorama`."""
        self.queue_name = queue_name
        self.taint_name = taint_name
        self.retry = retry
        self.timeout_s = 0.0 if timeout is None else checked_seconds("timeout", timeout)
        #: None leaves it to the worker.
        self.code_mismatch: CodeMismatch | None = (
            None if code_mismatch is None else code_mismatch_named(code_mismatch, "code_mismatch")
        )
        self.limits = checked_limits(limit)
        self.start_timeout_s = 0.0 if start_timeout is None else checked_seconds("start_timeout", start_timeout)
        self.at_most_once = _checked_once(at_most_once, retry)
        self.label = label
        self.inputs, self.redact = _checked_inputs(inputs, redact)

    def __call__(self, fn: F) -> F:
        """Decorate a function of either kind."""
        if not inspect.isfunction(fn):
            raise ValueError(f"@dagorama decorates functions, and {fn!r} is none{_WAY_OUT.get(type(fn), '')}")
        if decorated_in(fn) is not None:
            raise ValueError(f"{fn.__qualname__} is decorated by @dagorama already, and once is enough")
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise ValueError(f"{fn.__qualname__} is a generator, which is no value that can travel: return a list")
        return cast(F, _decorate(fn, self))

    def syncfn(self, fn: F) -> F:
        """Decorate an ordinary function; `ValueError` for an async one."""
        if _is_async(fn):
            raise ValueError(f"{fn.__qualname__} is an async function: decorate it with .asyncfn")
        return self(fn)

    def asyncfn(self, fn: F) -> F:
        """Decorate an async function; `ValueError` for an ordinary one."""
        if not _is_async(fn) and not inspect.isasyncgenfunction(fn):
            raise ValueError(f"{fn!r} is not an async function: decorate it with .syncfn")
        return self(fn)

    def spec(
        self,
        fn: Callable[..., object],
        definition_class: type[Definition],
        definition_arguments: bytes = b"",
        name: str | None = None,
        release: str = "",
    ) -> FunctionSpec:
        """Make the spec of the function that was decorated, as a method of this class, which may have inherited it.

        `name` is the one that the class has for it, if that is not the function's own. With `release` its version is
        the one there, even where it is another here.
        """
        written = name or fn.__name__
        name = f"{class_name(definition_class)}.{written}"
        version = calculate_function_hash(fn, owner=definition_class)
        return self.spec_named(
            name,
            fn,
            code_version=version_in(release, written) or version,
            definition_arguments=definition_arguments,
            release=release or release_of(definition_class, written, version),
        )

    def spec_named(
        self,
        name: str,
        fn: Callable[..., object],
        *,
        code_version: str = "",
        definition_arguments: bytes = b"",
        release: str = "",
    ) -> FunctionSpec:
        """Make the spec of the function that was decorated, under a name, in no version where none is given."""
        shows_inputs = self.inputs and not self.redact and should_show_inputs()
        return FunctionSpec(
            name=name,
            code_version=code_version,
            queue=self.queue_name or name,
            taint=self.taint_name or "",
            retry=self.retry,
            definition_arguments=definition_arguments,
            timeout_s=self.timeout_s,
            limits=self.limits,
            start_timeout_s=self.start_timeout_s,
            at_most_once=self.at_most_once,
            release=release,
            parameters=parameters_of(inspect.signature(fn)) if shows_inputs else "",
            shows_inputs=shows_inputs,
        )


@overload
def dagorama(queue_name: F, /) -> F: ...
@overload
def dagorama(
    queue_name: str | None = None,
    taint_name: str | None = None,
    retry: RetryConfiguration | None = None,
    *,
    timeout: float | None = None,
    code_mismatch: Literal["wait", "warn", "ignore", "fail"] | None = None,
    limit: Limit | Sequence[Limit] | None = None,
    start_timeout: float | None = None,
    at_most_once: bool = False,
    label: str | None = None,
    inputs: bool = True,
    redact: Collection[str] = (),
) -> Decorator: ...


def dagorama(
    queue_name: Callable[..., object] | str | None = None,
    taint_name: str | None = None,
    retry: RetryConfiguration | None = None,
    *,
    timeout: float | None = None,
    code_mismatch: Literal["wait", "warn", "ignore", "fail"] | None = None,
    limit: Limit | Sequence[Limit] | None = None,
    start_timeout: float | None = None,
    at_most_once: bool = False,
    label: str | None = None,
    inputs: bool = True,
    redact: Collection[str] = (),
) -> object:
    """Make a decorator for methods of a `DAGDefinition`; bare `@dagorama` decorates at once.

    Nodes go to the queue `queue_name` (the function's name unless given), and with `taint_name` only to workers that
    have that toleration. `retry` says when a failed attempt is followed by another; without it, never. An attempt that
    takes longer than `timeout` seconds is stopped, and has failed with `TimeoutError`. A node starts when each `limit`
    has room for it. `code_mismatch` says what a worker does with nodes of another version of this function than it has:
    they "wait" for another worker, run after a warning ("warn"), run ("ignore") or "fail"; by default the worker
    decides. A node that is ready for longer than `start_timeout` seconds, and no worker takes it, fails with
    `QueueTimeout`. With `at_most_once` a node whose worker is lost fails with `AttemptLost`, since it may have run; it
    is never run again. `label` names nodes for people who look at them: a format over the arguments, such as
    "{path.stem}". They see the arguments too, unless `inputs` is False, and of those named in `redact` only that they
    are there. Raises `ValueError` naming the argument that cannot be used.
    """
    # Bare `@dagorama` may stand above a descriptor that cannot be called, such as a property.
    if callable(queue_name) or hasattr(queue_name, "__get__"):
        return Decorator(None, None, None)(cast("Callable[..., object]", queue_name))
    for argument, name in (("queue_name", queue_name), ("taint_name", taint_name)):
        if name is not None and not (isinstance(name, str) and name):
            raise ValueError(f"{argument}={name!r}: it must be a name, or left out")
        check_encodable(argument, name or "")
    if retry is not None and not isinstance(retry, RetryConfiguration):
        raise ValueError(f"retry={retry!r}: it must be a policy such as StaticRetry(max_attempts=3, interval=1)")
    return Decorator(
        queue_name,
        taint_name,
        retry,
        timeout,
        code_mismatch,
        limit,
        start_timeout,
        at_most_once,
        label,
        inputs,
        redact,
    )


def _refuse_without_call(kind: str) -> Callable[[object], NoReturn]:
    def refuse(fn: object) -> NoReturn:
        above = getattr(fn, "__qualname__", repr(fn))
        raise ValueError(f"write @dagorama().{kind} above {above}, with parentheses: dagorama() makes the decorator")

    return refuse


vars(dagorama).update({kind: _refuse_without_call(kind) for kind in ("syncfn", "asyncfn")})


def _checked_once(at_most_once: object, retry: RetryConfiguration | None) -> bool:
    """Refuse a value that is no bool, and retries, by which a function runs more than once."""
    if not isinstance(at_most_once, bool):
        raise ValueError(f"at_most_once must be True or False, not {at_most_once!r}")
    if at_most_once and retry is not None and retry.numbers().max_attempts > 1:
        raise ValueError(
            f"at_most_once=True and retry={retry!r} contradict each other: a retry runs the function again. "
            "Leave one of them out"
        )
    return at_most_once


def _checked_inputs(inputs: object, redact: object) -> tuple[bool, tuple[str, ...]]:
    """Refuse what says nothing about the arguments that are shown."""
    if not isinstance(inputs, bool):
        raise ValueError(f"inputs must be True or False, not {inputs!r}")
    if isinstance(redact, str) or not isinstance(redact, Collection):
        raise ValueError(f'redact={redact!r}: it must be a collection of names of arguments, such as ("password",)')
    for name in redact:
        if not isinstance(name, str):
            raise ValueError(f"redact has {name!r}, which is no name of an argument")
    if redact and not inputs:
        raise ValueError("inputs=False shows no arguments, so there is nothing to redact: leave one of them out")
    return inputs, tuple(redact)


def _check_redacted(fn: Callable[..., object], signature: inspect.Signature, redact: Collection[str]) -> None:
    """Raise `ValueError` for what is none of a function's arguments."""
    parameters = list(signature.parameters.values())[1:]
    names = [parameter.name for parameter in parameters]
    unknown = [name for name in redact if name not in names]
    if unknown and not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        has = f"{fn.__qualname__} has {', '.join(names) or 'none'}"
        raise ValueError(f"redact= of {fn.__qualname__} names the unknown argument {unknown[0]!r}; {has}")


def _is_async(fn: object) -> bool:
    return inspect.iscoroutinefunction(fn)


class _Captor:
    """Captures the calls of one decorated function."""

    def __init__(self, fn: Callable[..., object], options: Decorator) -> None:
        """Capture calls of `fn`, the function as the user wrote it."""
        self.fn = fn
        self.options = options
        self.rules = CallRules(fn)
        signature = self.rules.signature
        self.limits = LimitKeys(fn, signature, options.limits) if options.limits else None
        self.labels = None if options.label is None else Labels(fn, signature, options.label)
        if options.redact:
            _check_redacted(fn, signature, options.redact)
            if self.labels is not None and (told := self.labels.told_whole.intersection(options.redact)):
                raise ValueError(f"label= of {fn.__qualname__} would tell {min(told)!r}, which redact= is to hide")
        self.own = OwnSpecs(fn, signature)
        #: Whether nothing but arguments makes a node of a call.
        self.is_plain = self.limits is None and self.labels is None and not options.redact
        self.decorated: Callable[..., object] = fn

    def instance_in(self, args: Args) -> DAGInstance[Any]:
        """Return the instance that the function is called on; `ValueError` for anything else."""
        receiver = args[0] if args else None
        if type(receiver) is DAGInstance:
            return receiver
        name = self.fn.__qualname__
        if isinstance(receiver, DAGDefinition):
            raise ValueError(
                f"{name} was called on a DAGDefinition, but nodes belong to an instance: start one with "
                "`instance, promise = definition(...)`, which calls the entrypoint, and make the call from there"
            )
        raise ValueError(
            f"{name} can only be called as a method of a DAGInstance, not with {receiver!r} as self; a decorator above "
            "@dagorama() has to pass self on"
        )

    def capture(
        self,
        instance: DAGInstance[Any],
        args: Args,
        kwargs: Kwargs,
        scope: Scope | None,
        kept: list[object] | None = None,
    ) -> CapturedCall:
        """Make a node to be of a call whose arguments are right, and have the large values in them stored.

        `scope` is that of the running node which makes the call. Without one the values are kept for as long as the
        object that is added to `kept`.
        """
        own = chosen_options()
        spec = self.spec_of(instance, None if scope is None else scope.store, own)
        try:
            taken = draft_arguments(args[1:], kwargs, what=spec.name)
        except PayloadError:
            self._blame(spec.name, args, kwargs)
            raise
        if type(taken) is Payload:
            if self.is_plain and own is None:
                return captured_call((new_id(), spec, *taken, (), "", ""))
            return self.captured(spec, taken, args, kwargs, own)
        large = cast(Draft, taken)
        payload = self.keep_for(scope, spec.name, large, args, kwargs)
        if kept is not None:
            kept.append(large)
        return self.captured(spec, payload, args, kwargs, own, large.beginning())

    def spec_of(
        self, instance: DAGInstance[Any], store: ValueStore | None, own: NodeOptions | None = None
    ) -> FunctionSpec:
        """Return the spec of a call of the function as a method of an instance's definition, with options of its `own`.

        `store` has what is large in it.
        """
        definition = definition_of(instance)
        construction = construction_of(definition)
        spec = construction.specs.get(self.decorated)
        if spec is None:
            spec = construction.specs[self.decorated] = self._spec(definition, construction, store)
        return spec if own is None else self.own.spec(spec, own)

    def captured(
        self,
        spec: FunctionSpec,
        payload: Payload,
        args: Args,
        kwargs: Kwargs,
        own: NodeOptions | None = None,
        beginning: bytes = b"",
    ) -> CapturedCall:
        """Make a node to be of a call with these arguments. `beginning` is that of a pickle too large for a payload."""
        arguments, dependency_ids = payload
        limit_keys = self.limits.of_call(spec.name, args, kwargs) if self.limits else ()
        # One that needs values which are not there yet is left to the worker.
        may_wait = bool(dependency_ids) or STORED in arguments
        label = self.labels.of_call(args, kwargs, may_wait=may_wait) if self.labels else ""
        if own is not None:
            limit_keys = limit_keys if own.limits is None else self.own.limit_keys(own, spec.name, args, kwargs)
            label = label if own.label is None else own.label
        inputs = self._shown(arguments, beginning) if self.options.redact or beginning else ""
        return captured_call((new_id(), spec, arguments, dependency_ids, limit_keys, label, inputs))

    def _shown(self, payload: bytes, beginning: bytes) -> str:
        """Return the text that is shown of arguments, without the secret ones; empty where none is to be shown.

        The broker gives out the beginning of a payload itself, but not of a pickle that is elsewhere.
        """
        if not self.options.inputs or not should_show_inputs():
            return ""
        return show_arguments(beginning or payload, parameters_of(self.rules.signature), redact=self.options.redact)

    def start(
        self, instance: DAGInstance[Any], call: CapturedCall, args: Args, kwargs: Kwargs, options: InstanceOptions
    ) -> Start:
        """Return the options and hooks for a call that may start its instance."""
        if is_plain(instance, options):
            return Start(options, ())
        arguments = {**self.rules.signature.bind(*args, **kwargs).arguments}
        arguments.pop(next(iter(arguments)))  # self
        kind = cast(type[DAGDefinition], type(definition_of(instance)))
        return start_of(instance, call, arguments, constructor_of(kind), options)

    def capture_inline(
        self, instance: DAGInstance[Any], args: Args, kwargs: Kwargs, own: NodeOptions | None
    ) -> InlineCall:
        """Return a function that runs a call at once, if its arguments are right."""
        name = self._name(definition_of(instance))
        if self.limits:
            self.limits.of_call(name, args, kwargs)  # they have no effect inline, but tests are to see the error
        taken = self.draft(name, args, kwargs)
        own = own or NO_OWN
        self.own.limit_keys(own, name, args, kwargs)
        store = None if type(taken) is Payload else MemoryValues()
        payload = taken if type(taken) is Payload else self.keep(cast(Draft, taken), args, kwargs, store)
        return InlineCall(
            name=name,
            function=self.fn,
            instance_id=id_of(instance),
            definition=definition_of(instance),
            make_self=instance_in_node,
            arguments=payload.data,
            store=store,
            retry=retry_of(own, self.options.retry),
            timeout_s=self.options.timeout_s if own.timeout_s is None else own.timeout_s,
        )

    def draft(self, name: str, args: Args, kwargs: Kwargs) -> Payload | Draft:
        """Encode the arguments; the error names the one that can't be."""
        try:
            return draft_arguments(args[1:], kwargs, what=name)
        except PayloadError:
            self._blame(name, args, kwargs)
            raise

    def _blame(self, name: str, args: Args, kwargs: Kwargs) -> None:
        """Raise the error of the argument that can't be encoded."""
        for argument, value in self.rules.signature.bind(*args, **kwargs).arguments.items():
            if value is not args[0]:
                encode(value, what=f"argument {argument!r} of {name}")

    def keep(self, taken: Draft, args: Args, kwargs: Kwargs, store: ValueStore | None) -> Payload:
        """Have the large values in arguments stored: by `store`, or the broker's own."""
        return taken.keep(_store(store), lambda: self._parts(args, kwargs))

    def keep_for(self, scope: Scope | None, function_name: str, taken: Draft, args: Args, kwargs: Kwargs) -> Payload:
        """Do as `keep`; the values of a running node stay stored until it is reported, others as long as the draft."""
        store = _store(None if scope is None else scope.store)
        began_at = monotonic()
        node = None if scope is None else scope.node
        with asks_for(b"" if node is None else node.node_id):
            payload = self.keep(taken, args, kwargs, store)
        store.hold(taken if node is None else node, payload.data)
        if scope is not None and node is not None:
            if scope.places is None:
                scope.places = {}
            scope.places[function_name, payload.data] = taken.places(self._parts(args, kwargs))
            name = self.fn.__qualname__
            tell_if_loop_stood(
                f"called {name} with large values",
                monotonic() - began_at,
                f"`await asyncio.to_thread(self.{name.rpartition('.')[2]}, ...)` makes the same call",
            )
        return payload

    def named(self, error: BaseException, call: CapturedCall, args: Args, kwargs: Kwargs) -> BaseException:
        """Return the refusal of a large value with the part of the arguments that it is; another error as it is."""
        if type(error) is not BrokerRefused or not is_referring(call.arguments):
            return error
        for reference in read_references(call.arguments).references:
            if reference.digest.hex() in error.detail:
                part = part_in(self._parts(args, kwargs), functools.partial(is_stored_as, reference))
                detail = f"{error.detail}. It is {part}" if part else error.detail
                return BrokerRefused(request=error.request, code=error.code, detail=detail, repeated=error.repeated)
        return error

    def _parts(self, args: Args, kwargs: Kwargs) -> dict[str, object]:
        """Return the arguments by the names that errors have for them."""
        arguments = self.rules.signature.bind(*args, **kwargs).arguments
        return {f"argument {name!r}": value for name, value in arguments.items() if value is not args[0]}

    def _name(self, definition: Definition) -> str:
        """Name the function as a method of this definition's class, which may have inherited it."""
        return f"{class_name(type(definition))}.{node_name(type(definition), self.decorated)}"

    def _spec(self, definition: Definition, construction: Construction, store: ValueStore | None) -> FunctionSpec:
        """Make the spec of the function as a method of this definition's class."""
        kind = type(definition)
        name = node_name(kind, self.decorated)  # refuses what no worker would find
        try:
            arguments = keep_whole(construction.arguments(), lambda: _store(store))
        except TooLarge as error:
            raise too_large(error, f"the arguments that {class_name(kind)} was made with") from None
        return self.options.spec(self.fn, kind, arguments, name, construction.release)


def _store(store: ValueStore | None) -> ValueStore:
    """Return a store; that of the broker which this process asks where there is none."""
    if store is not None:
        return store
    from dagorama.client.asking import broker

    return broker().values()


def _scope_of(instance: DAGInstance[Any], name: str) -> Scope | None:
    """Return the scope of the running node that makes a call on its own instance, None for any other call.

    Raises `CalledElsewhere`, with this name, where that node runs in another process.
    """
    # In a thread that the function started there is no current scope, but it has its instance all the same.
    own = instance.__dict__
    scope: Scope | None = own.get("_dagorama_scope") or current_scope.get()
    if scope is not None and scope.instance_id == own["_dagorama_id"]:  # as `id_of`, without a call for each node
        if scope.process is not capture.here:
            check_process(scope.process, name)
        return scope
    if "_dagorama_process" in own:
        check_process(own["_dagorama_process"], name)
    return None


def _decorate(fn: Callable[..., Any], options: Decorator) -> Callable[..., object]:
    """Make the function that stands in the place of `fn`, which it carries as `original_fn`."""
    remember_code(fn)
    captor = _Captor(fn, options)
    rules, name = captor.rules, fn.__qualname__

    # Errors of a submit come from the call itself: how the request is made is in no message.
    def call(*args: object, **kwargs: object) -> object:
        __tracebackhide__ = True
        instance = args[0] if args and type(args[0]) is DAGInstance else captor.instance_in(args)
        if kwargs or len(args) not in rules.counts:
            if kwargs.pop("greedy_execution", False):
                return fn(*args, **kwargs)
            rules.check(args, kwargs)
        scope = _scope_of(instance, name)
        if scope is not None:
            captured = captor.capture(instance, args, kwargs, scope)
            scope.calls.append(captured)
            return new_promise(captured[0], captured[1].name, _OF_A_NODE)
        if should_run_inline():
            return captor.capture_inline(instance, args, kwargs, chosen_options()).run()
        take_state(definition_of(instance))
        kept: list[object] = []
        captured = captor.capture(instance, args, kwargs, None, kept)
        tell_if_edited(fn, type(definition_of(instance)), captured.function.name)
        from dagorama.client.broker import submit

        check_is_no_child(fn.__qualname__)
        options, hooks = captor.start(instance, captured, args, kwargs, current_options.get())
        try:
            known = submit(id_of(instance), class_name(type(definition_of(instance))), [captured], options, hooks)
        except (DagoramaError, KeyboardInterrupt) as error:
            raise shortened(captor.named(error, captured, args, kwargs)) from error.__cause__
        return submitted_promise(take_start(instance, captured, known), captured.function.name, captured.arguments)

    def call_async(*args: object, **kwargs: object) -> object:
        instance = captor.instance_in(args)
        if kwargs.pop("greedy_execution", False):
            return fn(*args, **kwargs)
        rules.check(args, kwargs)
        caller = _scope_of(instance, name) or current_scope.get() or inline_node.get()
        options, own = current_options.get(), chosen_options()  # it may be awaited in another context
        if caller is None:
            return promise_of(None, 0, instance, args, kwargs, options, own)
        return remembered(caller, promise_of, instance, args, kwargs, options, own)

    async def promise_of(
        begun: Begun | None,
        key: int,
        instance: DAGInstance[Any],
        args: Args,
        kwargs: Kwargs,
        options: InstanceOptions,
        own: NodeOptions | None,
    ) -> object:
        __tracebackhide__ = True
        if begun is not None:
            del begun[key]
        scope = _scope_of(instance, name)
        if scope is None:
            if should_run_inline():
                return await captor.capture_inline(instance, args, kwargs, own).run_async()
            take_state(definition_of(instance))
        spec = captor.spec_of(instance, None if scope is None else scope.store, own)
        taken = captor.draft(spec.name, args, kwargs)
        beginning = b""
        if type(taken) is not Payload:
            from dagorama.client.steps import run_in_thread

            large = cast(Draft, taken)  # it lives until the call is committed, and as long its values are kept
            beginning = large.beginning()
            taken = await run_in_thread(captor.keep_for, scope, spec.name, large, args, kwargs)
        captured = captor.captured(spec, taken, args, kwargs, own, beginning)
        if scope is not None:
            scope.calls.append(captured)
            return new_promise(captured.node_id, captured.function.name, _OF_A_NODE)
        tell_if_edited(fn, type(definition_of(instance)), captured.function.name)
        from dagorama.client.broker import submit_async

        check_is_no_child(fn.__qualname__)
        options, hooks = captor.start(instance, captured, args, kwargs, options)
        definition = class_name(type(definition_of(instance)))
        try:
            known = await submit_async(id_of(instance), definition, [captured], options, hooks)
        except (DagoramaError, KeyboardInterrupt) as error:
            raise shortened(captor.named(error, captured, args, kwargs)) from error.__cause__
        return submitted_promise(take_start(instance, captured, known), captured.function.name, captured.arguments)

    promise_of.__qualname__ = fn.__qualname__  # by which Python names what is never awaited
    captor.decorated = functools.wraps(fn)(call_async if _is_async(fn) else call)
    setattr(captor.decorated, "original_fn", fn)  # noqa: B010 - a function's type knows no further attributes
    setattr(captor.decorated, "dagorama_options", options)  # noqa: B010 - as above
    setattr(captor.decorated, "dagorama_labels", captor.labels)  # noqa: B010 - as above
    setattr(captor.decorated, "dagorama_decorated", captor.decorated)  # noqa: B010 - as above
    return captor.decorated
