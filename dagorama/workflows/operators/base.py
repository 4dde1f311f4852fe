"""Operators: the tasks of a DAG, and the edges that `>>` and `<<` write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, NoReturn, TypeVar, Unpack, overload

from dagorama.workflows.callers import calling_place
from dagorama.workflows.model import Command, Task, Work
from dagorama.workflows.operators.collecting import collection_for, refused, told
from dagorama.workflows.operators.options import Options, read_options
from dagorama.workflows.problems import Place, quoted

Other = TypeVar("Other", bound="Operator")

#: It stands for work that is made when the DAG is started, as functions are packed then.
_LATER = Command(argv="true")


class Operator:
    """A task of the DAG in whose block it is made; its id is the label of its node.

    `a >> b` and `b << a` have b wait for a, `a >> [b, c] >> d` has b and c run at the same time. Both give what stands
    on the right. An operator that returns a value stands for that value in the arguments of another.
    """

    #: Whether its task returns a value.
    has_value: ClassVar[bool] = False

    def __init__(self, task_id: str, **options: Unpack[Options]) -> None:
        """Take the id, which no other operator of the DAG has, and the options; `WorkflowError` outside of a DAG."""
        place = calling_place()
        if not isinstance(task_id, str):
            raise refused(place, f"the id of an operator must be a text, not {task_id!r}", "write it first")
        self.task_id = task_id
        self.dag = collection_for(task_id, place)
        self.place = place
        self._depends: dict[str, Place] = {}
        self._task = read_options(Task(id=task_id, work=_LATER, place=place), self.dag.defaults, options, self.wrong)
        self.dag.members.append(self)

    def __repr__(self) -> str:
        """Show its kind and id."""
        return f"<{type(self).__name__} {self.task_id}>"

    @property
    def sketch(self) -> Task:
        """Return its task, without the work."""
        depends_place = next(iter(self._depends.values()), None)
        return replace(self._task, depends=tuple(self._depends), depends_place=depends_place)

    def work(self) -> Work:
        """Return the work of its task; `ValueError` for one that cannot travel."""
        raise ValueError(f"is of {type(self).__name__}, which says nothing of what it runs: take a BashOperator")

    def wrong(self, message: str, way_out: str = "") -> None:
        """Note what is wrong with it; all of it is told together, where the DAG's block ends."""
        self.dag.wrong(self.place, f"{quoted(self.task_id)}: {message}", way_out)

    def wait_for(self, other: Operator) -> None:
        """Have it start when another operator of its DAG has succeeded."""
        if other.dag is not self.dag:
            message = f"{quoted(self.task_id)} and {quoted(other.task_id)} are in different DAGs"
            raise refused(calling_place(), message, "write both in one block")
        self._depends.setdefault(other.task_id, calling_place())

    @overload
    def __rshift__(self, other: Other) -> Other: ...

    @overload
    def __rshift__(self, other: Sequence[Operator]) -> Several: ...

    def __rshift__(self, other: Operator | Sequence[Operator]) -> Operator | Several:
        """Have what stands on the right wait for it, and return that."""
        return _in_order([self], other, ">>")

    @overload
    def __lshift__(self, other: Other) -> Other: ...

    @overload
    def __lshift__(self, other: Sequence[Operator]) -> Several: ...

    def __lshift__(self, other: Operator | Sequence[Operator]) -> Operator | Several:
        """Have it wait for what stands on the right, and return that."""
        return _in_order([self], other, "<<")

    def __rrshift__(self, other: Sequence[Operator]) -> Operator:
        """Have it wait for all in a list on the left."""
        _in_order([self], other, "<<", written=">>")
        return self

    def __rlshift__(self, other: Sequence[Operator]) -> Operator:
        """Have all in a list on the left wait for it."""
        _in_order([self], other, ">>", written="<<")
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse to travel: only in arguments does it stand for a value."""
        raise TypeError(
            f"it refers to the operator {quoted(self.task_id)}: name that in op_args or op_kwargs, alone or in lists, "
            "tuples and dicts, to be given its value"
        )


class Several(list[Operator]):
    """The operators of a list that stood right of `>>` or `<<`, for what comes after them."""

    def __rshift__(self, other: Other) -> Other:
        """Have an operator wait for all of them, and return it."""
        return _one_for_several(self, other, ">>")

    def __lshift__(self, other: Other) -> Other:
        """Have all of them wait for an operator, and return it."""
        return _one_for_several(self, other, "<<")


def _one_for_several(several: Several, other: Other, sign: str) -> Other:
    if not isinstance(other, Operator):
        left, right = ", ".join(one.task_id for one in several), "the list"
        message = f"a list stands on both sides of {sign}: [{left}] {sign} ..."
        raise refused(calling_place(), message, f"write `for one in [{left}]: one {sign} [...]`, or {right} one by one")
    _in_order(several, other, sign)
    return other


def _in_order(
    left: Sequence[Operator], right: Operator | Sequence[Operator], sign: str, *, written: str = ""
) -> Operator | Several:
    """Write the edges of each operator on the left with each on the right, which is returned.

    `written` is the sign in the file, where the sides are exchanged.
    """
    several = [right] if isinstance(right, Operator) else right
    if not isinstance(several, (list, tuple)) or not all(isinstance(one, Operator) for one in several):
        way_out = "an operator, or a list of operators, may stand there"
        raise refused(calling_place(), f"beside {written or sign} stands {told(right)}", way_out)
    if not several or not left:
        # What stands on both sides of it would not wait for each other.
        raise refused(calling_place(), f"beside {written or sign} stands an empty list", "leave it out")
    for one in left:
        for other in several:
            after, before = (other, one) if sign == ">>" else (one, other)
            after.wait_for(before)
    return right if isinstance(right, Operator) else Several(several)
