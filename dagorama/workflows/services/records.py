"""The services of this machine: one folder for each, with its record and its keeper's files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from time import sleep

from dagorama.workflows.executors.process.places import is_locked, jobs_folder, lock_now

_LOOK_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service that was deployed here."""

    #: "model" or "app".
    kind: str
    id: str
    name: str
    description: str
    port: int
    #: The run and the task that have deployed it.
    run_id: str
    task_id: str
    #: Another one each time, also where the same task deploys it again.
    deployment: str

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def folder(self) -> Path:
        """Return its folder."""
        return _root() / sha256(f"{self.kind} {self.id}".encode()).hexdigest()[:32]

    @property
    def runs(self) -> bool:
        """Return whether its keeper is there, which starts it anew when it ends."""
        return is_locked(self.folder / "keeper.lock")

    @property
    def is_current(self) -> bool:
        """Return whether it is still there, and no other in its place."""
        return _record_in(self.folder) == self

    def write(self) -> None:
        """Make its folder, and write down what it is."""
        if self.folder.exists():  # a worker was killed before it had a record, or after it had none any more
            self.stop()
        self.folder.mkdir(mode=0o700, parents=True)
        (self.folder / "service.json").write_text(json.dumps(asdict(self)), encoding="utf-8")

    def stop(self) -> None:
        """End it and all that it has started, and forget it."""
        (self.folder / "cancel").touch()
        while self.runs:
            sleep(_LOOK_S)
        shutil.rmtree(self.folder, ignore_errors=True)


def services() -> list[Service]:
    """Return the services of this machine by kind and name, also those whose keeper was killed."""
    found = filter(None, map(_record_in, _root().glob("*")))
    return sorted(found, key=lambda service: (service.kind, service.name, service.id))


def _record_in(folder: Path) -> Service | None:
    """Return the service of a folder; None where it is being removed."""
    try:
        return Service(**json.loads((folder / "service.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def deploying() -> Iterator[None]:
    """Let nobody else start or stop services in the block."""
    root = _root()
    root.mkdir(mode=0o700, exist_ok=True)
    while (lock := lock_now(root / "lock")) is None:
        sleep(_LOOK_S)
    try:
        yield
    finally:
        os.close(lock)


def _root() -> Path:
    return jobs_folder() / "services"
