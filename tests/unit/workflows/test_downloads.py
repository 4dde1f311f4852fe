"""Inputs come over HTTP, from where they may, as large as they may be, and with secrets that nobody sees."""

from __future__ import annotations

import errno
import io
import os
import socket
import ssl
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dagorama.workflows.staging import downloads
from dagorama.workflows.staging.addresses import ORIGINS_SETTING, is_local, may_be_local
from dagorama.workflows.staging.bringing import bring
from dagorama.workflows.staging.directory import Directory
from dagorama.workflows.staging.faults import Missing, StagingFailed, TooMuch
from dagorama.workflows.staging.file_data import FileData
from dagorama.workflows.staging.limits import SETTING
from dagorama.workflows.staging.secrets import DIRECTORY_SETTING, SECRET_BYTES_MAX, BadSecret, filled_in
from dagorama.workflows.staging.steps import Content, Download, Input, Move, Present, Upload

#: Answers with a file, measured in both ways; the number in front of each piece may begin with zeros.
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nthe file"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0004\r\nthe \r\n0004\r\nfile\r\n0\r\n"


@contextmanager
def saying(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Serve an answer for each connection, which ends with it; give the URL, and a list of what was answered."""
    said: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connected, _ = server.accept()
                with connected:
                    while not connected.recv(2**16).endswith(b"\r\n\r\n"):
                        pass
                    connected.sendall(answer)
                    said.append(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/x", said
        thread.join()


def archive() -> bytes:
    """Return an archive with one file."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        opened.writestr("in/side.txt", "unpacked")
    return made.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answers by the path, and notes what was asked."""

    server: Origin

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer()

    def do_POST(self) -> None:
        """Answer a POST."""
        if self.path == "/get-only":
            self.send_error(405)
        else:
            self._answer()

    def _answer(self) -> None:
        self.server.asked.append((self.command, self.path, self.headers.get("Authorization", "")))
        path, _, rest = self.path.partition("?")
        if path == "/to":
            self.send_response(302)
            self.send_header("Location", rest)
            self.end_headers()
        elif path == "/flaky" and len(self.server.asked) < 3:
            self.send_error(503)
        elif path == "/short":
            self._give(b"x" * 10, length=100)
        elif path == "/list":
            self._give(f'[{{"zip_file": {{"url": "{self.server.url}/archive"}}}}]'.encode())
        elif path == "/long-list":
            self._give(b" " * 2**20 + b"[]")
        elif path in ("/archive", "/get-only"):
            self._give(archive())
        elif path == "/endless":
            self._give_endlessly()
        elif path == "/trickling-head":
            self._trickle(b"HTTP/1.0 200 OK\r\nX: ")
        elif path == "/trickling":
            self._trickle(b"HTTP/1.0 200 OK\r\n\r\n")
        elif path == "/missing":
            self.send_error(404, self.headers.get("Authorization"))
        elif path == "/no-http":
            self.wfile.write(self.headers.get("Authorization", "").encode() + b"\r\n")
        else:
            self._give(b"the file")

    def _give(self, data: bytes, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def _give_endlessly(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(2**16))
        except OSError:
            pass

    def _trickle(self, begin: bytes) -> None:
        """Give a byte now and then, for ever."""
        self.wfile.write(begin)
        try:
            while not self.server.released.wait(0.02):
                self.wfile.write(b"x")
        except OSError:
            pass


class Origin(ThreadingHTTPServer):
    """A server on loopback."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str, str]] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A server that serves."""
    with Origin() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Directory:
    """The directory of a run of a local broker."""
    monkeypatch.delenv("DAGORAMA_HOST", raising=False)
    monkeypatch.delenv(ORIGINS_SETTING, raising=False)
    (tmp_path / "run").mkdir()
    return Directory(tmp_path / "run")


def staged(directory: Directory, *inputs: Input, uploads: dict[str, FileData] | None = None) -> dict[str, str]:
    """Bring inputs, and return all files that there are then."""
    bring(inputs, directory, uploads=uploads or {}, listens_at=str, pause=lambda _: None, check=lambda: None)
    found = {}
    for each in directory.files("."):
        with directory.reading(each.name) as opened:
            found[each.name] = opened.read().decode()
    return found


def test_inputs_are_brought_in_order(directory: Directory, origin: Origin) -> None:
    """Each input finds what those before it have brought, in folders that are made."""
    brought = staged(
        directory,
        Content(text="ein Text: ä", local="a/b.txt"),
        Move(origin="a/b.txt", local="c/d.txt"),
        Present(local="c/d.txt"),
        Download(origin=f"{origin.url}/file", local="c/e.txt"),
        Upload(name="mine", local="f.txt"),
        Present(local="c"),
        uploads={"mine": FileData(b"uploaded")},
    )
    assert brought == {"c/d.txt": "ein Text: ä", "c/e.txt": "the file", "f.txt": "uploaded"}


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (Present(local="missing"), "missing is not there"),
        (Move(origin="missing", local="x"), "missing is not there"),
        (Upload(name="other", local="x"), "the upload 'other' was not given"),
    ],
)
def test_what_cannot_be_brought_is_told(directory: Directory, step: Input, told: str) -> None:
    """A job whose input is not there fails before its command, and says which."""
    with pytest.raises(StagingFailed, match=told):
        staged(directory, step)


