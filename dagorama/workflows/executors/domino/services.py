"""Models and apps at Domino: published, and waited for until they run."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

from dagorama.logging import get_logger
from dagorama.workflows.executors.domino.platform import DominoAway, DominoRefuses, Platform
from dagorama.workflows.executors.port import JobStopped, Service
from dagorama.workflows.executors.process.launching import seconds_of
from dagorama.workflows.problems import TaskFailed, quoted

#: A service runs within so long, in which Domino builds its image; `DAGORAMA_HEALTH_S` sets another time.
_HEALTH_S = 3600.0
#: Domino is asked so often how a service stands, at first and in the end.
_LOOK_S, _LOOK_MAX_S = 0.1, 10.0
_RUNNING = "running"
_FAILED, _STOPPED = frozenset({"error", "failed"}), "stopped"
#: The visibility of environments that all users have.
_GLOBAL = "Global"


def deploy(
    connect: Callable[[], Platform], service: Service, should_stop: Callable[[], bool], *, away_s: float
) -> dict[str, str]:
    """Deploy a service, wait until it runs, and return its id and name. `TaskFailed`, and `JobStopped`."""
    try:
        platform = connect()
        return (_model if service.kind == "model" else _app)(platform, service, should_stop, away_s)
    except (DominoAway, DominoRefuses, ValueError) as error:
        problem = f"cannot be deployed at Domino: {error}"
        raise TaskFailed(task_id=service.task_id, problem=problem) from None


def tier_of(platform: Platform, name: str) -> tuple[str, str]:
    """Return the name of a hardware tier as Domino writes it, and its id; both empty for no name.

    `DominoRefuses` with the choices for one that there is not.
    """
    if not name:
        return "", ""
    tiers = platform.tiers()
    found = name if name in tiers else next((one for one in tiers if one.lower() == name.lower()), None)
    if found is None:
        raise DominoRefuses(f"there is no hardware tier {quoted(name)}; there are {', '.join(map(quoted, tiers))}")
    return found, tiers[found]


def _model(platform: Platform, service: Service, should_stop: Callable[[], bool], away_s: float) -> dict[str, str]:
    environment = _environment(platform, service)
    model = _named_model(platform, service) if service.by_name else service.id
    told = {"file": service.file, "function": service.function, "environment": environment}
    if model:
        platform.publish_version(model, **told, description=service.description)
    else:
        model = platform.publish_model(**told, name=service.name, description=service.description)
    version = platform.latest_version(model)
    shown = f"model {quoted(service.name)} ({model})"

    def state() -> str:
        build, deployment = platform.model_status(model, version)
        return build if build in _FAILED else deployment

    _await_running(state, service, shown, should_stop, away_s)
    return {"id": model, "name": service.name, "version": version}


def _named_model(platform: Platform, service: Service) -> str:
    """Return the id of the model of a name; empty for none, and `DominoRefuses` for several."""
    found = [str(one["id"]) for one in platform.models() if one.get("name") == service.name]
    if len(found) > 1:
        raise DominoRefuses(f"there are several models of the name {quoted(service.name)}: {', '.join(found)}")
    return found[0] if found else ""


def _environment(platform: Platform, service: Service) -> str:
    """Return the id of the environment that a model names, by its id or name, or else of the first global one."""
    known = platform.environments()
    wanted = service.environment
    if wanted:
        found = [one for one in known if one.get("id") == wanted] or [one for one in known if one.get("name") == wanted]
        if len(found) != 1:
            names = ", ".join(quoted(str(one.get("name"))) for one in known)
            how_many = "several environments" if found else "no environment"
            raise DominoRefuses(f"there is {how_many} {quoted(wanted)}; there are {names}: write its id")
        return str(found[0]["id"])
    default = next((one for one in known if one.get("visibility") == _GLOBAL), None)
    if default is None:
        raise DominoRefuses("a model needs an environment, and there is no global one: write environment = ID")
    message = "task %r names no environment for its model, which is built in the first global one: %s"
    get_logger().warning(message, service.task_id, default.get("name"))
    return str(default["id"])


def _app(platform: Platform, service: Service, should_stop: Callable[[], bool], away_s: float) -> dict[str, str]:
    if service.argv:
        raise DominoRefuses("an app runs the app.sh of its project there: leave its command out")
    _, tier = tier_of(platform, service.tier)
    app = platform.publish_app(tier=tier)
    _await_running(lambda: platform.app_status(app), service, f"app {app}", should_stop, away_s)
    return {"id": app, "name": service.name}


def _await_running(
    ask: Callable[[], str], service: Service, shown: str, should_stop: Callable[[], bool], away_s: float
) -> None:
    """Wait until a service runs, and print each state that it comes to."""
    within_s = seconds_of("DAGORAMA_HEALTH_S", _HEALTH_S)
    began_at = answered_at = monotonic()
    pause_s = _LOOK_S
    before = state = ""
    while state != _RUNNING:
        try:
            before, state = state, ask()
            answered_at = monotonic()
            if state != before:
                print(f"Domino: {shown} is {state}", flush=True)
                pause_s = _LOOK_S
        except DominoAway as error:
            get_logger().warning("task %r waits: Domino does not answer: %s", service.task_id, error)
            if monotonic() - answered_at >= away_s:
                raise
        if state in _FAILED or (state == _STOPPED and before not in ("", _STOPPED)):  # an old app may stop at first
            raise DominoRefuses(f"its {shown} is {state}: Domino shows why")
        if state != _RUNNING:
            if should_stop():
                raise JobStopped
            if monotonic() - began_at >= within_s:
                raise DominoRefuses(f"its {shown} does not run after {within_s:g} s, and is {state or 'unknown'}")
            sleep(pause_s)
            pause_s = min(2 * pause_s, _LOOK_MAX_S)
