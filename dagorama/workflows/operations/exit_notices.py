"""The hooks of runs of operations: at each end somebody is told, and the run's folders are removed.

A hook belongs to the start of a run. It is called for each of its ends, whatever crashes when, until it has succeeded.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from dagorama.ended import EndedInstance
from dagorama.hooks import HookSettings, post
from dagorama.workflows.events import publish
from dagorama.workflows.operations.execution import STATUS_OF
from dagorama.workflows.staging.runs import run_path
from dagorama.workflows.staging.sweeping import remove_tree

#: The variable of workers with the secret that webhooks of exit notices are signed with.
SECRET_SETTING = "DAGORAMA_NOTICE_SECRET"


@dataclass(frozen=True)
class QueueNotice(HookSettings):
    """A queue that is told of the ends of a run."""

    queue: str
    payload: str | None
    retry = None
    timeout = None

    def __call__(self, ended: EndedInstance) -> None:
        """Put an end into the queue, where the same end is once."""
        publish(self.queue, _message(ended, self.payload), key=_key(ended, "queue"))


@dataclass(frozen=True)
class UrlNotice(HookSettings):
    """A server that is told of the ends of a run."""

    url: str
    payload: str | None
    retry = None
    timeout = None

    def __call__(self, ended: EndedInstance) -> None:
        """Post an end. Raises `OSError` for a server that is not there, `RuntimeError` for one that refuses."""
        post(self.url, _message(ended, self.payload), _key(ended, "url"), secret=os.environ.get(SECRET_SETTING, ""))


@dataclass(frozen=True)
class Cleaning(HookSettings):
    """The removal of a run's folders; claims stay."""

    retry = None
    timeout = None

    def __call__(self, ended: EndedInstance) -> None:
        """Remove the folders of a run, where they are."""
        remove_tree(run_path(str(ended.instance_id)))


def _message(ended: EndedInstance, payload: str | None) -> dict[str, str | None]:
    return {"status": str(STATUS_OF[ended.state]), "payload": payload, "workflow": ended.key}


def _key(ended: EndedInstance, what: str) -> str:
    """Return what tells one end of a run from all others."""
    return f"exit notice {ended.instance_id} {ended.end} {what}"
