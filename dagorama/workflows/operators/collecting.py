"""The DAG that is being written: operators find it, and add themselves and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Protocol

from dagorama.workflows.callers import calling_module
from dagorama.workflows.model import Task, Work
from dagorama.workflows.problems import QUOTED_MAX, Findings, Place, Problem, WorkflowError, quoted


class Member(Protocol):
    """An operator, as its DAG sees it."""

    @property
    def sketch(self) -> Task:
        """Return its task, without the work."""
        ...

    def work(self) -> Work:
        """Return the work of the task; `ValueError` for one that cannot travel."""
        ...


class Collection(Findings):
    """A DAG with its operators so far, and all that is wrong with it, which is told together where its block ends."""

    def __init__(self, dag_id: str, place: Place, defaults: Mapping[str, object]) -> None:
        """Begin without operators."""
        super().__init__()
        self.dag_id = dag_id
        self.place = place
        self.defaults = defaults
        #: The name of the module that it is written in.
        self.module = calling_module()
        self.members: list[Member] = []


#: The one whose block is being run.
open_collection: ContextVar[Collection | None] = ContextVar("open_collection", default=None)


def collection_for(task_id: str, place: Place) -> Collection:
    """Return the DAG that is being written; `WorkflowError` where none is."""
    found = open_collection.get()
    if found is None:
        message = f"the operator {quoted(str(task_id))} stands outside of a DAG"
        raise refused(place, message, "write it in the block of `with DAG(...) as dag:`")
    return found


def refused(place: Place, message: str, way_out: str = "") -> WorkflowError:
    """Return an error with one problem."""
    return WorkflowError([Problem(place=place, message=message, way_out=way_out)])


def told(value: object) -> str:
    """Return a value that somebody has written for a message."""
    text = repr(value)
    return text if len(text) <= QUOTED_MAX else f"{text[:QUOTED_MAX]}..."