def test_an_answer_that_fails_is_told(directory: Directory, origin: Origin) -> None:
    """An origin that has not got the file, or breaks off, fails the input, and half a file is never at its place."""
    for path, told in (("/missing", "was answered with 404"), ("/short", "broke off after 10 of 100 bytes")):
        with pytest.raises(StagingFailed, match=told):
            staged(directory, Download(origin=f"{origin.url}{path}", local="x"))
    assert staged(directory) == {}


def test_half_a_file_is_never_a_file(directory: Directory) -> None:
    """Wherever the connection ends in the head, or in the body in whichever way it is measured, it is asked again."""
    for whole in (PLAIN, CHUNKED):
        for end in range(len(whole)):
            with saying(whole[:end], whole) as (url, asked):
                assert staged(directory, Download(origin=url, local="x")) == {"x": "the file"}, whole[:end]
            assert asked == [whole[:end], whole]


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (b"Transfer-Encoding: gzip, chunked", "its transfer encoding is none that is known here"),
        (b"Content-Length: 8, 8", "its length is no number"),
        (b"nonsense\r\nContent-Length: 80", "its head has a line that is no header"),
    ],
)
def test_a_file_that_nobody_can_measure_is_refused(directory: Directory, head: bytes, problem: str) -> None:
    """It would be taken for whole wherever the connection ends."""
    answer = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\nthe file"
    with saying(answer) as (url, _), pytest.raises(StagingFailed, match=problem):
        staged(directory, Download(origin=url, local="x"))


def test_a_name_that_no_host_can_have_is_told(directory: Directory) -> None:
    """A host whose name cannot be looked up at all fails the input with words, at once."""
    with pytest.raises(StagingFailed, match="names a host that can have no address"):
        staged(directory, Download(origin="http://a..b/x", local="x"))


def test_a_full_disk_is_not_the_fault_of_the_server(origin: Origin) -> None:
    """What cannot be written is told as that, and not fetched again."""

    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fetched = downloads.Downloads(may_be_local=True, pause=lambda _: None, check=lambda: None)
    with pytest.raises(StagingFailed, match="cannot be written to the run's directory: No space left"):
        fetched.fetch(f"{origin.url}/file", Full())
    assert len(origin.asked) == 1


def test_a_handshake_that_breaks_off_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that ends before it is encrypted says nothing about whom to trust."""
    pauses: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(downloads, "SILENCE_S", 0.05)  # nobody answers
        fetched = downloads.Downloads(may_be_local=True, pause=pauses.append, check=lambda: None)
        with pytest.raises(StagingFailed, match="broke off"):
            fetched.fetch(f"https://127.0.0.1:{server.getsockname()[1]}/", io.BytesIO())
    assert pauses == list(downloads.PAUSES_S)


def test_what_is_wrong_for_a_moment_is_tried_again(directory: Directory, origin: Origin) -> None:
    """A server that is busy is asked again."""
    assert staged(directory, Download(origin=f"{origin.url}/flaky", local="x")) == {"x": "the file"}
    assert len(origin.asked) == 3


def test_secrets_go_into_the_header_and_nowhere_else(
    directory: Directory, origin: Origin, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The value of {{NAME}} is in the request, and neither in a message nor in the run's directory."""
    monkeypatch.setenv("SHOP_TOKEN", "s3cret")
    step = Download(origin=f"{origin.url}/file", local="x", auth="Bearer {{ SHOP_TOKEN }}")
    assert staged(directory, step) == {"x": "the file"}
    assert origin.asked == [("GET", "/file", "Bearer s3cret")]
    told = f"{step!r}"
    for path in ("missing?sig=q", "no-http?sig=q", "to?https://user:sig=q@127.0.0.1:1/x", "to?https:///x?sig=q"):
        with pytest.raises(StagingFailed) as caught:
            staged(directory, Download(origin=f"{origin.url}/{path}", local="x", auth="Bearer {{SHOP_TOKEN}}"))
        told += f"{caught.value!r}{caught.value}"
    told += f"{capfd.readouterr()}"
    assert ("s3cret" in told, "sig=q" in told) == (False, False)


