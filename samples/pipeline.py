"""Counts the words in the text files of a folder: split, mapped and merged.

    python samples/pipeline.py FOLDER

Each file is split by size when its node runs, so a large one is counted by several workers. Only paths, positions and
counts travel; each worker reads its part of the file. What comes out is compared with a count of the whole.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dagorama import DAGDefinition, dagorama, launch_workers, resolve
from dagorama_broker.launch import launch_broker

#: Below this a part is read faster than it is handed out.
PART_SIZE_BYTES = 1 << 20

#: So many counts are merged by one node; more of them make a tree.
MERGE_WIDTH = 8


class WordCount(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, folder: str, part_size_bytes: int = PART_SIZE_BYTES) -> Counter[str]:
        return self.merge_all([self.split(str(path), part_size_bytes) for path in text_files(Path(folder))])

    @dagorama().syncfn
    def split(self, path: str, part_size_bytes: int) -> Counter[str]:
        starts = range(0, Path(path).stat().st_size, part_size_bytes)
        return self.merge_all([self.count(path, start, start + part_size_bytes) for start in starts])

    @dagorama().syncfn
    def count(self, path: str, start: int, end: int) -> Counter[str]:
        counts: Counter[str] = Counter()
        for line in lines_between(Path(path), start, end):
            counts.update(words(line))
        return counts

    @dagorama().syncfn
    def merge(self, counts: list[Counter[str]]) -> Counter[str]:
        merged: Counter[str] = Counter()
        for part in counts:
            merged.update(part)
        return merged

    def merge_all(self, counts: list[Counter[str]]) -> Counter[str]:
        while len(counts) > MERGE_WIDTH:
            counts = [self.merge(counts[i : i + MERGE_WIDTH]) for i in range(0, len(counts), MERGE_WIDTH)]
        return self.merge(counts)


def text_files(folder: Path) -> list[Path]:
    return sorted(path.resolve() for path in folder.rglob("*.txt") if path.is_file())


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def lines_between(path: Path, start: int, end: int) -> Iterator[str]:
    """Yields the lines that begin at a position from `start` to just before `end`, so that each line is in one part."""
    with path.open("rb") as file:
        if start > 0:
            # What is left of the line that holds the byte before `start` belongs to the part before.
            file.seek(start - 1)
            file.readline()
        while file.tell() < end and (line := file.readline()):
            yield line.decode("utf-8", errors="replace")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python samples/pipeline.py FOLDER")
    with launch_broker(port=0), launch_workers(2):
        instance, promise = WordCount()(sys.argv[1])
        counts = resolve(instance, promise, wait_for_results=True)
    files = text_files(Path(sys.argv[1]))
    whole = Counter(word for path in files for word in words(path.read_text(encoding="utf-8", errors="replace")))
    print(f"{counts.total()} words in {len(files)} files, {len(counts)} different ones; the most frequent:")
    for word, times in counts.most_common(5):
        print(f"{times:7} {word}")
    print("the same as a count of the whole" if counts == whole else "NOT the same as a count of the whole")
    sys.exit(counts != whole)
