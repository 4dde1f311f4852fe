"""What `dagorama run` makes of its words."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest

from dagorama import DAGDefinition, dagorama
from dagorama.cli.target import Arguments, check_arguments, load_target, parse_arguments


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["1", "-2.5", "None", "True"], Arguments(args=(1, -2.5, None, True), kwargs={})),
        (["a", '"a"', "'1'", "a b"], Arguments(args=("a", "a", "1", "a b"), kwargs={})),
        (["[1, 2]", "{'a': (1,)}", "{1}"], Arguments(args=([1, 2], {"a": (1,)}, {1}), kwargs={})),
        (["1", "name=2", "text=a=b"], Arguments(args=(1,), kwargs={"name": 2, "text": "a=b"})),
        (["'a=b'", "1=2", "=", ""], Arguments(args=("a=b", "1=2", "=", ""), kwargs={})),
        (["open('x')", "1 +", "__import__('os')"], Arguments(args=("open('x')", "1 +", "__import__('os')"), kwargs={})),
    ],
)
def test_arguments_are_literals_or_strings(words: list[str], expected: Arguments) -> None:
    """A Python literal is its value, name=literal a keyword, and everything else a string."""
    assert parse_arguments(words, None) == expected


@pytest.mark.parametrize("word", ["[apple, fig]", "articles=[apple]", "{a: 1}", "(a"])
def test_what_looks_like_a_collection_and_is_a_string_is_told(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A list whose strings have no quotes is a string, of its characters, and standard error says so."""
    parse_arguments([word], None)
    assert f"{word.removeprefix('articles=')} is no Python literal" in capsys.readouterr().err
    parse_arguments(["apple", "open('x')", "[1]"], None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[1, null, {"a": true}]', Arguments(args=(1, None, {"a": True}), kwargs={})),
        ('{"name": [1]}', Arguments(args=(), kwargs={"name": [1]})),
        ("[]", Arguments(args=(), kwargs={})),
    ],
)
def test_arguments_may_be_json(text: str, expected: Arguments) -> None:
    """A JSON list gives the arguments by position, an object by name."""
    assert parse_arguments([], text) == expected


@pytest.mark.parametrize(
    ("words", "text", "message"),
    [
        (["x=1", "x=2"], None, "the argument x is given twice"),
        (["1"], "[1]", "either one by one or as --json"),
        ([], "[1", "--json is not JSON"),
        pytest.param([], "[" * 100_000, "--json is not JSON", id="deep"),
        ([], "1", "--json takes a list"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(words: list[str], text: str | None, message: str) -> None:
    """Whatever can't be meant is refused with the reason."""
    with pytest.raises(click.UsageError, match=message):
        parse_arguments(words, text)


ONE = """
from dagorama import DAGDefinition, dagorama

class Base(DAGDefinition): ...

class {name}(Base):
    @dagorama().syncfn
    def entrypoint(self): ...
"""


def test_a_module_alone_stands_for_its_one_definition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With several the message names what to write; `check` takes the same targets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "one_target.py").write_text(ONE.format(name="Job"))
    (tmp_path / "two_targets.py").write_text(ONE.format(name="Job") + ONE.format(name="Other"))
    (tmp_path / "no_target.py").write_text("")
    for target in ("one_target", "one_target.py", "one_target:Job", "./one_target.py:Job"):
        assert type(load_target(target).definition).__name__ == "Job"
    with pytest.raises(click.UsageError, match="several definitions: write two_targets:Job or two_targets:Other"):
        load_target("two_targets")
    with pytest.raises(click.UsageError, match="no definition that could be started"):
        load_target("no_target.py")


class Job(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, n: int, *, name: str = "x") -> list[str]:
        return [name] * n


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (Arguments(args=(), kwargs={}), "missing a required argument: 'n'"),
        (Arguments(args=(), kwargs={"N": 1}), "missing a required argument: 'n'; there is no argument 'N'"),
        (Arguments(args=(1,), kwargs={"nme": 1}), "got an unexpected keyword argument 'nme'"),
        (Arguments(args=(1, 2), kwargs={}), "too many positional arguments"),
    ],
)
def test_wrong_arguments_are_named_beside_the_signature(arguments: Arguments, problem: str) -> None:
    """What was typed is in the message, and the signature as it is written, without quotes around its types."""
    with pytest.raises(click.UsageError) as raised:
        check_arguments(Job(), arguments)
    written = "Job.entrypoint(n: int, *, name: str = 'x') -> list[str]"
    assert raised.value.message == f"wrong arguments: {problem}; the signature is {written}"