def test_a_secret_does_not_go_to_another_server(
    directory: Directory, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an origin sends on to another server, the header stays behind; on the same one it goes along."""
    monkeypatch.setenv("SHOP_TOKEN", "s3cret")
    other = f"http://localhost:{origin.server_port}/file"
    for target in (other, "/file"):
        staged(directory, Download(origin=f"{origin.url}/to?{target}", local="x", auth="{{SHOP_TOKEN}}"))
    assert [authorization for _, _, authorization in origin.asked] == ["s3cret", "", "s3cret", "s3cret"]


def test_secrets_are_files_or_variables(tmp_path: Path) -> None:
    """A secret is a file of the directory for them, or a variable; dagorama's own settings are none."""
    (tmp_path / "A").write_text("of a file\n")
    environment = {DIRECTORY_SETTING: str(tmp_path), "A": "variable", "B": "variable", "DAGORAMA_TOKEN": "x"}
    assert filled_in("{{A}}, {{B}}", environment) == "of a file, variable"
    assert filled_in("no {secret}", environment) == "no {secret}"
    (tmp_path / "LINES").write_text("a\nb")
    for text in ("{{C}}", "{{DAGORAMA_TOKEN}}", "{{dagorama_token}}", "{{../A}}", "{{}}", "{{LINES}}"):
        with pytest.raises(BadSecret) as caught:
            filled_in(text, environment)
        assert "variable" not in caught.value.problem


def test_a_secret_that_is_too_long_is_refused_by_its_name(tmp_path: Path) -> None:
    """No part of a secret goes into a header, be it that white space stands where it would be cut off."""
    environment = {DIRECTORY_SETTING: str(tmp_path), "VARIABLE": "x" * (SECRET_BYTES_MAX + 1)}
    (tmp_path / "FILE").write_text("x" * (SECRET_BYTES_MAX + 1))
    (tmp_path / "SPACED").write_text(f"{'x':<20000}y")
    (tmp_path / "LONGEST").write_text("x" * (SECRET_BYTES_MAX - 1) + "\n")
    for name in ("VARIABLE", "FILE", "SPACED"):
        with pytest.raises(BadSecret, match=f"the secret {name} has more than 16,384 bytes"):
            filled_in(f"{{{{{name}}}}}", environment)
    assert len(filled_in("{{LONGEST}}", environment)) == SECRET_BYTES_MAX - 1


@pytest.mark.parametrize("path", ["/archive", "/list", "/get-only"])
def test_an_answer_is_unpacked(directory: Directory, origin: Origin, path: str) -> None:
    """With json-zipfile the answer of a POST is unpacked: an archive, or JSON that names one."""
    step = Download(origin=f"{origin.url}{path}", local="folder", unpack=True)
    assert staged(directory, step) == {"folder/in/side.txt": "unpacked"}
    methods = {"/archive": ["POST"], "/list": ["POST", "GET"], "/get-only": ["GET"]}
    assert methods[path] == [method for method, _, _ in origin.asked]


def test_an_answer_that_is_no_archive_is_told(directory: Directory, origin: Origin) -> None:
    """An answer that is neither an archive nor names one fails the input, and one that is too long is not cut off."""
    for path, told in (("file", "neither a zip archive nor JSON"), ("long-list", "of more than 1,048,576 bytes that")):
        with pytest.raises(StagingFailed, match=told):
            staged(directory, Download(origin=f"{origin.url}/{path}", local="x", unpack=True))


def test_sizes_are_bounded(directory: Directory, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never ends does not fill the disk."""
    monkeypatch.setenv(SETTING, "1000000")
    with pytest.raises(TooMuch, match="has more than 1,000,000 bytes"):
        staged(directory, Download(origin=f"{origin.url}/endless", local="x"))
    assert staged(directory) == {}


def test_a_job_that_is_to_stop_does_so(directory: Directory, origin: Origin) -> None:
    """A download ends when the node does."""

    class Stopped(Exception):
        pass

    def check() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        bring(
            [Download(origin=f"{origin.url}/endless", local="x")],
            directory,
            uploads={},
            listens_at=str,
            pause=lambda _: None,
            check=check,
        )


class Stopped(Exception):
    """The job is to stop."""


def fetched_until_stopped(url: str) -> None:
    """Fetch a URL for a job that is to stop as soon as that has begun."""

    def check() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        downloads.Downloads(may_be_local=True, pause=lambda _: None, check=check).fetch(url, io.BytesIO())


@pytest.mark.parametrize("path", ["trickling-head", "trickling"])
def test_a_job_that_is_to_stop_does_not_wait_for_a_server_that_trickles(origin: Origin, path: str) -> None:
    """A server that gives a byte now and then, of the head or the file, keeps no job."""
    fetched_until_stopped(f"{origin.url}/{path}")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_job_that_is_to_stop_does_not_wait_for_a_server_that_is_silent(scheme: str) -> None:
    """A server that takes a connection, and neither a handshake nor a request, keeps no job."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        fetched_until_stopped(f"{scheme}://127.0.0.1:{server.getsockname()[1]}/")


def test_a_job_that_is_to_stop_does_not_wait_for_a_connection() -> None:
    """A machine that does not answer at all keeps no job."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as held:
        address = server.getsockname()
        while True:  # until there is no room for another
            filling = held.enter_context(socket.socket())
            filling.settimeout(0.2)
            try:
                filling.connect(address)
            except TimeoutError:
                break
        fetched_until_stopped(f"http://127.0.0.1:{address[1]}/")


def test_a_server_begins_with_the_file_in_time(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that trickles is broken off, and no part of it is taken for a whole one."""
    monkeypatch.setattr(downloads, "SILENCE_S", 0.3)
    fetched = downloads.Downloads(may_be_local=True, pause=lambda _: None, check=lambda: None)
    with pytest.raises(StagingFailed, match="broke off: TimeoutError"):
        fetched.fetch(f"{origin.url}/trickling-head", io.BytesIO())


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3", "169.254.169.254", "::1", "::", "fe80::1%eth0", "224.0.0.1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1"),
        *("fd00:ec2::254", "100.100.100.200"),
    ],
)
def test_addresses_of_the_machine_itself_are_known(address: str) -> None:
    """Loopback and link-local addresses are found, also where IPv6 hides one of IPv4."""
    assert is_local(address)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "10.0.0.1", "192.168.1.1", "2606:2800:220:1::1", "64:ff9b::808:808"]
)
def test_addresses_of_other_machines_are_not(address: str) -> None:
    """Machines on the internet and in one's own network may be asked."""
    assert not is_local(address)


