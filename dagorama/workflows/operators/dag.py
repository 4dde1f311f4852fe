"""The DAG of operators that its block writes."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType

from dagorama.definition import DAGInstance
from dagorama.logging import get_logger
from dagorama.options import whole_number
from dagorama.workflows.callers import calling_place
from dagorama.workflows.checks import checked
from dagorama.workflows.model import Loaded, Task, Workflow
from dagorama.workflows.operators.collecting import Collection, open_collection, refused, told
from dagorama.workflows.operators.options import Options
from dagorama.workflows.operators.schedules import in_words_of
from dagorama.workflows.problems import Place, Problem, quoted
from dagorama.workflows.running import start_workflow


class DAG(Collection):
    """A DAG of the operators that are made in its `with` block.

    At most `parallelism` of them run at once, 0 for any number. With `allow_partial_failure=False` no further one
    starts after a failure. `default_args` are options for all operators, which go before them with their own.
    `schedule`, a cron string or a timedelta, `start_date` and `catchup` are checked, and nothing is scheduled as yet.
    Where the block ends, `WorkflowError` tells all that is wrong with it, with file and line.
    """

    def __init__(
        self,
        dag_id: str,
        *,
        description: str = "",
        schedule: str | timedelta | None = None,
        start_date: datetime | None = None,
        catchup: bool = False,
        default_args: Options | None = None,
        parallelism: int = 0,
        allow_partial_failure: bool = True,
    ) -> None:
        """Take what is true of the whole."""
        place = calling_place()
        for what, text in (("the id of a DAG", dag_id), ("description", description)):
            if not isinstance(text, str) or (text is dag_id and not (text.strip() and text.isprintable())):
                raise refused(place, f"{what} must be a text, not {told(text)}")
        super().__init__(dag_id, place, _mapping(default_args, place))
        self._description = description
        self._parallelism = self._checked_parallelism(parallelism)
        for what, choice in (("catchup", catchup), ("allow_partial_failure", allow_partial_failure)):
            if not isinstance(choice, bool):
                self.wrong(place, f"{what} must be True or False, not {told(choice)}")
        self._allow_partial_failure = bool(allow_partial_failure)
        self._notices = self._checked_schedule(schedule, start_date)
        self._token: Token[Collection | None] | None = None

    def __repr__(self) -> str:
        """Show its id."""
        return f"<DAG {self.dag_id}>"

    def __enter__(self) -> DAG:
        """Begin the block; `WorkflowError` inside of another's."""
        outer = open_collection.get()
        if outer is not None:
            message = f"the DAG {quoted(self.dag_id)} begins in the block of {quoted(outer.dag_id)}"
            raise refused(calling_place(), message, "end that block first: a DAG has no DAGs in it")
        self._token = open_collection.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the block; `WorkflowError` with all that is wrong with it."""
        if self._token is not None:
            open_collection.reset(self._token)
        if kind is None:
            checked(self._workflow([one.sketch for one in self.members]), self.problems)

    def load(self, *, strict: bool = False) -> Loaded:
        """Return the workflow, and what its author ought to know; `WorkflowError` with all that is wrong with it.

        Functions are packed now, with what they use as it is now.
        """
        problems = list(self.problems)
        tasks: list[Task] = []
        for one in self.members:
            sketch = one.sketch
            try:
                tasks.append(replace(sketch, work=one.work()))
            except ValueError as error:
                tasks.append(sketch)
                if not self.problems:  # else it is told already what is wrong
                    problems.append(Problem(place=sketch.place, message=f"{quoted(sketch.id)} {error}"))
        return checked(self._workflow(tasks), problems, notices=self._notices, strict=strict)

    def submit(self) -> DAGInstance[dict[str, object]]:
        """Start a run at the broker, which is durable when this returns; its result has the value of each task by id.

        Raises `WorkflowError`, `BrokerRefused` and `BrokerUnavailable`.
        """
        loaded = self.load()
        for notice in loaded.notices:
            get_logger().warning("%s", notice)
        folder = Path(self.place.file).resolve().parent if Path(self.place.file).is_file() else ""
        return start_workflow(loaded.workflow, directory=str(folder))

    def run(self, timeout: float | None = None) -> dict[str, object]:
        """Start a run at the broker, wait for its end, `timeout` seconds at most, and return the tasks' values by id.

        Raises what `submit` does, `InstanceFailed`, `InstanceCancelled` and `ResultTimeout`.
        """
        return self.submit().result(timeout=timeout)

    def _workflow(self, tasks: list[Task]) -> Workflow:
        return Workflow(
            name=self.dag_id,
            description=self._description,
            tasks=tuple(tasks),
            parallelism=self._parallelism,
            allow_partial_failure=self._allow_partial_failure,
            source=self.place.file,
        )

    def _checked_parallelism(self, given: object) -> int:
        number = whole_number(given)
        if number is None or number < 0:
            self.wrong(self.place, f"parallelism must be a number from 1, or 0 for any, not {told(given)}")
        return max(number or 0, 0)

    def _checked_schedule(self, schedule: object, start_date: object) -> list[Problem]:
        """Check when it is to run, and return a notice that it does not."""
        if start_date is not None and not isinstance(start_date, datetime):
            self.wrong(self.place, f"start_date must be a datetime, not {told(start_date)}")
        if schedule is None:
            return []
        try:
            words = in_words_of(schedule)
        except ValueError as error:
            self.wrong(self.place, f"schedule is wrong: {error}")
            return []
        message = f"{quoted(self.dag_id)} is loaded and checked, but not scheduled: it would run {words}"
        return [Problem(place=self.place, message=message)]


def _mapping(given: object, place: Place) -> Mapping[str, object]:
    if given is not None and not isinstance(given, Mapping):
        raise refused(place, f"default_args must be a dict of options, not {told(given)}")
    return dict(given or {})
