"""The benchmark of functions that print very much."""

from __future__ import annotations

import json

from tests.benchmarks.test_benchmarks import benchmark


def test_floods_of_output_are_counted_on_the_wire() -> None:
    """How much has moved, no more than a tenth beside what was printed, and how long others have waited meanwhile."""
    finished = benchmark("logs", "--megabytes", "2", "--kinds", "random", "--json")
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])
    assert 0.9 * 1.04 < found["random_wire_mb"] < 1.1 * 2
    assert found["random_kept_lines"] > 1000
    assert found["random_gaps"] == 0
    assert found["random_heartbeat_gap_s"] > 0
    assert found["random_latency_max_ms"] >= found["random_latency_median_ms"] > 0


def test_an_unknown_kind_is_a_wrong_call() -> None:
    """It is refused with the names of those that there are."""
    finished = benchmark("logs", "--kinds", "noise")
    assert (finished.returncode, "noise: not of quiet, text, random, rate, line" in finished.stderr) == (2, True)