@pytest.mark.parametrize(
    ("host", "listens_at", "setting", "may"),
    [
        ("", "", "", True),
        ("localhost", "localhost", "", True),
        ("::1", "::1", "", True),
        ("broker.example.com", "", "", False),
        ("10.0.0.1", "10.0.0.1", "", False),
        ("localhost", "0.0.0.0", "", False),
        ("", "::", "", False),
        ("localhost", "localhost", "public", False),
        ("broker.example.com", "0.0.0.0", "any", True),
    ],
)
def test_local_origins_are_for_local_brokers(
    monkeypatch: pytest.MonkeyPatch, host: str, listens_at: str, setting: str, may: bool
) -> None:
    """A worker fetches from its own machine where the broker is, for nobody else, or where a setting says so."""
    monkeypatch.setenv("DAGORAMA_HOST", host)
    monkeypatch.setenv(ORIGINS_SETTING, setting)
    assert may == may_be_local(lambda: listens_at)


def test_a_wrong_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that is neither of the three is refused."""
    monkeypatch.setenv(ORIGINS_SETTING, "all")
    with pytest.raises(ValueError, match="neither auto, public nor any"):
        may_be_local(str)


def _resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Have each look-up of a name give the next of these addresses; return the names that are looked up."""
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str, port: int, **options: Any) -> Any:
        looked_up.append(host)
        return real(addresses[min(len(looked_up), len(addresses)) - 1], port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return looked_up


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"])
def test_nothing_is_asked_of_the_machine_itself(
    directory: Directory, origin: Origin, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """A broker that is not local has no worker ask its own machine, however the address is written."""
    monkeypatch.setenv("DAGORAMA_HOST", "broker.example.com")
    with pytest.raises(StagingFailed, match="only programs on the worker's machine may ask"):
        staged(directory, Download(origin=f"http://{host}:{origin.server_port}/file", local="x"))
    assert origin.asked == []


def test_names_are_looked_at_by_their_addresses(
    directory: Directory, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads to loopback is refused like loopback itself."""
    monkeypatch.setenv("DAGORAMA_HOST", "broker.example.com")
    looked_up = _resolving(monkeypatch, "127.0.0.1")
    with pytest.raises(StagingFailed, match=r"is at 127\.0\.0\.1"):
        staged(directory, Download(origin=f"http://harmless.example.com:{origin.server_port}/file", local="x"))
    assert (origin.asked, looked_up) == ([], ["harmless.example.com"])


def test_a_name_is_looked_up_once(directory: Directory, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was looked at is the one that is connected to, whatever the name would lead to next."""
    looked_up = _resolving(monkeypatch, "127.0.0.1", "203.0.113.1")
    step = Download(origin=f"http://rebinding.example.com:{origin.server_port}/file", local="x")
    assert staged(directory, step) == {"x": "the file"}
    assert looked_up == ["rebinding.example.com"]


def test_a_redirect_is_looked_at_like_an_origin(
    directory: Directory, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server elsewhere that sends on to loopback, or to another scheme, is not followed there."""
    monkeypatch.setenv("DAGORAMA_HOST", "broker.example.com")
    monkeypatch.setattr(downloads, "is_local", lambda address: address == "127.0.0.2")
    for target, told in (
        (f"http://127.0.0.2:{origin.server_port}/file", "only programs on the worker's machine"),
        ("file:///etc/passwd", "none of http or https"),
        ("/to?/to?/to?/to?/to?/to?/to?/file", "sent on more than 5 times"),
    ):
        with pytest.raises(StagingFailed, match=told):
            staged(directory, Download(origin=f"{origin.url}/to?{target}", local="x"))
    assert not any(path == "/file" for _, path, _ in origin.asked)


def test_a_named_archive_is_looked_at_like_an_origin(
    directory: Directory, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL in an answer is another origin: no secret goes there, and it may not be loopback either."""
    monkeypatch.setenv("SHOP_TOKEN", "s3cret")
    step = Download(origin=f"{origin.url}/list", local="folder", auth="{{SHOP_TOKEN}}", unpack=True)
    staged(directory, step)
    assert [(method, authorization) for method, _, authorization in origin.asked] == [("POST", "s3cret"), ("GET", "")]


def test_an_encrypted_origin_has_to_prove_who_it_is(
    directory: Directory, origin: Origin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server whose certificate nobody trusts is asked for nothing; one that is trusted gives its file."""
    certificate = tmp_path / "both.pem"
    certificate.write_bytes(_self_signed())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    origin.socket = context.wrap_socket(origin.socket, server_side=True)
    step = Download(origin=f"https://localhost:{origin.server_port}/file", local="x")
    with pytest.raises(StagingFailed, match="cannot be trusted"):
        staged(directory, step)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert staged(directory, step) == {"x": "the file"}
    assert origin.asked == [("GET", "/file", "")]
    with pytest.raises(StagingFailed, match="a URL that is not encrypted"):
        staged(directory, Download(origin=f"https://localhost:{origin.server_port}/to?http://a/b", local="x"))


def _self_signed() -> bytes:
    """Return a key and its certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    began_at = datetime.now(UTC) - timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(began_at).not_valid_after(began_at + timedelta(days=9))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    return private + builder.sign(key, hashes.SHA256()).public_bytes(encoding)


def test_a_linked_destination_is_not_written_to(directory: Directory, origin: Origin) -> None:
    """A folder that an earlier job has changed for a link is refused, not followed."""
    (directory.path / "out").symlink_to("/tmp")
    with pytest.raises(StagingFailed, match="symbolic link"):
        staged(directory, Download(origin=f"{origin.url}/file", local="out/x"))
    with pytest.raises(Missing):
        staged(directory, Present(local="out2"))
