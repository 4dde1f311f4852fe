"""Jobs files that cannot be run are refused, with the line of each problem and the way out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dagorama.workflows.formats import load_workflow
from dagorama.workflows.jobs.reading import read
from dagorama.workflows.problems import WorkflowError

#: A job that is right, for files that have something else wrong.
RIGHT = "jobs: [{name: a, cmd: sh}, {name: b, cmd: sh}]\n"


def refused(text: str) -> WorkflowError:
    """Return the refusal of a text."""
    with pytest.raises(WorkflowError) as caught:
        read(text, "f.yaml")
    return caught.value


def test_all_problems_are_told_at_once() -> None:
    """A message has a line for each problem of a file, in the order of its lines."""
    text = """\
paralelism: 3
jobs:
- {name: apple, comand: /timer.py}
- {name: apple, cmd: sh, timeout: soon}
- cmd: sh
  inputs:
  - {origin: "file:///etc/passwd", local: ../../x}
- name: pear
  cmd: sh
  outputs: [{local: /etc/passwd, svae: true}]
neighbors:
  apple: [paer, apple]
"""
    assert str(refused(text)).splitlines() == [
        "f.yaml:1: the file has the unknown key 'paralelism'; did you mean 'parallelism'?",
        "f.yaml:3: job 'apple' has the unknown key 'comand'; did you mean 'cmd'?",
        "f.yaml:3: job 'apple' has no cmd; write the program that it runs",
        "f.yaml:4: job 'apple': timeout must be a number of seconds, above 0 and up to 315,360,000, and is 'soon'; "
        "write a number such as 7200, or leave it out for any time",
        "f.yaml:4: the job 'apple' stands in line 3 already; give each job a name of its own",
        "f.yaml:5: job 3 has no name; give each job a name of its own",
        "f.yaml:7: job 3: input 1: origin cannot be 'file:///etc/passwd': its scheme is 'file'; "
        "write a URL of http or https",
        "f.yaml:7: job 3: input 1: local cannot be '../../x': the path leads out of the run's directory; "
        "leave out the ..",
        "f.yaml:10: job 'pear': output 1 has the unknown key 'svae'; did you mean 'save'?",
        "f.yaml:10: job 'pear': output 1: local cannot be '/etc/passwd': the path is absolute; "
        "write it relative to the working directory",
        "f.yaml:12: neighbors names the unknown job 'paer'; did you mean 'pear'?",
        "f.yaml:12: job 'apple' is its own neighbor; leave the edge out",
    ]


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("", 1, "it is empty"),
        ("# nothing\n", 1, "it is empty"),
        ("- a\n", 1, "must be an object"),
        ("jobs: []\n", 1, "has no job"),
        ("jobs:\n", 1, "jobs has no value"),
        ("name: x\n", 1, "the file has no jobs"),
        ("jobs: [a]\n", 1, "job 1 must be an object"),
        ("jobs:\n- {name: a, cmd: sh}\n- {name: b, cmd: }\n", 3, "job 'b': cmd has no value"),
        ("jobs:\n- name: a\n  cmd: [sh]\n", 3, "cmd must be a text, and is a list"),
        (RIGHT + "parallelism: 0\n", 2, "parallelism must be a whole number"),
        (RIGHT + "parallelism: true\n", 2, "parallelism must be a whole number"),
        (RIGHT + "jobs: []\n", 2, "the key 'jobs' stands in line 1 already"),
        (RIGHT + "neighbors: [a]\n", 2, "neighbors must be an object"),
        (RIGHT + "neighbors: {a: b}\n", 2, "must be a list"),
        (RIGHT + "neighbors: {a: [b], b: [a]}\n", 2, "jobs wait for each other"),
        ("jobs:\n- {name: !!str a, cmd: sh}\n", 2, "the tag '!!str' is not read"),
        ("jobs:\n- !!python/object/apply:os.system [echo]\n", 2, "the tag '!!python/object/apply:os.system'"),
        ("jobs: &a [*a]\n", 1, "stands for what it is part of"),
        ("jobs: [*a]\n", 1, "has no anchor"),
        (RIGHT + "---\njobs: []\n", 2, "a second document begins"),
        ("jobs: [{name: a, cmd: sh, save: true}]", 1, "unknown key 'save'"),
        ("jobs: [{name: a, cmd: sh\n", 2, "did not find expected"),
        ('{"jobs": [\n{"name": "a" "cmd": "sh"}]}', 2, "a comma or } is missing"),
        ('{"jobs": [],\n"jobs": []}', 2, "the key 'jobs' stands in line 1 already"),
        ("jobs: [{name: a, cmd: sh, args: [~]}]", 1, "args 1 must be a text, and is nothing"),
        ("jobs: [{name: a, cmd: sh, args: [x, {y: z}]}]", 1, "args 2 must be a text, and is an object"),
        ('{"jobs": [{"name": "a", "cmd": "sh", "args": ["\\ud800"]}]}', 1, "args 1 has half a character"),
        ('{"jobs": [{"name": "a", "cmd": "\\ud800' + "x" * 40_000 + '"}]}', 1, "cmd has half a character"),
        ("jobs: [{name: a, cmd: sh, timeout: 99999999999}]", 1, "up to 315,360,000, and is '99999999999'"),
        ("---\n# nothing\n", 1, "it is empty"),
        ("jobs: [{name: &a a, cmd: sh}]\n---\n*a\n", 3, "has no anchor"),
        ("jobs: [{name: a, cmd: sh, env: {A=B: c}}]", 1, "no variable can have"),
        ('jobs: [{name: a, cmd: "s\\0h"}]', 1, "cmd has a NUL character"),
        ('jobs: [{name: "a\\e[2J", cmd: sh}]', 1, "characters that cannot be shown"),
        ("jobs: [{name: a\x1b[2J, cmd: sh}]", 1, "the control character '\\x1b'"),
        ("jobs: [{name: '  ', cmd: sh}]", 1, "name is empty"),
        ("jobs: [{name: a, cmd: sh, workdir_prefix: /srv}]", 1, "the path is absolute"),
        ("jobs: [{name: a, cmd: sh, workdir_prefix: a/../..}]", 1, "leads out of the run's directory"),
        ("jobs: [{name: a, cmd: sh, workdir_prefix: .dagorama/x}]", 1, "dagorama's own"),
    ],
)
def test_a_bad_file_is_refused(text: str, line: int, told: str) -> None:
    """The problem is named, with its line and what to do about it."""
    error = refused(text)
    assert [line] == [problem.place.line for problem in error.problems if told in problem.message]
    assert all(problem.way_out for problem in error.problems)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '{"jobs": [\n{"name": "a", // mine\n"cmd": "sh"}]}',
            "f:2: a key in quotes is missing in the object of line 2, before '// mine'; "
            "JSON has no comments, and YAML has # for them",
        ),
        (
            '/* mine */\n{"jobs": []}',
            "f:1: a value is missing, before '/* mine */'; JSON has no comments, and YAML has # for them",
        ),
        (
            '{"jobs": [{"name": "a", "cmd": "sh"}]\n"name": "x"}',
            'f:2: a comma or } is missing in the object of line 1, before \'"name": "x"}\'; mend the JSON there',
        ),
        (
            '{"jobs": [{"name": "a", "args": [1 2], "cmd": "sh"}}',
            'f:1: a comma or ] is missing in the list of line 1, before \'2], "cmd": "sh"}}\'; mend the JSON there',
        ),
        (
            "jobs:\n\t- name: a\n",
            "f:2: while scanning for the next token: found character that cannot start any token, "
            "before '\\t- name: a'; indent with blanks, not with tabs",
        ),
        (
            "jobs:\n- name: @a\n",
            "f:2: while scanning for the next token: found character that cannot start any token, "
            "before '@a'; mend the YAML there",
        ),
        (
            "jobs:\n- name: 'a\n  cmd: sh\n",
            "f:4: while scanning a quoted scalar that began in line 2: found unexpected end of stream; "
            "mend the YAML there",
        ),
        (
            "jobs:\n- inputs: [{auth: {{TOKEN}}}]\n",
            "f:2: a key is an object, and no text; "
            "write a name before the colon, and quotes around a text that begins with { or [",
        ),
    ],
)
def test_what_cannot_be_read_is_shown(text: str, told: str) -> None:
    """A line may be very long, as that of a file by a program is: so the place in it is shown, too."""
    with pytest.raises(WorkflowError) as caught:
        read(text, "f")
    assert told == str(caught.value)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("{origin: 'http://a/b', cache: c, local: d}", "has origin and cache"),
        ("{origin: 'http://a/b'}", "has no local"),
        ("{origin: 'http:///b', local: d}", "names no host"),
        ("{origin: 'http://u:p@a/b', local: d}", "user or password"),
        ("{origin: 'http://a/b c', local: d}", "no spaces"),
        ("{origin: 'http://a:port/b', local: d}", "origin cannot be"),
        ("{origin: 'http://a/b', local: d, post: xml}", "post cannot be 'xml'"),
        ("{origin: 'http://a/b', local: d, auth: \"x\\r\\nHost: y\"}", "no header can have"),
        ("{origin: 'http://a/b', local: d, auth: '{{a b}}'}", "names the secret 'a b'"),
        ("{origin: 'http://a/b', local: d, auth: '{{DAGORAMA_TOKEN}}'}", "a setting of dagorama"),
        ("{content: x, local: d, auth: y}", "auth without an origin"),
        ("{content: x, local: .}", "is the working directory"),
        ("{cache: ../a, local: d}", "no name of a file"),
        ("{local: ''}", "the path is empty"),
        ('{local: "a\\nb"}', "control characters"),
        ("{move: ../../a, local: d}", "leads out of the run's directory"),
        (f"{{local: {'x' * 300}}}", "longer than file systems take"),
        ("{content: [x], local: d}", "content must be a text"),
    ],
)
def test_a_bad_input_is_refused(step: str, told: str) -> None:
    """An input that cannot be brought, or leads elsewhere, is refused before anything runs."""
    text = f"jobs:\n- name: a\n  cmd: sh\n  inputs:\n  - {step}\n"
    assert [problem.place.line for problem in refused(text).problems if told in problem.message] == [5]


def test_a_long_cycle_is_told_as_a_path() -> None:
    """A cycle is named from its beginning back to that; jobs that only hang on it are not."""
    text = "jobs: [{name: a, cmd: x}, {name: b, cmd: x}, {name: c, cmd: x}, {name: d, cmd: x}]\n"
    (problem,) = refused(text + "neighbors: {a: [b], b: [c], c: [a, d]}\n").problems
    assert problem.message in [
        f"jobs wait for each other: {' -> '.join(repr(name) for name in path)}" for path in ("abca", "bcab", "cabc")
    ]


def test_names_of_a_megabyte_are_refused() -> None:
    """A name is bounded, and no message has the whole of it."""
    long = "x" * 2**20
    for text in (
        f'{{"jobs": [{{"name": "{long}", "cmd": "sh"}}]}}',
        f"jobs: [{{name: {long}, cmd: sh}}]",
        f'{{"jobs": [{{"name": "a", "cmd": "sh"}}], "neighbors": {{"{long}": ["{long}"]}}}}',
        f'{{"jobs": [{{"name": "a", "cmd": "sh", "{long}": 1}}]}}',
    ):
        assert len(str(refused(text))) < 1_000


def test_an_argument_that_no_system_takes_is_refused() -> None:
    """Linux takes no argument of 128 KiB, which shows at load and not when the job runs."""
    error = refused(f"jobs: [{{name: a, cmd: sh, args: [{'x' * 2**17}]}}]")
    assert [problem.way_out for problem in error.problems] == ["put it into a file"]


def _laughs(level: int, opening: str, closing: str) -> str:
    lines = [f"a0: &a0 {opening}{','.join('x' * 10)}{closing}"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, level)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (_laughs(30, "[", "]"), "the aliases stand for more than"),
        ("jobs: " + "[" * 100_000, "maximum nesting depth"),
        ('{"jobs": ' + "[" * 100_000, "deep in each other"),
        ('{"jobs": ' + '{"a": ' * 100_000, "deep in each other"),
        ("base: &b {" + ", ".join(f"k{n}: v" for n in range(2_000)) + "}\njobs:\n" + "- {<<: *b}\n" * 200, "aliases"),
        (f"jobs: [{{name: a, cmd: &b {'x' * 100_000}, args: [{'*b, ' * 2_000}]}}]", "the aliases stand for more than"),
    ],
    ids=["laughs", "yaml deep", "json lists", "json objects", "merges", "long text"],
)
def test_bombs_are_refused_where_they_show(text: str, told: str) -> None:
    """A small file that would unfold to a very large one is refused before it does."""
    assert [told] == [told for problem in refused(text).problems if told in problem.message]


def test_very_many_problems_are_counted() -> None:
    """A message stays readable where each of many jobs has a problem; the error has all of them."""
    error = refused("jobs:\n" + "- {name: x, cmd: sh}\n" * 5_000)
    assert len(error.problems) == 4_999
    assert str(error).splitlines()[-1] == "and 4949 more"


def test_pipes_and_missing_files_are_refused(tmp_path: Path) -> None:
    """Nobody waits for a pipe, and what is no file is told as such."""
    os.mkfifo(tmp_path / "pipe.yaml")
    for name in ("pipe.yaml", "missing.json"):
        with pytest.raises(WorkflowError, match=name):
            load_workflow(tmp_path / name)
