"""A front of fake-gcs-server that takes writes as Google's XML API has them, by which obstore speaks to Google.

fake-gcs-server has buckets, generations and their preconditions, and reads and lists by the XML API. It writes by the
JSON API only, so a PUT is handed on as that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import quote, unquote, urlsplit

_BOUNDARY = "dagorama-test"
_NO_BUCKET = (
    b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>NoSuchBucket</Code>"
    b"<Message>The specified bucket does not exist.</Message></Error>"
)
#: What is handed on of an answer.
_KEPT = ("content-type", "etag", "last-modified", "x-goog-generation")


@contextmanager
def run_front(port: int, bucket: str) -> Iterator[str]:
    """Run one for the server of a port, which has one bucket; give its endpoint."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Front", (_Front,), {"port": port, "bucket": bucket})) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    port: int
    bucket: str

    def do_GET(self) -> None:
        """Read an object, or list some."""
        self._pass()

    def do_HEAD(self) -> None:
        """Tell of an object."""
        self._pass()

    def do_DELETE(self) -> None:
        """Remove an object."""
        self._pass()

    def do_PUT(self) -> None:
        """Write an object, or copy one."""
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = self._name(self.path)
        if name is None:
            return self._answer(404, {}, _NO_BUCKET)
        source = self.headers.get("x-goog-copy-source")
        if source:
            copied = quote(self._name(f"/{source}") or "", safe="")
            path = f"/storage/v1/b/{self.bucket}/o/{copied}/rewriteTo/b/{self.bucket}/o/{quote(name, safe='')}"
            status, _, said = self._ask("POST", path, b"{}", {"Content-Type": "application/json"})
            made = json.loads(said)["resource"] if status == 200 else {}
        else:
            path = f"/upload/storage/v1/b/{self.bucket}/o?uploadType=multipart&name={quote(name, safe='')}"
            generation = self.headers.get("x-goog-if-generation-match")
            if generation is not None:
                path += f"&ifGenerationMatch={generation}"
            said_what = {"Content-Type": f"multipart/related; boundary={_BOUNDARY}"}
            status, _, said = self._ask("POST", path, _in_parts(name, data), said_what)
            made = json.loads(said) if status == 200 else {}
        headers = {"etag": f'"{made["etag"]}"', "x-goog-generation": made["generation"]} if made else {}
        return self._answer(status, headers, b"" if made else said)

    def _pass(self) -> None:
        if self._name(self.path) is None:
            return self._answer(404, {}, _NO_BUCKET)
        status, headers, said = self._ask(self.command, self.path)
        kept = {name: headers[name] for name in _KEPT if name in headers}
        return self._answer(status, kept, said, size=headers.get("content-length") if self.command == "HEAD" else None)

    def _name(self, path: str) -> str | None:
        """Return the name of an object, empty for the bucket; None for another bucket."""
        bucket, _, name = urlsplit(path).path.removeprefix("/").partition("/")
        return unquote(name) if bucket == self.bucket else None

    def _ask(
        self, method: str, path: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request(method, path, data, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: Mapping[str, str], data: bytes, *, size: str | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", size or str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _in_parts(name: str, data: bytes) -> bytes:
    """Return an upload of an object with its name."""
    told = json.dumps({"name": name}).encode()
    return b"".join(
        (
            f"--{_BOUNDARY}\r\nContent-Type: application/json\r\n\r\n".encode(),
            told,
            f"\r\n--{_BOUNDARY}\r\nContent-Type: application/octet-stream\r\n\r\n".encode(),
            data,
            f"\r\n--{_BOUNDARY}--\r\n".encode(),
        )
    )
