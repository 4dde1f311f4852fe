"""Containers for the acceptance tests: real images, built and run by podman with a storage of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers import Containers, container_engine


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    """A container engine whose images, containers and firewall rules are gone before the next module begins."""
    with container_engine() as engine:
        tables = set(engine.run("nft", "list", "tables").splitlines())
        yield engine
    # The engine leaves its tables of rules behind, and they slow down the loopback for whatever is measured next.
    for table in set(engine.run("nft", "list", "tables").splitlines()) - tables:
        engine.run("nft", "delete", *table.split())


@pytest.fixture(scope="module")
def base_image(containers: Containers) -> str:
    """A Debian with Python, made from packages once and kept in the user's cache directory."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dagorama-tests"
    archive = cache / "bookworm-python3.tar"
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = cache / f"{archive.name}.{os.getpid()}"
        packages = "--include=python3,python3-venv,ca-certificates"
        containers.run(
            "mmdebstrap", "--variant=minbase", packages, "--format=tar", "bookworm", str(fresh), timeout_s=600
        )
        fresh.rename(archive)
    containers.run("podman", "import", "--quiet", str(archive), "dagorama-base:test")
    return "localhost/dagorama-base:test"


@pytest.fixture(scope="module")
def image(containers: Containers, base_image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of this tree, built as a user builds it but for the base and for where packages come from."""
    pip_conf = tmp_path_factory.mktemp("pip") / "pip.conf"
    pip_conf.write_text(pip_configuration())
    # Podman's own builder wants more of the system than a test may; health checks are no part of the default format.
    options = (
        "--isolation=chroot",
        "--format=docker",
        "--volume=/etc/ssl/certs:/etc/ssl/certs:ro",
        f"--volume={pip_conf}:/etc/pip.conf:ro",
    )
    containers.run(
        "make",
        "image",
        "CONTAINER_TOOL=buildah",
        "IMAGE=dagorama:test",
        f"BASE_IMAGE={base_image}",
        f"BUILD_OPTIONS={' '.join(options)}",
        timeout_s=600,
    )
    return "localhost/dagorama:test"


def pip_configuration() -> str:
    """Returns a pip.conf for inside the build that names the package index that is configured outside."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    chosen = {}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        option = key.rpartition(".")[2]
        if option in {"index-url", "trusted-host"} and "file:" not in value:
            chosen[option] = value.strip("'\"")
    return "[global]\n" + "".join(f"{option} = {value}\n" for option, value in chosen.items())
