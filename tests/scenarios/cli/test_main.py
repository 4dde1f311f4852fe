"""The `dagorama` command itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner

from dagorama.cli.main import SUBCOMMANDS, group

DAGORAMA, WORKER, BROKER = (
    str(Path(sys.executable).parent / name) for name in ("dagorama", "worker", "dagorama-broker")
)

SLOW = ("grpc", "google.protobuf", "rich", "asyncio", "dagorama_broker.__main__")


def python(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with these words."""
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["version"], ["-h"]])
def test_help_does_not_import_what_it_does_not_need(words: list[str]) -> None:
    """Help and version come at once, because the modules of subcommands stay where they are."""
    code = (
        "import sys\n"
        "from dagorama.cli.main import main\n"
        f"try:\n    main({words})\n"
        f"except SystemExit as ended:\n    print(ended.code, [name for name in {SLOW} if name in sys.modules])\n"
    )
    assert python("-c", code).stdout.endswith("0 []\n")


@pytest.mark.parametrize("module", ["dagorama.cli.run", "dagorama.cli.supervising", "dagorama.cli.worker"])
def test_who_has_nodes_run_by_others_imports_nothing_for_that(module: str) -> None:
    """A run starts its broker and its workers, and these their processes, before it needs gRPC itself."""
    slow = ("grpc", "google.protobuf", "rich", "dagorama.worker.shell.worker")
    code = f"import sys, {module}; print([name for name in {slow} if name in sys.modules])"
    assert python("-c", code).stdout == "[]\n"


@pytest.mark.parametrize("has_some", [True, False])
def test_no_collection_walks_what_a_command_has_imported(has_some: bool) -> None:
    """There are some of what it makes itself, and they, like the interpreter's end, leave the rest alone.

    Whoever calls it with collections off has them off afterwards.
    """
    code = (
        "import gc, sys\n"
        "from dagorama.cli.main import main\n"
        f"gc.{'enable' if has_some else 'disable'}()\n"
        "try:\n    main(['run', '--help'])\n"
        "except SystemExit:\n    print(gc.isenabled(), gc.get_freeze_count() > 10 * len(sys.modules))\n"
    )
    assert python("-c", code).stdout.endswith(f"\n{has_some} True\n")


@pytest.mark.parametrize("words", [["--version"], ["version"]])
def test_version_is_the_installed_one(words: list[str]) -> None:
    """--version and version say the same, and so does the package as a program."""
    assert python("-m", "dagorama", *words).stdout == f"dagorama {version('dagorama')}\n"


@pytest.fixture(scope="module")
def help_of_all() -> str:
    """Returns what `dagorama --help` prints."""
    return python("-m", "dagorama.cli.main", "--help").stdout


@pytest.mark.parametrize("command", sorted(SUBCOMMANDS))
def test_every_subcommand_explains_itself(command: str, help_of_all: str) -> None:
    """Each subcommand has a help of its own, and is named in that of all."""
    helped = CliRunner().invoke(group, [command, "--help"], prog_name="dagorama")
    assert helped.stdout.startswith(f"Usage: dagorama {command} ")
    assert f"\n  {command} " in help_of_all


def test_an_unknown_subcommand_is_a_wrong_call() -> None:
    """Status 2, and the name that was not known."""
    finished = python("-m", "dagorama.cli.main", "rnu")
    assert finished.returncode == 2
    assert "rnu" in finished.stderr


@pytest.mark.parametrize(
    "command",
    [
        [DAGORAMA, "version"],
        [DAGORAMA, "run", "--help"],
        [WORKER, "--help"],
        [BROKER, "--help"],
        [sys.executable, "-m", "dagorama_broker", "--version"],
    ],
)
def test_output_that_goes_nowhere_ends_a_command_plainly(command: list[str]) -> None:
    """A full disk is told in one line, with status 1; a reader that has gone not at all, with that of SIGPIPE."""
    with open("/dev/full", "w") as full:
        finished = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    line = "Error: what was to be printed could not be written: No space left on device\n"
    assert (finished.returncode, finished.stderr) == (1, line)
    reader, writer = os.pipe()
    os.close(reader)
    finished = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    os.close(writer)
    assert (finished.returncode, finished.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("instances", ["DAGORAMA_PORT", "DAGORAMA_RECONNECT_S", "DAGORAMA_SILENCE_S", "DAGORAMA_LOG_LEVEL"]),
        ("broker", ["DAGORAMA_PORT"]),
        ("run x:Y", ["DAGORAMA_INLINE", "DAGORAMA_CANCEL_GRACE_S"]),
        ("worker", ["DAGORAMA_PORT", "DAGORAMA_CODE_MISMATCH", "DAGORAMA_LOG_LEVEL"]),
    ],
)
def test_a_setting_that_cannot_be_used_is_a_wrong_call(words: str, names: list[str]) -> None:
    """Status 2 from every command, and the last line names the setting, or its option, and what it was."""
    for name in names:
        finished = CliRunner().invoke(group, words.split(), prog_name="dagorama", env={name: "what"})
        last = finished.stderr.splitlines()[-1]
        assert (finished.exit_code, name in last or "--code-mismatch" in last, "what" in last.lower()) == (
            2,
            True,
            True,
        )


def test_ctrl_c_before_a_command_has_begun_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 130, as that of a command that has."""

    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dagorama.cli.main.import_module", press)
    finished = CliRunner().invoke(group, ["instances"], prog_name="dagorama")
    assert (finished.exit_code, finished.stderr) == (130, "stopped by SIGINT\n")


@pytest.mark.parametrize(
    ("bytes_", "words"),
    [
        (b"\xff", ["worker", "--include-queue"]),
        (b"\xff", ["worker", "--toleration"]),
        (b"\xff", ["run", "x:Y", "--toleration"]),
        (b"\xff", ["workers", "--host"]),
        (b"\xff", ["why"]),
    ],
)
def test_words_that_are_no_text_are_refused(bytes_: bytes, words: list[str]) -> None:
    """No broker takes them; the error shows what they were."""
    finished = CliRunner().invoke(group, [*words, os.fsdecode(bytes_)], prog_name="dagorama")
    assert (finished.exit_code, "'\\udcff' is no text" in finished.stderr) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ["worker", "--include-queue"],
        ["worker", "--exclude-queue"],
        ["worker", "--toleration"],
        ["worker", "--import"],
        ["run", "x:Y", "--toleration"],
    ],
)
def test_empty_names_are_refused(words: list[str]) -> None:
    """A worker that takes only the queue of an unset variable would take nothing, and say nothing."""
    finished = CliRunner().invoke(group, [*words, ""], prog_name="dagorama")
    assert (finished.exit_code, "an empty name was given" in finished.stderr) == (2, True)
