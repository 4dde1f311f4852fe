"""The projects that somebody new would begin with do what they are for, and go on when parts of them are killed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from dagorama_broker.launch import launch_broker
from tests.docs.pages import ROOT, blocks

SAMPLES = ROOT / "samples"


def test_the_pages_show_the_samples_as_they_are() -> None:
    """What a reader copies from a page is what runs here."""
    shown = {
        block.file: block.text
        for page in (ROOT / "docs" / "projects").glob("*.md")
        for block in blocks(page)
        if (SAMPLES / block.file).is_file()
    }
    assert sorted(shown) == ["backend.py", "etl.py", "orders.py", "search.py"]
    assert shown == {name: (SAMPLES / name).read_text() for name in shown}


def lines_of(sample: str) -> list[str]:
    """Run a sample and return the lines that it prints."""
    outcome = subprocess.run(
        [sys.executable, SAMPLES / sample], cwd=ROOT, capture_output=True, text=True, check=False, timeout=100
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout.splitlines()


def test_the_bad_file_of_200_is_found_and_read_again() -> None:
    """A warning leads to its node, the node to the file, and only that file is read again."""
    before, found, after = lines_of("etl.py")
    assert (before, after) == ("796 readings", "800 readings")
    assert re.fullmatch(r"station-137 took \d+\.\d{3} s and said: skipped '2026-03-01;17,5'", found)


def test_a_search_stops_when_it_is_good_enough() -> None:
    """Each line is a better loss than the one before, and the last is the best setting that there is."""
    *better, took = lines_of("search.py")
    tried, losses = [], []
    for line in better:
        match = re.fullmatch(r"(\d+) of 60: loss (0\.\d+) with Setting\(rate=0\.\d+, depth=\d+\)", line)
        assert match is not None, line
        tried.append(int(match[1]))
        losses.append(float(match[2]))
    assert tried == sorted(set(tried))
    assert losses == sorted(set(losses), reverse=True)
    assert losses[-1] == 0.031
    assert took == "took Setting(rate=0.001, depth=6)"


@contextmanager
def backend() -> Iterator[str]:
    """Run the backend, and kill it; gives the address of its orders."""
    with subprocess.Popen(
        [sys.executable, "backend.py", "0"], cwd=SAMPLES, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def ask(method: str, url: str, body: object = None) -> tuple[int, object]:
    """Send a request and return the status and the value of the answer."""
    request = Request(url, method=method, data=None if body is None else json.dumps(body).encode())
    try:
        with urlopen(request, timeout=100) as answer:  # longer than any of them is to wait
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def order(path: str, state: str, done: str, value: str | None = None) -> dict[str, object]:
    """Return what the backend tells of an order."""
    return {"order": path, "state": state, "done": done, "value": value}


def test_a_backend_goes_on_with_its_orders_after_its_own_restart() -> None:
    """Started once by key, waited for, listed and cancelled, by whichever backend is asked."""
    wanted = {"customer": "ada", "items": ["book", "lamp"]}
    shipped = order("/orders/17", "completed", "4 of 4", "book and lamp shipped to ada")
    with ExitStack() as stack:
        stack.enter_context(launch_broker(port=0))
        with backend() as orders:
            assert ask("PUT", f"{orders}/17", wanted) == (200, order("/orders/17", "running", "0 of 1"))
        with backend() as orders:
            assert ask("PUT", f"{orders}/17", wanted) == (200, order("/orders/17", "running", "0 of 1"))
            assert ask("PUT", f"{orders}/17", {**wanted, "items": []})[0] == 409
            assert ask("PUT", f"{orders}/18", {**wanted, "customer": "bo"})[0] == 200
            assert ask("DELETE", f"{orders}/18") == (200, order("/orders/18", "cancelled", "1 of 1"))
            assert ask("DELETE", f"{orders}/18")[0] == 409
            assert ask("PUT", f"{orders}/19", {"customer": "bo"})[0] == 400
            assert ask("GET", f"{orders}/19")[0] == 404
            worker = subprocess.Popen(
                [sys.executable, "-m", "dagorama", "worker", "--import", "orders", "--processes", "1"],
                cwd=SAMPLES,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(worker.wait)
            stack.callback(worker.terminate)
            assert ask("GET", f"{orders}/17?wait=60") == (200, shipped)
            assert ask("GET", f"{orders}?customer=ada") == (200, [shipped])
            assert ask("GET", orders) == (200, [order("/orders/18", "cancelled", "1 of 1"), shipped])
