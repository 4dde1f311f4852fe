"""The benchmarks of large values run, and give the numbers that are quoted from them."""

from __future__ import annotations

import pytest

from tests.benchmarks.test_benchmarks import benchmark, numbers, positive


def test_values_are_measured_beside_a_plain_copy() -> None:
    """Each is stored once, whoever reads it; on one host none is sent, and the broker has none in memory."""
    found = numbers("values", "--megabytes", "64", "--array-megabytes", "8", "--readers", "20")
    times = {"copy_s", "made_s", "relay_s", "mapped_s", "read_s"}
    settings = {"megabytes", "array_megabytes", "readers", "workers", "rounds"}
    counts = {"broker_grew_mib", "stored_mib", "sent_mib"}
    assert set(found) == times | counts | settings | {"copy_ratio", "readers_ratio"}
    assert positive(found, times)
    assert found["stored_mib"] == 8.0
    assert isinstance(found["sent_mib"], float)
    assert found["sent_mib"] < 4
    assert isinstance(found["broker_grew_mib"], float)
    assert found["broker_grew_mib"] < 32


def test_a_broadcast_is_measured_beside_others() -> None:
    """What is not installed is left out, with how to get it."""
    finished = benchmark("broadcast", "--megabytes", "4", "--nodes", "8", "--rounds", "1")
    assert finished.returncode == 0, finished.stderr
    found = {line.split()[0]: float(line.split()[1]) for line in finished.stdout.splitlines()}
    assert {"ideal_s", "argument_s", "promise_s", "process_pool_s", "promise_ratio"} <= found.keys()
    assert found["ideal_s"] == pytest.approx(0.2)
    assert min(found["argument_ratio"], found["promise_ratio"]) >= 1
    assert "ray_s" in found or "left out ray: not installed (pip install ray)" in finished.stderr.splitlines()
