"""The frame of all pages of an instance: its head, actions and tabs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from starlette.requests import Request

from dagorama import Instance, InstanceState, InstanceStatus
from dagorama.states import ENDED
from dagorama.ui.pages.asked import instance_in

#: The tabs in their order: the end of the address, and the word.
TABS = (
    ("", "Overview"),
    ("/graph", "Graph"),
    ("/timeline", "Timeline"),
    ("/nodes", "Nodes"),
    ("/artifacts", "Artifacts"),
    ("/failures", "Failures"),
    ("/logs", "Logs"),
    ("/history", "History"),
)
#: What has been done, in words, by the verb in the address that the reader is led to afterwards.
DONE = {
    "cancel": "Cancelled. Nodes that run are told to stop.",
    "retry": "It goes on from where it failed.",
    "pause": "Paused. Nodes that run will finish; no further ones begin.",
    "resume": "It goes on.",
    "priority": "Its priority has changed.",
    "cap": "Its cap has changed.",
    "rerun": "The node runs again, and all that its value went into.",
    "retry_now": "It runs as soon as a worker is free.",
    "start": "Started.",
}


class Tab(NamedTuple):
    """A tab of an instance."""

    url: str
    word: str
    #: How many there are of what it shows; None where that says nothing.
    number: int | None
    #: The state that colours the number; empty for none.
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The values that the template of the frame needs."""

    instance: Instance
    about: InstanceStatus
    url: str
    total: int
    ended: int
    has_ended: bool
    tabs: list[Tab]
    #: The verbs that fit its state.
    actions: set[str]
    #: What has been done, or why it was refused, for people; empty for nothing.
    done: str
    refused: str

    def values(self) -> dict[str, Any]:
        """Return them by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


async def instance_frame(request: Request, refused: str = "") -> Frame:
    """Read the instance that an address names, and return the values of its frame."""
    instance = await instance_in(request).arefresh()
    about = instance.status
    return Frame(
        instance=instance,
        about=about,
        url=f"/instances/{instance.id}",
        total=sum(about.counts.values()),
        ended=sum(count for state, count in about.counts.items() if state in ENDED),
        has_ended=about.state is not InstanceState.RUNNING,
        tabs=_tabs(about),
        actions=actions_of(about),
        done=DONE.get(request.query_params.get("done", ""), ""),
        refused=refused,
    )


def _tabs(about: InstanceStatus) -> list[Tab]:
    """Return the tabs of an instance, with their numbers."""
    numbers = {"/nodes": sum(about.counts.values()), "/failures": about.counts.get("failed")}
    return [
        Tab(f"/instances/{about.instance_id}{end}", word, numbers.get(end), "failed" if end == "/failures" else "")
        for end, word in TABS
        if about.workflow or end != "/artifacts"
    ]


def actions_of(about: InstanceStatus) -> set[str]:
    """Return the verbs that fit the state of an instance."""
    if about.state is InstanceState.RUNNING:
        return {"resume" if about.paused else "pause", "priority", "cap", "cancel"}
    return {"retry", "delete"} if about.state is InstanceState.FAILED else {"delete"}
