"""Loads the readings of 200 weather stations, and finds the one whose file is not as it should be.

Nothing fails: each line that cannot be read is skipped with a warning. The warning leads to its node, the node's label
to the file, and when the file is mended, that file alone is read again.
"""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from dagorama import DAGDefinition, LogLine, dagorama, instance_options, launch_workers
from dagorama_broker.launch import launch_broker

logger = logging.getLogger("etl")

Reading = tuple[str, float]


class Etl(DAGDefinition):
    @dagorama
    def entrypoint(self, folder: str) -> int:
        files = sorted(Path(folder).glob("*.csv"))
        return self.total([self.load(file, self.transform(file, self.extract(file))) for file in files])

    @dagorama(label="{file.name}")
    def extract(self, file: Path) -> list[str]:
        return file.read_text().splitlines()

    @dagorama(label="{file.stem}")
    def transform(self, file: Path, lines: list[str]) -> list[Reading]:
        readings = []
        for line in lines:
            day, _, celsius = line.partition(";")
            try:
                readings.append((day, float(celsius)))
            except ValueError:
                logger.warning("skipped %r", line)
        return readings

    @dagorama(label="rows of {file.stem}")
    def load(self, file: Path, readings: list[Reading]) -> int:
        """Replace what the table has of the station, so that it may run again."""
        with closing(sqlite3.connect(file.with_name("readings.db"), timeout=60)) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS readings (station TEXT, day TEXT, celsius REAL)")
            database.execute("DELETE FROM readings WHERE station = ?", [file.stem])
            database.executemany(
                "INSERT INTO readings VALUES (?, ?, ?)", [(file.stem, day, celsius) for day, celsius in readings]
            )
        return len(readings)

    @dagorama
    def total(self, counts: list[int]) -> int:
        return sum(counts)


def make_files(folder: Path, stations: int = 200, bad: int = 137) -> None:
    """Write a file of four days for each station; the bad one writes its numbers with commas."""
    for station in range(1, stations + 1):
        lines = [f"2026-03-0{day};{station % 20 + day / 2}\n" for day in range(1, 5)]
        text = "".join(lines)
        (folder / f"station-{station:03}.csv").write_text(text.replace(".", ",") if station == bad else text)


def mend(file: Path) -> None:
    file.write_text(file.read_text().replace(",", "."))


if __name__ == "__main__":
    with TemporaryDirectory() as folder, launch_broker(port=0), launch_workers(2):
        make_files(Path(folder))
        with instance_options(key="readings of march"):
            instance, _ = Etl()(folder)
        print(f"{instance.result()} readings")

        warnings = [line for line in instance.logs(level="warning") if isinstance(line, LogLine)]
        node = instance.node(warnings[0].node_id)
        print(f"{node.label} took {node.duration_s:.3f} s and said: {warnings[0]}")

        (extract,) = node.dependencies()
        mend(Path(folder) / extract.label)
        extract.rerun()
        print(f"{instance.result()} readings")
