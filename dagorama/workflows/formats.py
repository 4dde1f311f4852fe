"""The formats of workflows: each has a front end that reads it, one that writes it, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from dagorama.options import TAG_VALUE_LENGTH_MAX
from dagorama.workflows.model import Loaded, Workflow
from dagorama.workflows.problems import Place, Problem, WorkflowError

#: A larger file is no workflow.
FILE_BYTES_MAX = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of one run that are no part of the workflow."""

    #: Files that go with the run, by name.
    uploads: Mapping[str, Path] = field(default_factory=dict)
    #: Where commands with absolute paths are looked for; None: as the format says.
    commands: Path | None = None


@runtime_checkable
class Telling(Protocol):
    """Parameters of a run that its starter is told something about."""

    def told(self, run_id: str) -> Sequence[str]:
        """Return sentences for the person who has started the run."""
        ...


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format, by the functions that know it, each as "module:function"; empty where there is none.

    `read(text, source, *, strict) -> Loaded` raises `WorkflowError`. `write(workflow) -> str` raises it where the
    format has no words for a part. `prepare(workflow, options) -> object` returns the parameters of a run, and raises
    it for options that do not fit.
    """

    suffixes: tuple[str, ...] = ()
    read: str = ""
    write: str = ""
    prepare: str = ""


#: By the names that `dagorama export --to` knows.
FORMATS: dict[str, Format] = {
    "ini": Format(
        suffixes=(".cfg", ".ini"),
        read="dagorama.workflows.ini.reading:read",
        write="dagorama.workflows.ini.writing:write",
    ),
    "yaml": Format(
        suffixes=(".yaml", ".yml", ".json"),
        read="dagorama.workflows.jobs.reading:read",
        write="dagorama.workflows.jobs.writing:write",
        prepare="dagorama.workflows.jobs.starting:prepare",
    ),
    "argo": Format(write="dagorama.workflows.argo.dag:write"),
    "mermaid": Format(write="dagorama.workflows.mermaid:write"),
}


def read_suffixes() -> str:
    """Return the suffixes of the files that workflows are read from, for people."""
    return ", ".join(suffix for one in FORMATS.values() for suffix in one.suffixes)


def format_of(path: Path) -> Format | None:
    """Return the format of a file by its suffix; None for none that is read here."""
    suffix = path.suffix.lower()
    return next((one for one in FORMATS.values() if suffix in one.suffixes), None)


def file_tag(path: Path | str) -> str:
    """Return the tag of the runs of a file, by which they are found again from any folder of its machine."""
    return str(Path(path).resolve())[-TAG_VALUE_LENGTH_MAX:]


def load_workflow(path: Path | str, *, strict: bool = False) -> Loaded:
    """Read a workflow from a file, and check it. `WorkflowError` with all its problems; strictly, warnings are too."""
    path = Path(path)
    found = format_of(path)
    if found is None:
        raise _refused(path, f"no workflow is read from a file of this name; its suffix may be {read_suffixes()}")
    loaded: Loaded = _function(found.read)(read_text(path), str(path), strict=strict)
    return loaded


def write_workflow(workflow: Workflow, name: str) -> str:
    """Return a workflow in the format of a name; `WorkflowError` where that has no words for it, or is not known."""
    found = FORMATS.get(name)
    if found is None or not found.write:
        names = ", ".join(sorted(name for name, one in FORMATS.items() if one.write))
        raise _refused(Path(workflow.source), f"there is no format {name!r} to write; there are {names}")
    text: str = _function(found.write)(workflow)
    return text


def prepare_run(workflow: Workflow, options: RunOptions) -> object:
    """Return the parameters for a run of a workflow; `WorkflowError` for options that do not fit it."""
    found = format_of(Path(workflow.source))
    if found is not None and found.prepare:
        return _function(found.prepare)(workflow, options)
    if options.uploads or options.commands is not None:
        raise _refused(Path(workflow.source), "it takes no uploads and no folder of commands")
    return None


def read_text(path: Path) -> str:
    """Return the text of a file, whose lines may end in any of three ways; `WorkflowError` where there is none."""
    try:
        if not path.is_file():
            raise _refused(path, "there is no such file" if not path.exists() else "it is no file")
        if path.stat().st_size > FILE_BYTES_MAX:
            raise _refused(path, f"it is larger than {FILE_BYTES_MAX} bytes")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise _refused(path, f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        message = f"it is no text in UTF-8: byte {error.start + 1} is {error.object[error.start]:#x}"
        raise _refused(path, f"{message}; save it as UTF-8") from None
    if not text.strip():
        raise _refused(path, "it is empty")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _refused(path: Path, message: str) -> WorkflowError:
    return WorkflowError([Problem(place=Place(file=str(path)), message=message)])


def _function(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
