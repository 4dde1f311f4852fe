"""Containers for tests: real images, built and run by podman with a storage of its own."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[1]

CONTAINERS_CONF = """
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{directory}/engine"
[network]
network_backend = "netavark"
network_config_dir = "{directory}/networks"
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:1024"]
"""

STORAGE_CONF = """
[storage]
driver = "overlay"
runroot = "{directory}/run"
graphroot = "{directory}/graph"
"""


@dataclass(frozen=True, kw_only=True)
class Containers:
    """Runs podman, buildah and podman-compose on a storage that nobody else uses."""

    environment: dict[str, str]

    def run(self, *command: str, timeout_s: float = 300) -> str:
        """Runs one command and returns what it prints, stripped. Fails the test with its output when it fails."""
        outcome = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if outcome.returncode:
            pytest.fail(f"{' '.join(command)} exited {outcome.returncode}\n{outcome.stdout}\n{outcome.stderr}")
        return outcome.stdout.strip()


@contextmanager
def container_engine() -> Iterator[Containers]:
    """A container engine whose images and containers are gone when the block is left.

    Its directory has a short name: podman refuses a `runroot` of over 50 characters where it cleans up after a
    container, in silence, and then whoever waits for one waits 20 s longer.
    """
    with TemporaryDirectory(prefix="podman-") as directory:
        yield from _container_engine(Path(directory))


def _container_engine(directory: Path) -> Iterator[Containers]:
    for name, text in (("containers.conf", CONTAINERS_CONF), ("storage.conf", STORAGE_CONF)):
        (directory / name).write_text(text.format(directory=directory))
    engine = Containers(
        environment={
            **os.environ,
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
        }
    )
    yield engine
    engine.run("podman", "rm", "--all", "--force", "--volumes")
    engine.run("podman", "rmi", "--all", "--force")


@dataclass(frozen=True, kw_only=True)
class Shell:
    """An image that has busybox alone, of 2 MB, so that its containers start at once."""

    containers: Containers
    image: str

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables by which programs use the engine that has the image."""
        names = ("PATH", "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF")
        return {
            "DAGORAMA_CONTAINER_OPTIONS": "--network=none",
            **{name: self.containers.environment[name] for name in names},
        }


def import_shell(containers: Containers, directory: Path, name: str = "dagorama-shell:test") -> Shell:
    """Make the image of a shell."""
    busybox = Path("/bin/busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    archive = directory / "shell.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(busybox, "bin/busybox")
        for applet in set(applets) - {"busybox"}:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for folder in ("proc", "sys", "dev", "etc", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        passwd = b"root:x:0:0:root:/:/bin/sh\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size = len(passwd)
        tar.addfile(entry, BytesIO(passwd))
    containers.run("podman", "import", "--quiet", str(archive), name)
    return Shell(containers=containers, image=f"localhost/{name}")
