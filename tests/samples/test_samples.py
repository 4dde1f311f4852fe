"""The samples run as scripts and through `dagorama run`, and type checkers have nothing to say about them."""

from __future__ import annotations

import ast
import difflib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from dagorama import attach, events, launch_workers, workers
from dagorama_broker.launch import launch_broker

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"


def output(*command: str | Path, timeout_s: float = 100) -> str:
    """Runs Python with these words and returns what it prints on standard output; what goes wrong fails the test."""
    words = [sys.executable, *map(str, command)]
    outcome = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout_s)
    if outcome.returncode:
        pytest.fail(f"{' '.join(words)} exited {outcome.returncode}\n{outcome.stdout}\n{outcome.stderr}")
    return outcome.stdout


def value(sample: str, *arguments: str) -> str:
    """Returns what `dagorama run` prints for a definition of a sample."""
    return output("-m", "dagorama.cli.main", "run", f"samples/{sample}", *arguments).strip()


@pytest.fixture(scope="module", autouse=True)
def plain() -> Iterator[subprocess.Popen[str]]:
    """The plain class, which takes 8 s for nothing but waiting: it runs while others are tested."""
    with subprocess.Popen([sys.executable, SAMPLES / "test1.py"], stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder with a few text files, one of them without words and one in a folder of its own."""
    (tmp_path / "more").mkdir()
    (tmp_path / "a.txt").write_text("the cat and the dog\nand a cat\n" * 50)
    (tmp_path / "b.txt").write_text("The bird, naïve; no newline at the end")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "more" / "c.txt").write_text("cat\n" * 7)
    (tmp_path / "not a text.md").write_text("cat")
    return tmp_path


def test_the_decorated_class_gives_what_the_plain_one_does() -> None:
    """Starting a broker and four workers, too, it prints the same value."""
    printed = re.fullmatch(r"Counter\({0: 2, 1: 2}\) in (\d+\.\d) s\n", output(SAMPLES / "test2.py"))
    assert printed is not None
    assert float(printed[1]) >= 2.0


def test_operations_run_as_their_scripts_have_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of operation ends well, with what its last task has printed, and nothing of the runs is left."""
    monkeypatch.setenv("DAGORAMA_RUNS", str(tmp_path))
    printed = output(SAMPLES / "operations.py").splitlines()
    assert {line for line in printed if " Succeeded: " in line or "sum" in line} == {
        "test-sync-op Succeeded: whatever",
        "test-pipeline-op Succeeded: whatever",
        "test-parallel-op Succeeded: whatever",
        "test-dag-op Succeeded: whatever",
        "test-custom-connected-op Succeeded: the file that was downloaded",
        "the sum is 3.0",
    }


def test_a_model_is_trained_and_released() -> None:
    """The DAG of operators runs to its end, and shows the model of which the checks have said that it is good."""
    words = ["-m", "dagorama.cli.main", "run", "samples/training.py"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "Pipeline completed successfully."
    assert lines.index(f"task_id: {'check-model':<15} status:Succeeded") < lines.index(
        f"task_id: {'show':<15} status:Succeeded"
    )
    assert '"good": 1.5' in done.stderr


def test_four_workers_do_four_things_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four pieces of 2 s of work each is begun before any other has ended."""
    monkeypatch.syspath_prepend(SAMPLES)
    with launch_broker(port=0), launch_workers(4):
        seen = iter(events(after=events().begin()))
        while len(workers()) < 4:
            next(seen)
        task = import_module("test2").MyTask()
        instance, _ = task()
        assert instance.result(timeout=60) == Counter({0: 2, 1: 2})
        nodes = attach(instance.instance_id).nodes(function="test2:MyTask.perform_work")
        works = [node.attempts[-1] for node in nodes]
    assert len(works) == len({work.worker for work in works}) == 4
    begun_at = [work.started_at for work in works if work.started_at]
    ended_at = [work.ended_at for work in works if work.ended_at]
    assert len(begun_at) == len(ended_at) == 4
    assert max(begun_at) < min(ended_at)


def test_the_difference_is_three_decorators_and_a_base_class() -> None:
    """Imports and the main block aside, a distributed class differs from a plain one in four lines."""
    plain, decorated = (
        ast.unparse(
            next(node for node in ast.parse((SAMPLES / name).read_text()).body if isinstance(node, ast.ClassDef))
        )
        for name in ("test1.py", "test2.py")
    )
    difference = [line for line in difflib.ndiff(plain.splitlines(), decorated.splitlines()) if line[0] in "+-"]
    assert difference == [
        "- class MyTask:",
        "+ class MyTask(DAGDefinition):",
        *["+     @dagorama().syncfn"] * 3,
    ]


def test_branching_ships_every_order_by_the_cheapest_carrier() -> None:
    """Branches, sub-graphs and promises in containers give what the same code gives without dagorama."""
    assert output(SAMPLES / "branching.py").splitlines() == [
        "Ada: 1.00 kg by bike for 3.90",
        "Bo: 12.00 kg by van for 10.80",
        *["Cy: 22.62 kg by rail for 12.26"] * 4,
        "total: 63.74",
    ]


def test_branching_runs_as_a_command() -> None:
    """The sample is an importable definition too."""
    quote = "Quote(carrier='bike', price_cents=660)"
    assert value("branching.py:Shipping", "{'Ada': ['lamp']}") == (
        f"Invoice(parcels={{'Ada': [Parcel(weight_kg=4.0, quote={quote})]}}, total_cents=660)"
    )


def test_tainted_work_runs_where_it_is_tolerated() -> None:
    """What needs the GPU runs in the one process that has it."""
    assert output(SAMPLES / "gpu.py").startswith("the best model was trained here")


def test_gpu_runs_as_a_command_with_the_toleration() -> None:
    """`dagorama run --toleration` gives its workers the toleration."""
    assert value("gpu.py:Training", "2", "--toleration", "gpu").startswith("Model(loss=")


def test_pipeline_counts_what_the_whole_counts(texts: Path) -> None:
    """Counting in parts gives the count of the whole."""
    assert output(SAMPLES / "pipeline.py", texts).splitlines() == [
        "415 words in 4 files, 11 different ones; the most frequent:",
        "    107 cat",
        "    102 the",
        "    100 and",
        "     50 dog",
        "     50 a",
        "the same as a count of the whole",
    ]


def test_lines_are_counted_once_however_small_the_parts(texts: Path) -> None:
    """A part that begins or ends inside a line neither loses nor repeats a word."""
    whole = Counter(
        word for path in texts.rglob("*.txt") for word in re.findall(r"\w+", path.read_text(encoding="utf-8").lower())
    )
    counted = value("pipeline.py:WordCount", repr(str(texts)), "part_size_bytes=97")
    assert eval(counted, {"Counter": Counter}) == whole


@pytest.mark.timeout(480)
def test_type_checkers_have_nothing_to_say() -> None:
    """Decorated calls are plain values to mypy in strict mode and to pyright, without a plugin."""
    files = [str(path) for path in sorted(SAMPLES.glob("*.py"))]
    # mypy may read all that is imported for the first time.
    assert output("-m", "mypy", "--strict", *files, timeout_s=240).startswith("Success")
    assert output("-m", "pyright", *files, timeout_s=240).startswith("0 errors, 0 warnings")


def test_the_plain_class_runs_as_it_is(plain: subprocess.Popen[str]) -> None:
    """The class needs nothing of dagorama to run."""
    printed, _ = plain.communicate(timeout=60)
    assert re.fullmatch(r"Counter\({0: 2, 1: 2}\) in (8|9|1\d)\.\d s\n", printed)
