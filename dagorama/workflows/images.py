"""Images that need no container: functions that do what stock images of the other system do.

Each reads what it is to do from its environment, as the image does: that is where the keywords of its task are.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from time import sleep
from urllib.parse import unquote, urlsplit

from dagorama.common.urls import without_secrets
from dagorama.workflows.configuration import SHARED_VARIABLE, BadOperationConfiguration
from dagorama.workflows.staging.archives import unpack
from dagorama.workflows.staging.directory import Directory
from dagorama.workflows.staging.downloads import Downloads
from dagorama.workflows.staging.faults import StagingFailed
from dagorama.workflows.staging.places import place_below

#: The most of a file that is sent as a result.
RESULT_BYTES_MAX = 1024 * 1024
#: It stands in place of a file that is larger.
TOO_LARGE = "Error: size exceeded"
#: It stands in place of a file that is no text.
NO_TEXT = "Error: not a text"
#: The variable that names a folder of the shared directory.
_FOLDER = "folder"


def extract_download() -> None:
    """Fetch `url` into the shared directory, below `folder`, and unpack it where it is a zip file.

    Without a shared directory it goes with the task, as it does with a container.
    """
    url = _variable("url")
    name = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2]) or "index.html"
    if name in (".", "..") or "/" in name or "\0" in name:
        raise StagingFailed(what=without_secrets(url), problem="ends in no name of a file")
    shared = Path(os.environ.get(SHARED_VARIABLE) or ".")
    folder = shared / os.environ.get(_FOLDER, "")
    if not folder.resolve().is_relative_to(shared.resolve()):
        raise StagingFailed(what=f"the folder {os.environ[_FOLDER]!r}", problem="leads out of the shared directory")
    place = place_below(".", folder.resolve().relative_to(shared.resolve()).as_posix())
    directory = Directory(shared.resolve())
    # A program of the run that asks by itself may ask its own machine, too.
    downloads = Downloads(may_be_local=True, pause=sleep, check=lambda: None)
    print(f"downloading {without_secrets(url)} to {folder / name}", flush=True)
    if not name.endswith(".zip"):
        with directory.writing(place_below(place, name)) as target:
            downloads.fetch(url, target)
        return
    with directory.scratch(place_below(place, name)) as packed:
        downloads.fetch(url, packed)
        unpack(packed, name, directory, place, lambda: None)


def print_file() -> None:
    """Print the file `file_path`."""
    path = Path(_variable("file_path"))
    try:
        print(path.read_text(encoding="utf-8", errors="backslashreplace"))
    except OSError as error:
        raise StagingFailed(what=str(path), problem=f"cannot be read: {error.strerror}") from None


def send_result_event() -> list[dict[str, str]]:
    """Return `{file name: text}` of each file in the shared directory, in the order of their names."""
    return [{file.name: _text_of(file)} for file in sorted(_shared().iterdir()) if _is_result(file)]


def samples_sum() -> None:
    """Write the sum of `a` and `b` into the file `result` of the shared directory."""
    (_shared() / "result").write_text(str(_number("a") + _number("b")))


def samples_secret() -> None:
    """Write the secret that the worker has under the name `secret` into the file `result` of the shared directory."""
    file = _shared() / "result"
    file.touch(stat.S_IRUSR | stat.S_IWUSR)
    file.write_text(_variable("secret"))


_IMAGES: dict[str, Callable[[], object]] = {
    "workflows-extract-download": extract_download,
    "workflows-print-file": print_file,
    "workflows-send-result-event": send_result_event,
    "samples-print-file": print_file,
    "samples-secret": samples_secret,
    "samples-sum": samples_sum,
}


def register_image(name: str, function: Callable[[], object]) -> None:
    """Have tasks of an image, of whatever registry and tag, call a function in place of a container.

    It takes nothing, reads the keywords of its task from its environment, and its value is the task's. Operations that
    this process submits have it.
    """
    if not callable(function):
        raise BadOperationConfiguration(f"image {name!r} must have a function, not {function!r}")
    _IMAGES[short_name(name)] = function


def function_of(image: str) -> Callable[[], object] | None:
    """Return the function that stands for an image; None where a container is needed."""
    return _IMAGES.get(short_name(image))


def image_names() -> list[str]:
    """Return the names of the images that need no container."""
    return sorted(_IMAGES)


def short_name(image: str) -> str:
    """Return the name of an image without its registry, tag and digest."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise StagingFailed(what=f"the variable {name}", problem="is missing", way_out=f"give the task {name}=...")
    return value


def _number(name: str) -> float:
    value = _variable(name)
    try:
        return float(value)
    except ValueError:
        raise StagingFailed(what=f"the variable {name}", problem=f"is no number: {value!r}") from None


def _shared() -> Path:
    folder = os.environ.get(SHARED_VARIABLE)
    if not folder:
        way_out = "give the operation shared_directory=..."
        raise StagingFailed(what="a shared directory", problem="is missing", way_out=way_out)
    return Path(folder)


def _is_result(file: Path) -> bool:
    return not file.name.startswith(".") and file.is_file() and not file.is_symlink()


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(RESULT_BYTES_MAX + 1)
    except OSError as error:
        return f"Error: {error.strerror}"
    if len(data) > RESULT_BYTES_MAX:
        return TOO_LARGE
    try:
        return data.decode()
    except UnicodeDecodeError:
        return NO_TEXT
