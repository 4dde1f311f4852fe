"""The functions that stand for stock images take no more of what they are given than the staging of jobs does."""

from __future__ import annotations

import io
import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dagorama.workflows.configuration import SHARED_VARIABLE
from dagorama.workflows.images import extract_download, print_file, samples_sum
from dagorama.workflows.staging.faults import LeadsElsewhere, StagingFailed


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing of it."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder that is served, and where."""
    for name in ("served", "shared", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv(SHARED_VARIABLE, str(tmp_path / "shared"))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served"))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield tmp_path / "served", f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def archive(name: str, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return an archive with a file of this name."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as opened:
        opened.writestr(name, "unpacked")
    return made.getvalue()


def test_files_are_downloaded_and_unpacked(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A zip file is unpacked into the folder, any other is there as it is, and no query of a URL is in the log."""
    (served[0] / "in.zip").write_bytes(archive("a/b.txt"))
    (served[0] / "page.txt").write_text("a page")
    for name, folder in (("in.zip", str(tmp_path / "shared" / "deep")), ("page.txt", "")):
        monkeypatch.setenv("url", f"{served[1]}/{name}?token=s3cret")
        monkeypatch.setenv("folder", folder)
        extract_download()
    assert (tmp_path / "shared" / "deep" / "a" / "b.txt").read_text() == "unpacked"
    assert sorted(os.listdir(tmp_path / "shared" / "deep")) == ["a"]
    assert (tmp_path / "shared" / "page.txt").read_text() == "a page"
    assert "s3cret" not in capsys.readouterr().out


@pytest.mark.parametrize("data", [archive("../x"), archive("x", zipfile.ZIP_BZIP2)], ids=["slip", "bzip2"])
def test_bad_archives_are_refused(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    """An archive that leads elsewhere, or could fill the memory, is not unpacked."""
    (served[0] / "in.zip").write_bytes(data)
    monkeypatch.setenv("url", f"{served[1]}/in.zip")
    with pytest.raises(StagingFailed, match="has the entry"):
        extract_download()
    assert not (tmp_path / "x").exists()


def test_nothing_is_written_through_links(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that another task has left is replaced where it is the file, and refused where it is on the way."""
    (served[0] / "page.txt").write_text("a page")
    (served[0] / "in.zip").write_bytes(archive("link/b.txt"))
    (tmp_path / "shared" / "page.txt").symlink_to(tmp_path / "elsewhere" / "page.txt")
    (tmp_path / "shared" / "link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("url", f"{served[1]}/page.txt")
    extract_download()
    assert (tmp_path / "shared" / "page.txt").read_text() == "a page"
    monkeypatch.setenv("url", f"{served[1]}/in.zip")
    with pytest.raises(LeadsElsewhere):
        extract_download()
    assert os.listdir(tmp_path / "elsewhere") == []


@pytest.mark.parametrize(
    ("image", "variables", "why"),
    [
        (extract_download, {}, "the variable url is missing; give the task url="),
        (extract_download, {"url": "http://x/.."}, "http://x/.. ends in no name of a file"),
        (extract_download, {"url": "http://x/a", "folder": "../b"}, "the folder '../b' leads out"),
        (print_file, {"file_path": "/nowhere/x"}, "/nowhere/x cannot be read: No such file"),
        (samples_sum, {"a": "1", "b": "two"}, "the variable b is no number: 'two'"),
        (samples_sum, {"a": "1", "b": "2", SHARED_VARIABLE: ""}, "a shared directory is missing"),
    ],
)
def test_what_an_image_lacks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: Callable[[], object], variables: dict[str, str], why: str
) -> None:
    """The error names the variable, and the way out."""
    for name, value in {SHARED_VARIABLE: str(tmp_path), **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StagingFailed, match=re.escape(why)):
        image()


def test_download_without_a_shared_directory_goes_with_the_task(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the folder that the task begins in."""
    (served[0] / "page.txt").write_text("a page")
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv(SHARED_VARIABLE)
    monkeypatch.setenv("url", f"{served[1]}/page.txt")
    extract_download()
    assert Path("page.txt").read_text() == "a page"
