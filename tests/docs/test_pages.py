"""What the pages say is what happens."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from itertools import groupby
from pathlib import Path

import pytest

import dagorama
from tests.containers import Shell
from tests.docs.pages import FILES, LANGUAGES, PAGES, ROOT, Command, blocks, commands
from tests.ports import reserved
from tests.postgresql import postgresql

#: Commands that a page shows and that this test does not type, with the file in which they are run for real.
RUN_ELSEWHERE = {
    "make quickstart": ".ci/run",
    "make check": ".ci/run",
    "make test": ".ci/run",
}

#: The variable that names the reader's own PostgreSQL database, on pages that need one.
DATABASE = "DATABASE_URL"

#: The image of pages that run containers; here it is another one, as the reader's has to be fetched.
IMAGE = "docker.io/library/busybox:1"

#: The port of servers that pages have readers write; here it is another one, as several suites may run at once.
SERVED_PORT = "8765"

#: A reader who types `pytest` has not got these plugins of ours, whose import takes longer than all else that it does.
PLUGINS = " ".join(f"-p no:{name}" for name in ("schemathesis", "hypothesispytest", "asyncio", "anyio", "xdist"))

#: Printed between what two commands print.
MARK = "--8<--"

#: A reader who has started a broker goes on when it says that it is ready, or has ended.
UNTIL_READY = "until grep -qs 'broker ready' background.log || ! kill -0 $! 2>/dev/null; do sleep 0.05; done"


def ident(page: Path) -> str:
    """Names a page in the test's id."""
    return str(page.relative_to(ROOT))


def is_help(command: Command) -> bool:
    """Tells whether a command prints a help of `dagorama`, and does nothing else."""
    return re.fullmatch(r"dagorama( [\w-]+)* --help", command.typed) is not None


def script(typed: list[Command]) -> str:
    """Returns a bash script that runs the commands, marks where each ends, and stops what is left in the background."""
    lines = []
    for asks_for_help, group in groupby(typed, is_help):
        some = list(group)
        if asks_for_help and len(some) > 1:
            helps = shlex.join([MARK, *(command.typed for command in some)])
            lines.append(f"PYTHONPATH={shlex.quote(str(ROOT))} python -m tests.docs.helps {helps}")
        else:
            lines += lines_of(some)
    return "\n".join([*lines, "kill $(jobs -p) 2>/dev/null", "wait"])


def lines_of(typed: list[Command]) -> list[str]:
    """Returns the lines of a bash script that run commands and mark where each ends."""
    lines = []
    for command in typed:
        background = command.typed.endswith("&")
        lines.append(f"{command.typed.removesuffix('&')} >>background.log 2>&1 &" if background else command.typed)
        if background and re.match(r"dagorama[- ]broker\b", command.typed):
            lines.append(UNTIL_READY)
        lines.append(f"echo '{MARK}'")
    return lines


def said_by_shell(typed: str, folder: Path, environment: dict[str, str]) -> str:
    """Run commands in a shell; return what they say. What they leave behind ends, also where they take too long."""
    with subprocess.Popen(
        ["bash", "-c", typed],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            return shell.communicate(timeout=280)[0]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)


def beside_the_door(code: str) -> list[str]:
    """Returns the lines that import what `dagorama` exports from one of its modules."""
    return [
        line
        for line, names in re.findall(r"^(from dagorama\.(?!testing\b)[\w.]+ import (.+))$", code, re.MULTILINE)
        if not {name.strip() for name in names.split(",")}.isdisjoint(dagorama.__all__)
    ]


@pytest.fixture
def served() -> Iterator[str]:
    """The port that servers of a page listen on."""
    with reserved() as port:
        yield str(port)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, ids=ident)
def test_page_does_what_it_says(page: Path, tmp_path: Path, served: str, request: pytest.FixtureRequest) -> None:
    """Every snippet of a page runs, and every command prints what the page shows."""
    typed: list[Command] = []
    for block in blocks(page):
        if block.language == "python" and block.file != "cell":
            name = block.file or f"snippet_{block.line}.py"
            (tmp_path / name).write_text(block.text.replace(SERVED_PORT, served))
            if not block.file:
                typed.append(Command(line=block.line, typed=f"python {name}", expected="..."))
        elif block.file and block.language in FILES:
            (tmp_path / block.file).write_text(block.text)
        elif block.language == "console":
            typed.extend(command for command in commands(block) if command.typed not in RUN_ELSEWHERE)
    if not typed:
        return
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "PYTEST_ADDOPTS": PLUGINS,
        "TERM": "dumb",
        "COLUMNS": "80",
    }
    if IMAGE in page.read_text():
        shell: Shell = request.getfixturevalue("shell")
        shell.containers.run("podman", "tag", shell.image, IMAGE)
        environment |= {**shell.environment, "PATH": f"{environment['PATH']}:{shell.environment['PATH']}"}
    with reserved() as port, postgresql() if DATABASE in page.read_text() else nullcontext("") as url:
        commands_typed = script(typed).replace(SERVED_PORT, served)
        said = said_by_shell(commands_typed, tmp_path, {**environment, "DAGORAMA_PORT": str(port), DATABASE: url})
    printed = said.split(f"{MARK}\n")
    background = tmp_path / "background.log"
    log = background.read_text() if background.exists() else ""
    for command, output in zip(typed, printed, strict=False):
        assert command.matches(output), f"{ident(page)}:{command.line}: $ {command.typed}\n{output}\n{log}"
    assert len(printed) == len(typed) + 1, said


def test_what_is_run_elsewhere_is_run_there() -> None:
    """A command that this test does not type stands in the file that is said to run it."""
    for command, file in RUN_ELSEWHERE.items():
        assert command in (ROOT / file).read_text()


@pytest.mark.parametrize("page", PAGES, ids=ident)
def test_nothing_to_type_hides_from_the_test(page: Path) -> None:
    """Every fenced block is of a kind that is either run or not something to type."""
    assert [block.line for block in blocks(page) if block.language not in LANGUAGES] == []
    shown = [line for block in blocks(page) if block.language == "text" for line in block.text.splitlines()]
    assert [line for line in shown if line.startswith("$ ")] == []


@pytest.mark.parametrize("page", PAGES, ids=ident)
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file that is there, and a heading of it where it names one."""
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{ident(page)}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_shows_the_real_difference() -> None:
    """The diff in the README is the one between the two samples."""
    plain, decorated = ((ROOT / "samples" / name).read_text().splitlines() for name in ("test1.py", "test2.py"))
    real = list(difflib.unified_diff(plain, decorated, "samples/test1.py", "samples/test2.py", lineterm="", n=100))
    (shown,) = (block.text.splitlines() for block in blocks(ROOT / "README.md") if block.language == "diff")
    assert shown == real


@pytest.mark.parametrize("page", PAGES, ids=ident)
def test_pages_import_from_the_front_door(page: Path) -> None:
    """What `dagorama` exports is imported from there, in one line, wherever a page or a sample shows code."""
    for block in blocks(page):
        if block.language == "python":
            assert beside_the_door(block.text) == [], f"{ident(page)}:{block.line}"


def test_samples_import_from_the_front_door() -> None:
    """The samples import what `dagorama` exports from there."""
    found = {sample.name: beside_the_door(sample.read_text()) for sample in (ROOT / "samples").glob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}
