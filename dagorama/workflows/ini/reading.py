"""Control files become workflows."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from dagorama.workflows.checks import check_characters, checked
from dagorama.workflows.cron.parsing import parse_cron
from dagorama.workflows.cron.times import never_comes
from dagorama.workflows.cron.words import in_words, likely_meant
from dagorama.workflows.executors.finding import DOMINO, OF_IMAGES, PROCESS, chosen_executor
from dagorama.workflows.ini import options
from dagorama.workflows.ini.lines import DEFAULT, Lines, Option, Section
from dagorama.workflows.ini.options import APP, MODEL, OF_WORKFLOW, OPTIONS, RUN, SCHEDULED
from dagorama.workflows.ini.works import Scheduled
from dagorama.workflows.model import Command, Loaded, Task, Work, Workflow
from dagorama.workflows.problems import Findings, Place, WorkflowError, did_you_mean, quoted
from dagorama.workflows.services.works import AppService, ModelService
from dagorama.workflows.tiers import Tier, configured_tiers

T = TypeVar("T")

_NO_WORDS: tuple[str, ...] = ()
#: The types as messages have them.
_TOLD = {RUN: "a run", SCHEDULED: "a scheduled job", MODEL: "a model", APP: "an app"}


def read(text: str, source: str, *, strict: bool) -> Loaded:
    """Read a control file. `WorkflowError` with all that is wrong with it."""
    if unreadable := list(check_characters(text, source)):
        raise WorkflowError(unreadable)
    found = Findings()
    lines = Lines(text, source, {*OPTIONS, *OF_WORKFLOW}, found)
    reading = _Reading(lines, configured_tiers(), found, source)
    workflow = Workflow(
        name=Path(source).stem or "workflow",
        tasks=tuple(map(reading.task, lines.sections)),
        allow_partial_failure=reading.partial_failure(),
        source=source,
    )
    reading.look_at_all(workflow)
    return checked(workflow, found.problems, notices=found.notices, strict=strict)


class _Reading:
    """One control file on its way to a workflow."""

    def __init__(self, lines: Lines, tiers: dict[str, Tier], found: Findings, source: str) -> None:
        """Take the lines, the tiers that there are, and the name of the file; `found` takes all that is wrong."""
        self._default = lines.default.options
        self._names = {section.name for section in lines.sections}
        self._tiers = tiers
        self._found = found
        self._has_said: set[str] = set()
        self._executor = self._chosen(source)
        for name, option in self._default.items():
            if name not in OPTIONS and name not in OF_WORKFLOW:
                self._unknown(name, option.place)

    def partial_failure(self) -> bool:
        """Return whether independent branches go on after a failure."""
        return self._read_option(self._default.get("allow_partial_failure"), options.boolean, True)

    def task(self, section: Section) -> Task:
        """Return the task of a section; one of which an option is wrong is made as far as it can be."""
        given = {**{name: one for name, one in self._default.items() if name in OPTIONS}, **section.options}
        kind = self._read_option(given.get("type"), options.kind, RUN)
        kind = SCHEDULED if kind == RUN and "cron_string" in given else kind
        for name, option in section.options.items():
            self._check_option(name, option, kind)
        is_of_type = "type" not in given or given["type"].value.strip().lower() in options.TYPES
        missing = [name for name, known in OPTIONS.items() if kind in known.needed and name not in given and is_of_type]
        for name in missing:
            message = f"{quoted(section.name)}, {_TOLD[kind]}, has no {quoted(name)}"
            is_slip = section.name.upper() == DEFAULT
            way_out = f"write {name} = ..." + (f", or [{DEFAULT}] for what all tasks have" if is_slip else "")
            self._found.wrong(section.place, message, way_out)
        tier = self._tier(given.get("tier"), kind)
        return Task(
            id=section.name,
            work=self._work(kind, given, section.name, tier),
            executor=self._executor,
            title=_text(given, "title") if kind in OPTIONS["title"].types else "",
            depends=self._depends(given.get("depends")),
            retries=self._read_option(given.get("max_retries"), options.retries, 0) if kind == RUN else 0,
            timeout_s=self._read_option(given.get("timeout"), options.seconds, 0.0) if kind == RUN else 0.0,
            tier=tier.name,
            queue=tier.queue,
            taint=tier.taint,
            limits=tier.limits,
            place=section.place,
            depends_place=given["depends"].place if "depends" in given else None,
        )

    def look_at_all(self, workflow: Workflow) -> None:
        """Tell of what shows only where all tasks are known."""
        scheduled = {task.id for task in workflow.tasks if isinstance(task.work, Scheduled)}
        for task in workflow.tasks:
            for one in scheduled.intersection(task.depends):
                message = f"{quoted(task.id)} waits for the registration of the schedule {quoted(one)}, not for its job"
                self._found.doubtful(task.place, message, "leave the dependency out")
        if any(not self._names.issuperset(task.depends) for task in workflow.tasks):
            for task in workflow.tasks:
                if len(task.id.split()) > 1:
                    message = f"{quoted(task.id)} has white space in it, so that no 'depends' can name it"
                    self._found.doubtful(task.place, message, "give it a name of one word")
        self._look_at_services(workflow)

    def _look_at_services(self, workflow: Workflow) -> None:
        """Warn of services of one file that take the place of each other, or want the same port."""
        deployed: dict[tuple[str, str], Task] = {}
        for task in workflow.tasks:
            work = task.work
            if not isinstance(work, (ModelService, AppService)) or not work.replaces:
                continue
            before = deployed.setdefault((work.kind, work.replaces), task)
            if before is not task:
                message = f"{quoted(task.id)} takes the place of {quoted(before.id)}, the same {work.kind}"
                self._found.doubtful(task.place, message, "give one of them another name")
        apps = [task for kind, task in deployed.items() if kind[0] == APP]
        for task in apps[1:]:
            message = f"{quoted(task.id)} wants the port of {quoted(apps[0].id)}, so no machine can have both"
            self._found.doubtful(task.place, message, "leave one of them out")

    def _chosen(self, source: str) -> str:
        """Return the executor of all tasks: the one that is chosen, unless that runs images, which no task here has."""
        try:
            chosen = chosen_executor()
        except ValueError as error:
            self._found.wrong(Place(file=source), str(error), "set it to one of them")
            return PROCESS
        return PROCESS if chosen in OF_IMAGES else chosen

    # -- the work --------------------------------------------------------------------------------------------------

    def _work(self, kind: str, given: dict[str, Option], task_id: str, tier: Tier) -> Work:
        if kind == MODEL:
            self._ignored(given, "environment")
            return self._model(given, task_id)
        if kind == APP:
            name = _text(given, "name") or task_id
            if self._executor == DOMINO and _text(given, "command"):
                message = f"with the executor {DOMINO!r} an app runs the app.sh of its project there"
                self._found.wrong(given["command"].place, message, "leave its command out")
            command = self._words(given, "put it into a script, or into quotes")
            description = _text(given, "description")
            return AppService(name=name, description=description, argv=command, resource_limits=tier.resource_limits)
        if kind == SCHEDULED:
            self._ignored(given, "submit_as_running_user")
            return self._scheduled(given)
        argv: tuple[str, ...] | str = _text(given, "command")
        if not self._flag(given, "direct"):
            argv = self._words(given, "direct = true hands it to a shell, quotes keep it as it is")
        return Command(argv=argv, resource_limits=tier.resource_limits)

    def _words(self, given: dict[str, Option], way_out: str) -> tuple[str, ...]:
        """Return the words of a command that no shell is to read."""
        option = given.get("command")
        if option is not None and (part := options.for_shells(option.value)):
            message = f"'command' has {quoted(part)}, which only a shell heeds: here it is a word like any other"
            self._found.doubtful(option.place, message, way_out)
        return self._read_option(option, options.words, _NO_WORDS)

    def _model(self, given: dict[str, Option], task_id: str) -> ModelService:
        model_id, by_name = _text(given, "model_id"), self._flag(given, "deploy_by_name")
        if model_id and by_name:
            message = "'deploy_by_name' goes before 'model_id'"
            self._found.doubtful(given["model_id"].place, message, "leave one of them out")
        return ModelService(
            name=_text(given, "name") or task_id,
            description=_text(given, "description"),
            file=_text(given, "file"),
            function=_text(given, "function"),
            model_id="" if by_name else model_id,
            deploy_by_name=by_name,
            environment=_text(given, "environment"),
        )

    def _scheduled(self, given: dict[str, Option]) -> Scheduled:
        option = given["cron_string"]
        try:
            cron = parse_cron(option.value)
        except ValueError as error:
            self._found.wrong(option.place, f"'cron_string' is wrong: {error}")
        else:
            meant = likely_meant(cron)
            if never_comes(cron, datetime.now()):
                self._found.wrong(option.place, f"'cron_string' names no time that comes: {quoted(option.value)}")
            elif meant:
                message = f"'cron_string' starts the job {in_words(cron)}"
                self._found.doubtful(option.place, message, f"{meant} was probably meant")
            message = f"it is loaded and checked, but not scheduled: it would run {in_words(cron)}"
            self._found.notice(option.place, message)
        return Scheduled(
            cron=option.value,
            command=_text(given, "command"),
            submit_as_running_user=self._flag(given, "submit_as_running_user"),
            deploy_by_name=self._flag(given, "deploy_by_name"),
        )

    # -- options ---------------------------------------------------------------------------------------------------

    def _check_option(self, name: str, option: Option, kind: str) -> None:
        """Tell of an option that there is not, or that means nothing for a type of tasks."""
        if name in OF_WORKFLOW:
            self._found.wrong(
                option.place, f"{quoted(name)} is for the whole file", f"write it in the section [{DEFAULT}]"
            )
        elif name not in OPTIONS:
            self._unknown(name, option.place)
        elif kind not in OPTIONS[name].types:
            self._found.doubtful(option.place, f"{quoted(name)} does nothing for {_TOLD[kind]}", "leave it out")

    def _depends(self, option: Option | None) -> tuple[str, ...]:
        """Return the ids that a task depends on, as far as they can be told apart from commas and comments."""
        words = option.value.split() if option is not None else []
        unknown = [word for word in words if word not in self._names]
        if option is None or not unknown:
            return tuple(dict.fromkeys(words))
        if comment := next((word for word in unknown if word[0] in "#;"), ""):
            self._found.wrong(option.place, "'depends' has a comment after it", "write it on a line of its own")
            words = words[: words.index(comment)]
        if any("," in word for word in unknown):
            self._found.wrong(option.place, "'depends' has a comma", "separate the tasks by white space alone")
            words = [one for word in words for one in ([word] if word in self._names else word.split(",")) if one]
        return tuple(dict.fromkeys(words))

    def _tier(self, option: Option | None, kind: str) -> Tier:
        if option is None or kind == MODEL or not option.value:
            return Tier(name="")
        if self._executor == DOMINO:  # which has tiers of its own; those here say which workers may ask for them
            found = self._tiers.get(option.value.lower(), Tier(name=option.value))
            return replace(found, name=option.value, resource_limits=())
        if not self._tiers:
            if "tiers" not in self._has_said:
                self._has_said.add("tiers")
                message = "'tier' does nothing, as no tiers are configured"
                self._found.doubtful(
                    option.place, message, "DAGORAMA_TIERS names a file that says what each of them is"
                )
            return Tier(name=option.value)
        tier = self._tiers.get(option.value.lower())
        if tier is None:
            names = ", ".join(one.name for one in self._tiers.values())
            self._found.wrong(option.place, f"there is no tier {quoted(option.value)}", f"there are {names}")
            return Tier(name=option.value)
        return tier

    def _flag(self, given: dict[str, Option], name: str) -> bool:
        return self._read_option(given.get(name), options.boolean, False)

    def _ignored(self, given: dict[str, Option], name: str) -> None:
        """Say once of an option of Domino's that it is for other executors than the one here."""
        if name in given and name not in self._has_said and self._executor != DOMINO:
            self._has_said.add(name)
            message = f"{quoted(name)} is for other executors, and does nothing here"
            self._found.notice(given[name].place, message)

    def _read_option(self, option: Option | None, reader: options.Reader[T], default: T) -> T:
        """Read the value of an option; the default where it is wrong."""
        if option is None or not option.value:  # that it is empty is told of already
            return default
        try:
            return reader(option.value)
        except ValueError as error:
            self._found.wrong(option.place, f"{quoted(option.name)} is {quoted(option.value)}: {error}")
            return default

    def _unknown(self, name: str, place: Place) -> None:
        way_out = did_you_mean(name, [*OPTIONS, *OF_WORKFLOW]) or f"there are {', '.join(OPTIONS)}"
        self._found.wrong(place, f"there is no option {quoted(name)}", way_out)


def _text(given: dict[str, Option], name: str) -> str:
    return given[name].value if name in given else ""
