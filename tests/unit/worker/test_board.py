"""What a worker process runs can be read in its parent."""

import multiprocessing
import signal
from uuid import UUID

from dagorama.worker.board import NAME_BYTES_MAX, Board
from dagorama.worker.held import Function, Held
from dagorama.worker.processes import WorkerProcess, describe_exit

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
    process.join(20)
    assert describe_exit(process) == f"worker process {process.pid} was killed by SIGKILL while it ran {text(7)}"


def _die(board: Board) -> None:
    board.begins(held(7))
    signal.raise_signal(signal.SIGKILL)
