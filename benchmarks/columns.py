"""Graphs of large values. The array is our own, so that no library is needed; it is pickled as those of numpy are."""

import mmap
from pickle import PickleBuffer
from random import Random
from time import perf_counter, sleep
from typing import NamedTuple, SupportsIndex

from dagorama.decorators import dagorama
from dagorama.definition import DAGDefinition

PAGE_BYTES = 4096
PIECE_BYTES = 2**20
NAP_S = 0.05


class Column:
    """Numbers of one byte each, pickled as arrays are: their buffer leaves the pickle, and is mapped where it comes."""

    def __init__(self, data: bytes | bytearray | mmap.mmap | PickleBuffer) -> None:
        self.data = memoryview(data)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[type["Column"], tuple[PickleBuffer]]:
        return Column, (PickleBuffer(self.data),)

    def __len__(self) -> int:
        return len(self.data)

    def touch(self) -> int:
        """Reads a byte of each page of memory; returns their sum."""
        return sum(self.data[::PAGE_BYTES])


#: What many nodes get: an array, which is mapped, or `bytes`, which each process has to make.
Table = bytes | Column


class Made(NamedTuple):
    """A large value, and how long the function has taken that has made it, in seconds."""

    value: Column
    made_s: float


class Relay(DAGDefinition):
    """One large value, from a node to another, and from there to whoever asks for it."""

    @dagorama().syncfn
    def entrypoint(self, seed: int, size: int) -> Made:
        return self.passed(self.made(seed, size))

    @dagorama().syncfn
    def made(self, seed: int, size: int) -> Made:
        began_at = perf_counter()
        value = column(seed, size)
        return Made(value, perf_counter() - began_at)

    @dagorama().syncfn
    def passed(self, made: Made) -> Made:
        made.value.touch()
        return made


class Readers(DAGDefinition):
    """Nodes that read one large array: one that is given to them, or a file that each of them maps."""

    @dagorama().syncfn
    def entrypoint(self, source: Column | str, count: int) -> int:
        return self.total([self.read(source) for _ in range(count)])

    @dagorama().syncfn
    def read(self, source: Column | str) -> int:
        if isinstance(source, Column):
            return source.touch()
        with open(source, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
            column = Column(mapping)
            try:
                return column.touch()
            finally:
                column.data.release()

    @dagorama().syncfn
    def total(self, sums: list[int]) -> int:
        return sum(sums)


class Broadcast(DAGDefinition):
    """One table for nodes that take a while: given to the instance, or made by a node of it."""

    @dagorama().syncfn
    def entrypoint(self, table: Table | None, size: int, width: int, is_array: bool) -> int:
        source = self.made(size, is_array) if table is None else table
        return self.gather([self.nap(source) for _ in range(width)])

    @dagorama().syncfn
    def made(self, size: int, is_array: bool) -> Table:
        made = column(0, size)
        return made if is_array else bytes(made.data)

    @dagorama().syncfn
    def nap(self, table: Table) -> int:
        return nap(table)

    @dagorama().syncfn
    def gather(self, sizes: list[int]) -> int:
        return sum(sizes)


def column(seed: int, size: int) -> Column:
    """Returns as many bytes, which differ for each seed."""
    return Column(bytearray(Random(seed).randbytes(PIECE_BYTES) * (size // PIECE_BYTES + 1))[:size])


def nap(table: Table) -> int:
    """Takes a while; returns how many bytes it has got."""
    sleep(NAP_S)
    return len(table)
