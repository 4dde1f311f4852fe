"""What nodes print is in their logs, and is shown as ever."""

from __future__ import annotations

import asyncio
import contextvars
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any

import pytest

from dagorama import context
from dagorama.calls.capture import Scope
from dagorama.worker.logs.node_log import AttemptLog
from tests.timing import WAIT_S
from tests.unit.worker.log_reading import Nodes, captured


@pytest.fixture
def nodes(capfd: pytest.CaptureFixture[str]) -> Iterator[Nodes]:
    """Captures what nodes write; after `capfd`, so that it is shown there."""
    with captured() as nodes:
        yield nodes


def test_what_a_node_prints_is_in_its_log_and_is_shown(nodes: Nodes, capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output and error, each as such; what no node prints is only shown."""
    nodes.begin()
    print("before")
    with nodes.running():
        print("a", "b")
        print("c", file=sys.stderr)
        sys.stdout.writelines(["d\n", "e\n"])
    print("after")
    assert nodes.collector.shown() == [("stdout", "a b"), ("stderr", "c"), ("stdout", "d"), ("stdout", "e")]
    assert capfd.readouterr() == ("before\na b\nd\ne\nafter\n", "c\n")


@pytest.mark.parametrize("is_before", [False, True])
def test_another_write_may_be_put_in_the_place_of_a_streams(is_before: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """Cells of a notebook do so, and put back the one from before, maybe when the capture has begun meanwhile."""
    seen: list[str] = []
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, ExitStack() as capture:
        patch.setattr(sys, "stdout", stream)
        if not is_before:
            nodes = capture.enter_context(captured())
        earlier = sys.stdout.write

        def write(text: str) -> int:
            seen.append(text)
            return earlier(text)

        sys.stdout.write = write  # type: ignore[method-assign]
        if is_before:
            nodes = capture.enter_context(captured())
        with nodes.running():
            print("a")
            sys.stdout.write = earlier  # type: ignore[method-assign]
            print("b")
        assert nodes.collector.shown() == [("stdout", "a"), ("stdout", "b")]
    assert (stream.getvalue(), "".join(seen)) == ("a\nb\n", "a\n")


def test_a_node_that_writes_nothing_has_no_log(nodes: Nodes) -> None:
    """Nothing is made for it, and nothing is sent."""
    with nodes.running() as scope:
        logs = scope.logs
    assert scope.logs is logs
    assert nodes.collector.all() == []


def test_bytes_are_captured(nodes: Nodes, capfd: pytest.CaptureFixture[str]) -> None:
    """Also what is written below the text, in whatever kind of buffer."""
    with nodes.running():
        sys.stdout.buffer.write(b"one\n")
        sys.stdout.buffer.write(memoryview(bytearray(b"two\n")))
        own = io.TextIOWrapper(sys.stdout.buffer, write_through=True)
        own.write("three\n")
        own.detach()
        sys.stdout.buffer.flush()
    assert nodes.collector.shown() == [("stdout", "one"), ("stdout", "two"), ("stdout", "three")]
    assert capfd.readouterr().out == "one\ntwo\nthree\n"


def test_a_begun_line_belongs_to_the_node_that_began_it(nodes: Nodes) -> None:
    """Two nodes that print at the same time, or two threads, do not get into each other's lines."""
    one, two = nodes.scope("1"), nodes.scope("2")
    in_one, in_two = nodes.context(one), nodes.context(two)
    in_one.run(print, "o", end="")
    in_two.run(print, "t", end="")
    in_one.run(print, "ne")
    in_two.run(print, "wo", end="")
    nodes.end(one)
    nodes.end(two)
    assert [(line.node, line.text) for line in nodes.collector.lines()] == [(b"1" * 16, "one"), (b"2" * 16, "two")]
    assert nodes.collector.ended() == {b"1" * 16, b"2" * 16}


def test_a_node_that_has_ended_has_no_more_lines(nodes: Nodes) -> None:
    """A thread or a task that it has left behind is only shown, whether or not the node had a log."""
    for name, said in (("1", ["said"]), ("2", [])):
        scope = nodes.scope(name)
        context = nodes.context(scope)
        for text in said:
            context.run(print, text)
        nodes.end(scope)
        scope.node.report = object()  # type: ignore[union-attr]
        context.run(print, "late")
    assert [(line.node, line.text) for line in nodes.collector.lines()] == [(b"1" * 16, "said")]


def test_streams_look_as_they_were(nodes: Nodes) -> None:
    """Programs that ask a stream what it is get the answers of the one that was there."""
    original = sys.stdout
    nodes.begin()
    assert sys.stdout is not original
    for name in ("encoding", "errors", "line_buffering", "newlines", "name", "mode"):
        assert getattr(sys.stdout, name) == getattr(original, name)
    assert isinstance(sys.stdout, type(original))
    assert isinstance(sys.stdout, io.TextIOBase)
    assert sys.stdout.fileno() == original.fileno()
    assert sys.stdout.isatty() is False
    assert sys.stdout.buffer is sys.stdout.buffer  # type: ignore[attr-defined]
    assert repr(sys.stdout) == repr(original)
    with nodes.running(), pytest.raises(TypeError, match="str"):
        sys.stdout.write(b"bytes")  # type: ignore[arg-type]
    assert nodes.collector.all() == []


def test_everything_is_put_back(capfd: pytest.CaptureFixture[str]) -> None:
    """When the last worker of a process has ended, it is as before."""
    import logging

    def state() -> list[object]:
        return [sys.stdout, sys.stderr, logging.Logger.callHandlers, subprocess.Popen.__init__, os.system]

    before = state()
    with captured() as nodes:
        nodes.begin()
        during = state()
        with captured() as others:
            others.begin()
            assert state() == during
        assert state() == during
    assert state() == before
    assert not set(map(id, before)) & set(map(id, during))


def test_a_threads_output_is_its_nodes(nodes: Nodes) -> None:
    """Also of a thread that such a thread has started, neither of which has the node's context."""
    with nodes.running():

        def inner() -> None:
            thread = threading.Thread(target=print, args=("from a thread of a thread",))
            thread.start()
            thread.join()

        thread = threading.Thread(target=inner)
        thread.start()
        thread.join()
    assert nodes.collector.shown() == [("stdout", "from a thread of a thread")]


def test_a_pool_works_for_the_node_that_submits(nodes: Nodes) -> None:
    """Its threads were started by another, and between two pieces of work they are nobody's."""
    with ThreadPoolExecutor(1) as pool:
        for name in ("1", "2"):
            with nodes.running(name):
                pool.submit(print, f"for {name}").result(WAIT_S)
        pool.submit(print, "for nobody").result(WAIT_S)
    assert [(line.node, line.text) for line in nodes.collector.lines()] == [
        (b"1" * 16, "for 1"),
        (b"2" * 16, "for 2"),
    ]


def test_a_thread_that_outlives_its_node_is_nobodys(nodes: Nodes) -> None:
    """It does not print into the log of the next one."""
    texts: SimpleQueue[str | None] = SimpleQueue()
    printed: SimpleQueue[None] = SimpleQueue()

    def work() -> None:
        while (text := texts.get()) is not None:
            print(text)
            printed.put(None)

    def tell(text: str) -> None:
        texts.put(text)
        printed.get(timeout=WAIT_S)

    with nodes.running("1"):
        thread = threading.Thread(target=work)
        thread.start()
        tell("in time")
    with nodes.running("2"):
        tell("late")
    texts.put(None)
    thread.join()
    assert [(line.node, line.text) for line in nodes.collector.lines()] == [(b"1" * 16, "in time")]


def test_tasks_and_their_threads_are_their_nodes(nodes: Nodes) -> None:
    """Of two that run on one event loop each has its own lines."""

    async def node(name: str) -> None:
        async def inner() -> None:
            await asyncio.sleep(0)
            print(f"task of {name}")

        await asyncio.gather(inner(), inner())
        await asyncio.to_thread(print, f"thread of {name}")
        await asyncio.get_running_loop().run_in_executor(None, print, f"executor of {name}")

    async def both() -> None:
        scopes = [nodes.scope(name) for name in ("1", "2")]
        await asyncio.gather(
            *(asyncio.create_task(node(str(i + 1)), context=nodes.context(scope)) for i, scope in enumerate(scopes))
        )
        for scope in scopes:
            nodes.end(scope)

    asyncio.run(both())
    for name in ("1", "2"):
        lines = [line.text for line in nodes.collector.lines() if line.node == name.encode() * 16]
        assert lines == [f"task of {name}"] * 2 + [f"thread of {name}", f"executor of {name}"]


def test_what_is_no_text_survives(nodes: Nodes) -> None:
    """Random bytes, and halves of characters."""
    with nodes.running():
        sys.stdout.buffer.write(bytes(range(256)) + b"\n")
        print("\udcff")
        print("fine")
    texts = [text for _, text in nodes.collector.shown()]
    assert len(texts) == 4  # there is an end of line among all bytes
    assert texts[2:] == ["\\udcff", "fine"]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_programs_are_captured_and_shown(nodes: Nodes, stream: str, capfd: pytest.CaptureFixture[str]) -> None:
    """What a program writes to where the worker writes is the node's."""
    redirect = " >&2" if stream == "stderr" else ""
    ended = threading.Event()
    with nodes.running() as scope:
        subprocess.run(["sh", "-c", f"echo one{redirect}; printf two{redirect}"], check=True)
        assert os.system(f"echo three{redirect}; exit 3") == 3 << 8
        _on_end(scope, ended)
    assert ended.wait(WAIT_S)
    assert nodes.collector.shown() == [(stream, "one"), (stream, "two"), (stream, "three")]
    shown = capfd.readouterr()
    assert getattr(shown, stream[3:]) == "one\ntwothree\n"


def _on_end(scope: Scope, ended: threading.Event) -> None:
    """Have an event set when the log of a node has ended, which is after its programs were heard to the end."""
    assert isinstance(scope.logs, AttemptLog)
    sender: Any = scope.logs._sender
    put = sender.put_always

    def put_and_tell(event: object) -> None:
        put(event)
        if sender.ended():
            ended.set()

    sender.put_always = put_and_tell


def test_programs_with_streams_of_their_own_keep_them(nodes: Nodes) -> None:
    """What a node reads itself, or throws away, is in no log."""
    with nodes.running():
        read = subprocess.run(["sh", "-c", "echo out; echo err >&2"], capture_output=True, check=True, text=True)
        both = subprocess.run(
            ["sh", "-c", "echo err >&2"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, text=True
        )
        subprocess.run(["echo", "gone"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    assert (read.stdout, read.stderr, both.stdout) == ("out\n", "err\n", "err\n")
    assert nodes.collector.all() == []


def test_a_program_that_stays_holds_nothing_up(nodes: Nodes, capfd: pytest.CaptureFixture[str]) -> None:
    """The log ends with the node; what the program writes later is shown, and is in no other node's log."""
    ended = threading.Event()
    with nodes.running("1") as scope:
        program = subprocess.Popen(["sh", "-c", "echo early; read line; echo late"], stdin=subprocess.PIPE)
        while not nodes.collector.shown():
            pass
        _on_end(scope, ended)
    assert ended.wait(WAIT_S)
    with nodes.running("2"):
        program.communicate(b"go\n", timeout=WAIT_S)
    shown = ""
    while "late\n" not in shown:
        shown += capfd.readouterr().out
    assert shown == "early\nlate\n"
    assert [(line.node, line.text) for line in nodes.collector.lines()] == [(b"1" * 16, "early")]


def test_forked_children_are_captured(nodes: Nodes) -> None:
    """Their prints, and what is written below Python."""
    ended = threading.Event()
    with nodes.running() as scope:
        print("parent")
        child = os.fork()
        if not child:
            print("child", file=sys.__stdout__, flush=True)  # pytest has another file in its place
            os.write(2, b"below\n")
            os._exit(0)
        os.waitpid(child, 0)
        _on_end(scope, ended)
    assert ended.wait(WAIT_S)
    assert sorted(nodes.collector.shown()) == [("stderr", "below"), ("stdout", "child"), ("stdout", "parent")]


def test_names_stand_before_the_lines_of_nodes(capfd: pytest.CaptureFixture[str]) -> None:
    """And not before others; two nodes in the middle of their lines get lines of their own."""
    with captured(with_names=True) as nodes:
        one, two = nodes.context(nodes.scope("1")), nodes.context(nodes.scope("2"))
        print("of nobody")
        one.run(print, "a\nb")
        one.run(print, "begun", end="")
        two.run(print, "other")
        two.run(sys.stdout.buffer.write, b"bytes\n")
        assert nodes.collector.shown()[:2] == [("stdout", "a"), ("stdout", "b")]
    first, second = "[Class.function 313131] ", "[Class.function 323232] "
    assert capfd.readouterr().out == (f"of nobody\n{first}a\n{first}b\n{first}begun\n{second}other\n{second}bytes\n")


def test_a_node_is_shown_under_a_name_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    """From when it says so, and in its worker's output alone: its log has the lines as they are."""

    def work() -> None:
        print("before")
        context().show_as("load\x07")
        print("after")

    with captured(with_names=True) as nodes:
        nodes.context(nodes.scope("1")).run(work)
        assert nodes.collector.shown() == [("stdout", "before"), ("stdout", "after")]
    assert capfd.readouterr().out == "[Class.function 313131] before\nload\\x07 | after\n"


def test_a_terminal_that_has_gone_stops_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """What programs write is read on, and is in the log: they would wait for ever once a pipe is full."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("the terminal has gone")

    monkeypatch.setattr(sys, "stdout", Gone())
    ended = threading.Event()
    with captured(with_names=True) as nodes:
        with nodes.running() as scope:
            subprocess.run(["sh", "-c", "echo one"], check=True)
            _on_end(scope, ended)
        assert ended.wait(WAIT_S)
        assert nodes.collector.shown() == [("stdout", "one")]


def test_contexts_that_are_copied_carry_the_node(nodes: Nodes) -> None:
    """As elsewhere."""
    with nodes.running():
        thread = threading.Thread(target=contextvars.copy_context().run, args=(print, "copied"))
        thread.start()
        thread.join()
    assert nodes.collector.shown() == [("stdout", "copied")]


def test_a_program_that_no_node_starts_is_left_alone(nodes: Nodes, capfd: pytest.CaptureFixture[str]) -> None:
    """Its output is the process's own."""
    subprocess.run(["echo", "nobody's"], check=True)
    os.system("echo nor this")
    assert capfd.readouterr().out == "nobody's\nnor this\n"
