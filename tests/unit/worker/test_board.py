"""What a worker process runs can be read in its parent."""

import multiprocessing
import signal
from multiprocessing import Pipe
from time import monotonic
from uuid import UUID

import pytest

from dagorama.logging import get_logger
from dagorama.worker.options import WorkerOptions
from dagorama.worker.processes.process import WorkerProcess, describe_exit
from dagorama.worker.processes.supervisor import Child, Crew
from dagorama.worker.shell.board import NAME_BYTES_MAX, Board
from dagorama.worker.shell.held import Function, Held

CONTEXT = multiprocessing.get_context("forkserver")


def held(number: int, name: str = "shop:Basket.price") -> Held:
    """Makes a node."""
    return Held(UUID(int=(1 << 120) + number).bytes, number, b"", Function(name, b""), b"", 1, None)


def text(number: int, name: str = "shop:Basket.price") -> str:
    """Says what the board says of it."""
    return f"node {UUID(int=(1 << 120) + number)} ({name})"


def test_the_board_names_what_runs() -> None:
    """A node is on it from its beginning to its end; one that begins twice is there once."""
    board = Board(2, CONTEXT)
    first, second = held(1), held(2, "shop:Basket.total")
    for one in (first, second, second):
        board.begins(one)
    assert sorted(board.running()) == [text(1), text(2, "shop:Basket.total")]
    board.ends(first)
    assert board.running() == [text(2, "shop:Basket.total")]
    board.begins(first)
    assert sorted(board.running()) == [text(1), text(2, "shop:Basket.total")]


def test_a_node_that_follows_one_without_a_place_gets_one() -> None:
    """Where one is free; that of an abandoned node may have become so."""
    board = Board(1, CONTEXT)
    abandoned, placeless, following, last = (held(number) for number in range(4))
    board.begins(abandoned)
    board.begins(placeless)
    board.ends(abandoned)
    board.follows(following, placeless)
    assert board.running() == [text(2)]
    board.follows(last, following)
    assert board.running() == [text(3)]


def test_a_name_is_cut_and_no_node_too_many_matters() -> None:
    """A board has a place for each slot, of a fixed size."""
    board = Board(1, CONTEXT)
    one, more = held(1, "ä" * 200), held(2)
    board.begins(one)
    board.begins(more)
    board.ends(more)
    assert board.running() == [text(1, "ä" * (NAME_BYTES_MAX // 2))]


def test_a_process_that_has_died_leaves_it_behind() -> None:
    """Its parent says what it ran."""
    board = Board(1, CONTEXT)
    process = WorkerProcess(target=_die, args=(board,))
    process.start()
    process.board = board
    process.join(60)
    assert describe_exit(process) == f"worker process {process.pid} was killed by SIGKILL while it ran {text(7)}"


def test_an_end_of_the_workers_own_is_told_from_others() -> None:
    """By the status that it has said, or by SIGALRM once the alarm is to ring."""
    board = Board(1, CONTEXT)
    board.begins(held(1))
    assert [code for code in (None, -signal.SIGALRM, 0, 1, 5, 143) if board.is_meant(code)] == []
    board.leaves(143)
    assert [code for code in (0, 5, 143, -143) if board.is_meant(code)] == [143]
    for at, is_over in ((monotonic() + 3600, False), (monotonic(), True), (0.0, False)):
        board.rings_at(at)
        assert board.is_meant(-signal.SIGALRM) is is_over
    assert (board.running(), board.has_ended_some) == ([text(1)], False)


@pytest.mark.parametrize(("ends", "delay_s"), [(False, 0.8), (True, 0.0)])
def test_work_that_was_done_ends_the_doubling_of_the_wait(
    ends: bool, delay_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Who died young counts for the wait of the next process only where it got through no node."""
    crew = Crew(1, WorkerOptions(), log=get_logger(), main={})
    crew._short_lives = 4  # as many have died at once
    board = Board(1, CONTEXT)
    process = WorkerProcess(target=_end_one, args=(board, ends))
    process.start()
    process.board = board
    process.join(60)  # before its life is timed: this may take longer than a short life on a busy machine
    reader, writer = Pipe(duplex=False)
    writer.close()
    child = Child(process=process, status=reader, place=0)
    crew._children.append(child)
    crew._take_leave(child)
    when = f"in {delay_s:g} s" if delay_s else "now"
    assert [message.partition("; ")[2] for message in caplog.messages] == [f"another one starts {when}"]


def _end_one(board: Board, ends: bool) -> None:
    one = held(8)
    board.begins(one)
    if ends:
        board.ends(one)
        board.begins(one)
    signal.raise_signal(signal.SIGKILL)


def _die(board: Board) -> None:
    board.begins(held(7))
    signal.raise_signal(signal.SIGKILL)
