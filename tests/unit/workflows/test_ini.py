"""Control files: read with all their tolerance, refused with all their lines, and written again."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagorama.workflows.formats import load_workflow, write_workflow
from dagorama.workflows.ini import DagBuilder, PipelineRunner
from dagorama.workflows.ini.reading import read
from dagorama.workflows.ini.works import Scheduled
from dagorama.workflows.model import Command, Loaded, Task, Workflow
from dagorama.workflows.problems import WorkflowError
from dagorama.workflows.services.works import AppService, ModelService

DEMO = Path(__file__).parents[3] / "samples" / "control" / "demo.cfg"


@pytest.fixture(autouse=True)
def _no_tiers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no tiers but those of a test."""
    monkeypatch.delenv("DAGORAMA_TIERS", raising=False)


def load(text: str, *, strict: bool = False) -> Loaded:
    """Read a control file."""
    return read(text, "demo.cfg", strict=strict)


def only(text: str) -> Task:
    """Read a control file of one task."""
    (task,) = load(text).workflow.tasks
    return task


def refused(text: str) -> list[str]:
    """Return the lines of the error that a control file gives."""
    with pytest.raises(WorkflowError) as caught:
        load(text)
    return str(caught.value).splitlines()


def test_the_demo_graph_is_read() -> None:
    """Four tasks have no dependencies, the model waits for one of them, and the app for the model."""
    workflow = load_workflow(DEMO).workflow
    assert workflow.name == "demo"
    assert {task.id: task.depends for task in workflow.tasks} == {
        "job_1": (),
        "job_2": (),
        "job_3": (),
        "sched_job_1": (),
        "model_1": ("job_3",),
        "app_1": ("model_1",),
    }
    first, second, third, scheduled, model, app = workflow.tasks
    assert first.work == Command(argv=("first.py", "hello from job_1"))
    assert second.work == Command(argv=("echo", "100% of job_2"))
    assert (third.retries, third.timeout_s, third.shown) == (2, 600.0, "Train")
    assert third.work == Command(argv="mkdir -p out && date > out/trained_at.txt && echo trained")
    assert isinstance(scheduled.work, Scheduled)
    assert isinstance(model.work, ModelService)
    assert (model.work.name, model.work.deploy_by_name) == ("model_1", True)
    assert app.work == AppService(name="app_1")


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("command = a 'b c' \"d\"", ("a", "b c", "d")),
        ("command: x=1 50% %(home)s", ("x=1", "50%", "%(home)s")),
        ("COMMAND=a;b # c", ("a;b", "#", "c")),
        ("direct: TRUE\ncommand: echo $HOME | cat", "echo $HOME | cat"),
        ("direct = False\ncommand = echo $HOME", ("echo", "$HOME")),
    ],
)
def test_commands_are_split_as_a_shell_does(text: str, argv: tuple[str, ...] | str) -> None:
    """Quotes are honoured, and nothing else of the text means anything; with `direct` it is a shell's."""
    assert only(f"[a]\n{text}\n").work == Command(argv=argv)


def test_defaults_are_inherited() -> None:
    """A section has the options of the defaults where it has none of its own, as far as they are for its type."""
    found = load(
        "[DEFAULT]\nmax_retries = 2\ntimeout = 7\n[a]\ncommand = x\n[b]\ncommand = x\nmax_retries = 0\n"
        "[c]\ntype = MODEL\nfile = m.py\nfunction = f\n"
    )
    assert [(task.retries, task.timeout_s) for task in found.workflow.tasks] == [(2, 7.0), (0, 7.0), (0, 0.0)]
    assert found.warnings == ()


@pytest.mark.parametrize(("text", "expected"), [("", True), ("allow_partial_failure = FALSE", False)])
def test_partial_failure_is_allowed_unless_it_is_not(text: str, expected: bool) -> None:
    """False is false."""
    assert load(f"[DEFAULT]\n{text}\n[a]\ncommand = x\n").workflow.allow_partial_failure is expected


def test_a_file_that_is_indented_as_a_whole_is_read() -> None:
    """Indentation that all lines share means nothing, and neither does that of comments."""
    found = load("\n    [a]\n    command = x\n\n  # far out\n    [b]\n\n    ; no\n    depends = a\n    command = y\n")
    assert [(task.id, task.depends) for task in found.workflow.tasks] == [("a", ()), ("b", ("a",))]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_they_do_on_any_system(end: str, tmp_path: Path) -> None:
    """Those of Windows and of old Macs are lines, too, and a mark of byte order before the first is no text."""
    file = tmp_path / "x.cfg"
    lines = ["[a]", "\tcommand\t:\tx 'b c'", "\ttitle = Näxt", "[b]", "depends =", "  a", "command = y", ""]
    file.write_bytes(end.join(lines).encode("utf-8-sig"))
    first, second = load_workflow(file).workflow.tasks
    assert (first.work, first.title, first.place.line) == (Command(argv=("x", "b c")), "Näxt", 1)
    assert (second.depends, second.place.line) == (("a",), 4)


def test_depends_may_stand_on_several_lines() -> None:
    """Its ids are separated by white space of any kind."""
    text = "[a]\ncommand = x\n[b]\ncommand = x\n[c]\ndepends:\n   a\n\n   b a\ncommand = x\n"
    assert load(text).workflow.task("c").depends == ("a", "b")


def test_two_slips_are_mended_with_a_warning() -> None:
    """An option without its separator, and one that is indented below another; strictly neither is."""
    text = "[a]\ncommand: x\ntitle Hello Two\n[b]\ncommand: y\n title: Hello Three\n"
    found = load(text)
    assert [task.title for task in found.workflow.tasks] == ["Hello Two", "Hello Three"]
    assert only("[a]\ncommand\tx\n").work == Command(argv=("x",)), "a tab is white space"
    assert [task.work for task in found.workflow.tasks] == [Command(argv=("x",)), Command(argv=("y",))]
    assert [str(one) for one in found.warnings] == [
        "demo.cfg:3: warning: 'title' has no = or : after it, and is read as if it had; write title = Hello Two",
        "demo.cfg:6: warning: 'title' is indented below 'command', and is read as if it were not; begin it where the "
        "other options begin",
    ]
    with pytest.raises(WorkflowError, match=r"demo\.cfg:3: 'title'"):
        load(text, strict=True)


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Each problem has its line and the way out."""
    text = """[a]
comand = x
depends = b nowhere
[b]
command = 'x
depends = b
timeout = soon
 glued = no
max_retries = -1
max_retries = 2
[c]
title
type: rum
[c]
command = x
[d]
command =
allow_partial_failure = true
[e]
type = model
"""
    assert refused(text) == [
        "demo.cfg:1: 'a', a run, has no 'command'; write command = ...",
        "demo.cfg:2: there is no option 'comand'; did you mean 'command'?",
        "demo.cfg:3: 'a' depends on 'nowhere', which there is not; there are 'a', 'b', 'c', 'd', 'e'",
        "demo.cfg:5: 'command' is \"'x\": it cannot be split into words: no closing quotation; direct = true hands it "
        "to a shell",
        "demo.cfg:6: 'b' depends on itself; leave that out",
        "demo.cfg:7: 'timeout' is 'soon': it must be a number of seconds, more than 0 and at most 3153600000",
        "demo.cfg:8: the indented line 'glued = no' would be glued to 'timeout' above; write it on one line, or begin "
        "it where the options begin",
        "demo.cfg:9: 'max_retries' is '-1': it must be a whole number from 0 to 10000",
        "demo.cfg:10: 'max_retries' is there already, at line 9; leave one of them out",
        "demo.cfg:12: 'title' is no option: it has no value; write it as in title = First",
        "demo.cfg:13: 'type' is 'rum': it must be one of run, model, app",
        "demo.cfg:14: the section 'c' is there already, at demo.cfg:11; rename one",
        "demo.cfg:17: 'command' has no value; give it one, or leave it out",
        "demo.cfg:18: 'allow_partial_failure' is for the whole file; write it in the section [DEFAULT]",
        "demo.cfg:19: 'e', a model, has no 'file'; write file = ...",
        "demo.cfg:19: 'e', a model, has no 'function'; write function = ...",
    ]


@pytest.mark.parametrize("line", ["[a", "[a] later", "[a]]"])
def test_a_section_that_is_none_is_told_once(line: str) -> None:
    """What follows is read as if it were one, so that nothing else is told of it."""
    assert refused(f"{line}\ncommand = x\n[b]\ndepends = a\ncommand = x\n") == [
        f"demo.cfg:1: {line!r} is no section; write its name in brackets, as in [task_1]"
    ]
    assert load("[a] ; later\ncommand = x\n").workflow.tasks[0].id == "a"


def test_a_section_below_an_option_is_told_once() -> None:
    """It would be glued to the option, and what follows is read as if it were not."""
    assert refused("[a]\ncommand = x\n  [b]\n  command = y\n") == [
        "demo.cfg:3: the indented line '[b]' would be glued to 'command' above; write it on one line, or begin it "
        "where the options begin"
    ]


def test_defaults_in_small_letters_are_a_section() -> None:
    """As `configparser` has it; where it lacks what tasks need, it was meant otherwise."""
    assert refused("[default]\ntimeout = 3\n[a]\ncommand = x\n") == [
        "demo.cfg:1: 'default', a run, has no 'command'; write command = ..., or [DEFAULT] for what all tasks have"
    ]


def test_what_is_wrong_with_a_default_is_told_once() -> None:
    """However many tasks have it."""
    tasks = "".join(f"[t{number}]\ncommand = x\n" for number in range(3))
    (wrong,) = refused(f"[DEFAULT]\ncron_string = * *\n{tasks}")
    assert wrong.startswith("demo.cfg:2: 'cron_string' is wrong")
    found = load(f"[DEFAULT]\ncron_string = * * * * * ?\n{tasks}")
    assert (len(found.warnings), len(found.notices)) == (1, 1)


def test_control_characters_are_refused() -> None:
    """No program takes a NUL, and a terminal would heed others."""
    assert refused("[a]\ncommand = x \0\n[\x1b[31m]\ncommand = y\n") == [
        "demo.cfg:2: the control character '\\x00' stands in the file; leave it out",
        "demo.cfg:3: the control character '\\x1b' stands in the file; leave it out",
    ]


@pytest.mark.parametrize(
    ("depends", "told"),
    [
        ("a, b", "'depends' has a comma; separate the tasks by white space alone"),
        ("a,b", "'depends' has a comma; separate the tasks by white space alone"),
        ("a b # both", "'depends' has a comment after it; write it on a line of its own"),
    ],
)
def test_what_separates_no_tasks_is_told_of(depends: str, told: str) -> None:
    """Commas and comments are no parts of names, unless a section has them."""
    tasks = "[a]\ncommand = x\n[b]\ncommand = x\n"
    assert refused(f"{tasks}[c]\ncommand = x\ndepends = {depends}\n") == [f"demo.cfg:7: {told}"]
    assert load(f"{tasks}[a,b]\ncommand = x\n[c]\ncommand = x\ndepends = a,b\n").workflow.tasks[3].depends == ("a,b",)


def test_a_section_with_white_space_is_named_where_another_cannot() -> None:
    """It is a task like any other, which nothing can depend on."""
    assert [task.id for task in load("[my task]\ncommand = x\n").workflow.tasks] == ["my task"]
    (first, *_) = refused("[my task]\ncommand = x\n[b]\ncommand = x\ndepends = my task\n")
    assert first == (
        "demo.cfg:1: warning: 'my task' has white space in it, so that no 'depends' can name it; give it a name of one "
        "word"
    )


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("cat x | sort", "|"),
        ("ls x; make", "x;"),
        ("make && touch y", "&&"),
        ("x >out.txt", ">out.txt"),
        ("x 2>&1", "2>&1"),
        ("x <in", "<in"),
        ("x &", "&"),
        ("x # nightly", "#"),
        ("x ; nightly", ";"),
        ("A=1 x", "A=1"),
        ("cd x", "cd"),
        ("~/x", "~/x"),
        ("echo $HOME", "$HOME"),
        ('echo "${HOME}/a"', "${"),
        ("echo `date`", "`"),
        ("echo $(date)", "$("),
    ],
)
def test_what_only_a_shell_heeds_is_told_of(command: str, word: str) -> None:
    """Without `direct` it is a word for the program, which is seldom meant; an app has no `direct`."""
    (warning,) = load(f"[a]\ncommand = {command}\n").warnings
    assert warning.message.startswith(f"'command' has '{word}")
    assert "direct = true" in warning.way_out
    (warning,) = load(f"[a]\ntype = app\ncommand = {command}\n").warnings
    assert "script" in warning.way_out
    assert load(f"[a]\ndirect = true\ncommand = {command}\n").warnings == ()


@pytest.mark.parametrize(
    "command",
    [
        "grep 'a|b' x",
        "grep a$ 'x y'",
        r"echo \$HOME \| \#",
        "x 50% %(a)s",
        'echo "a > b" c#d a;b',
        "awk '{print $1}' x",
    ],
)
def test_words_that_look_like_a_shells_are_none(command: str) -> None:
    """What is quoted, or is within a word, is for the program."""
    assert load(f"[a]\ncommand = {command}\n").warnings == ()


def test_services_of_a_file_that_are_in_each_others_way_are_told_of() -> None:
    """One that replaces another was hardly meant, and a machine has one port for apps."""
    model = "type = model\nfile = m.py\nfunction = f\n"
    found = load(
        f"[a]\n{model}deploy_by_name = true\nname = m\n[b]\n{model}deploy_by_name = true\nname = m\n"
        f"[c]\n{model}name = m\n[d]\ntype = app\n[e]\ntype = app\n"
    )
    assert [str(one).partition("; ")[0] for one in found.warnings] == [
        "demo.cfg:7: warning: 'b' takes the place of 'a', the same model",
        "demo.cfg:20: warning: 'e' wants the port of 'd', so no machine can have both",
    ]


def test_depends_without_an_id_is_refused() -> None:
    """Its ids may stand on further lines, but somewhere they must."""
    assert load("[a]\ncommand = x\n[b]\ncommand = x\ndepends =\n  a\n").workflow.tasks[1].depends == ("a",)
    assert refused("[a]\ndepends =\ncommand = x\n") == [
        "demo.cfg:2: 'depends' has no value; give it one, or leave it out"
    ]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "[a]\ncommand = x\ntitle" + " " * 1_000_000 + "b c\n[a]\n",
        "".join(f"[t{number}]\ncommand = x\ntimeout = soon\n" for number in range(20_000)),
        "".join(f"[t{number}]\ncommand = x\ndepends = q{number}\n" for number in range(20_000)),
        "[a]\ncommand = x\ndepends =" + "".join(f"\n  q{number:0100}" for number in range(100_000)),
    ],
    ids=["spaces", "values", "depends", "lines"],
)
def test_a_large_wrong_file_is_refused_soon(text: str) -> None:
    """Reading takes no longer than in proportion to the text, however wrong that is."""
    assert refused(text)


def test_a_cycle_is_printed_as_a_path() -> None:
    """It names the tasks that wait for each other."""
    text = "[a]\ncommand = x\ndepends = c\n[b]\ncommand = x\ndepends = a\n[c]\ncommand = x\ndepends = b\n"
    assert refused(text) == [
        "demo.cfg:1: tasks wait for each other: 'a' -> 'c' -> 'b' -> 'a'; take one of these dependencies out"
    ]


def test_every_cycle_of_a_file_is_told() -> None:
    """Those that share no task are told at once."""
    depends = {"a": "b", "b": "a", "c": "d", "d": "a c"}
    told = refused("".join(f"[{name}]\ncommand = x\ndepends = {on}\n" for name, on in depends.items()))
    assert [line.partition("; ")[0] for line in told] == [
        "demo.cfg:1: tasks wait for each other: 'a' -> 'b' -> 'a'",
        "demo.cfg:7: tasks wait for each other: 'c' -> 'd' -> 'c'",
    ]


@pytest.mark.parametrize("text", ["command = x", "# nothing", "[a", "[DEFAULT]\ntimeout = 1"])
def test_a_file_without_a_task_is_refused(text: str) -> None:
    """It needs a section, and options stand in one."""
    assert refused(text)


def test_an_option_that_does_nothing_is_told_of() -> None:
    """It may have been meant otherwise."""
    (warning,) = load("[a]\ntype = app\ncommand = x\ntimeout = 3\n").warnings
    assert str(warning) == "demo.cfg:4: warning: 'timeout' does nothing for an app; leave it out"


def test_a_scheduled_job_says_that_it_is_not_scheduled() -> None:
    """Its string is checked, its command is one text for a shell, and tasks that wait for it are told of."""
    found = load(
        "[a]\ncommand = echo $HOME | cat\ncron_string = * 0/20 0 ? * SUN *\nsubmit_as_running_user = yes\n"
        "[b]\ndepends = a\ncommand = x\n"
    )
    assert found.workflow.task("a").work == Scheduled(
        cron="* 0/20 0 ? * SUN *", command="echo $HOME | cat", submit_as_running_user=True
    )
    assert [str(one) for one in found.warnings] == [
        "demo.cfg:3: warning: 'cron_string' starts the job every second of minutes 0, 20 and 40 of hour 0 on Sundays; "
        "0 0/20 0 ? * SUN * was probably meant",
        "demo.cfg:5: warning: 'b' waits for the registration of the schedule 'a', not for its job; leave the "
        "dependency out",
    ]
    assert {(one.is_notice, one.is_warning) for one in found.notices} == {(True, False)}
    assert str(found.notices[1]).startswith("demo.cfg:4: notice: ")
    assert [one.message for one in found.notices] == [
        "it is loaded and checked, but not scheduled: it would run every second of minutes 0, 20 and 40 of hour 0 on "
        "Sundays",
        "'submit_as_running_user' is for other executors, and does nothing here",
    ]
    assert load("[a]\ncommand = x\ncron_string = 0 0 * * *\n", strict=True).warnings == ()


@pytest.mark.parametrize(("cron", "problem"), [("* * *", "3 fields"), ("0 0 30 2 *", "no time that comes")])
def test_a_wrong_cron_string_is_refused(cron: str, problem: str) -> None:
    """It has the line."""
    (line,) = refused(f"[a]\ncommand = x\ncron_string = {cron}\n")
    assert line.startswith("demo.cfg:3: 'cron_string' ")
    assert problem in line


def test_a_tier_is_what_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Capital letters make no difference, models have none, and a name that there is not is refused with the others."""
    file = tmp_path / "tiers.toml"
    file.write_text('[Large]\nqueue = "large"\ntaint = "gpu"\nrunning_max = 2\nresource_limits = {cpu = 9}\n[Small]\n')
    monkeypatch.setenv("DAGORAMA_TIERS", str(file))
    task = only("[a]\ncommand = x\ntier = LARGE\n")
    assert (task.tier, task.queue, task.taint, [one.max for one in task.limits]) == ("Large", "large", "gpu", [2])
    assert task.work == Command(argv=("x",), resource_limits=(("cpu", 9),))
    app = only("[a]\ntype = app\ntier = large\n")
    assert app.work == AppService(name="a", resource_limits=(("cpu", 9),))
    assert only("[a]\ntype = model\nfile = x\nfunction = f\ntier = huge\n").queue == ""
    assert refused("[a]\ncommand = x\ntier = huge\n") == ["demo.cfg:3: there is no tier 'huge'; there are Large, Small"]


def test_without_tiers_one_warning_says_so() -> None:
    """However many tasks name one."""
    found = load("[a]\ncommand = x\ntier = l\n[b]\ncommand = x\ntier = l\n")
    assert [one.place.line for one in found.warnings] == [3]


@pytest.mark.parametrize(
    ("text", "problem"),
    [("[a]\nqeue = 'x'", "'qeue'"), ("a = 1", "table"), ("[a]\n[A]", "twice"), ("[a", "cannot be read")],
)
def test_wrong_tiers_are_refused(text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of the settings is named."""
    file = tmp_path / "tiers.toml"
    file.write_text(text)
    monkeypatch.setenv("DAGORAMA_TIERS", str(file))
    with pytest.raises(WorkflowError, match=problem) as caught:
        load("[a]\ncommand = x\n")
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(("data", "problem"), [(b" \n", "empty"), (b"[a]\xff", "UTF-8"), (None, "no such file")])
def test_a_file_that_cannot_be_read_is_refused(data: bytes | None, problem: str, tmp_path: Path) -> None:
    """It is named."""
    file = tmp_path / "x.cfg"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(WorkflowError, match=problem) as caught:
        load_workflow(file)
    assert str(file) in str(caught.value)


def test_it_is_written_again_as_it_was() -> None:
    """What is read of the text that is written is the same version."""
    workflow = load_workflow(DEMO).workflow
    again = read(write_workflow(workflow, "ini"), "demo.cfg", strict=False).workflow
    assert again.version == workflow.version
    none = load(
        "[DEFAULT]\nallow_partial_failure = no\n[a]\ntype = app\ncommand = 'a b'\ndescription = d\n"
        "[b,c]\ncommand = x\ntimeout = 1234567.5\n[d e]\ndepends = b,c\ncommand = y\ntimeout = 1e-7\n"
    ).workflow
    assert load(write_workflow(none, "ini")).workflow.version == none.version


def test_a_control_file_has_no_words_for_some_things() -> None:
    """All of them are told at once."""
    task = Task(id="a]", work=Command(argv=("x\ny",), image="i"), env=(("A", "1"),), queue="q", retry_interval_s=1)
    spaced = Task(id="b c", work=Command(argv=("x",)))
    after = Task(id="d", work=Command(argv=("x\x1b",)), depends=("b c",))
    with pytest.raises(WorkflowError) as caught:
        write_workflow(Workflow(name="w", tasks=(task, spaced, after), parallelism=3), "ini")
    told = str(caught.value)
    assert len(told.splitlines()) == 9
    assert all(word in told for word in ("parallelism", "images", "variables", "queues", "waits"))
    assert [told.count(word) for word in ("line breaks and control", "a name that a section")] == [2, 2]
    described = Workflow(name="w", description="two\nlines", tasks=(spaced,))
    assert write_workflow(described, "ini").startswith("# two lines\n\n[b c]\n")


def test_the_old_names_are_there() -> None:
    """A script that builds a DAG and runs it has both, and a runner needs the file."""
    dag = DagBuilder(DEMO).build_dag()
    assert len(dag.tasks) == 6
    assert PipelineRunner(dag, tick_freq=15).tick_freq == 15
    with pytest.raises(ValueError, match="file"):
        PipelineRunner(Workflow(name="made", tasks=dag.tasks))


DOMINO = """
[a]
command = x.py
tier = huge
[s]
command = x.py
cron_string = @daily
submit_as_running_user = true
[m]
type = model
file = x.py
function = f
environment = Own
"""


def test_with_domino_its_own_options_mean_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tiers and environments are its own, so nothing is said of them; all tasks are its."""
    monkeypatch.setenv("DAGORAMA_EXECUTOR", "domino")
    found = load(DOMINO)
    assert {task.executor for task in found.workflow.tasks} == {"domino"}
    assert found.warnings == ()
    assert [one.message.partition(":")[0] for one in found.notices] == ["it is loaded and checked, but not scheduled"]
    model = found.workflow.task("m").work
    assert (found.workflow.task("a").tier, isinstance(model, ModelService) and model.environment) == ("huge", "Own")


def test_with_domino_an_app_has_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs the app.sh of its project there, and whoever writes another is told when the file is read."""
    monkeypatch.setenv("DAGORAMA_EXECUTOR", "domino")
    app = "[a]\ntype = app\n"
    assert load(app).workflow.task("a").executor == "domino"
    with pytest.raises(WorkflowError, match=r"demo\.cfg:3: .*app\.sh of its project there; leave its command out"):
        load(f"{app}command = ./serve.sh\n")


def test_with_domino_a_tier_of_the_settings_says_which_workers_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue and its limits hold; those of processes do not, as there is none."""
    file = tmp_path / "tiers.toml"
    file.write_text("[Huge]\nqueue = 'domino'\nrunning_max = 2\nresource_limits = {nofile = 10}\n")
    monkeypatch.setenv("DAGORAMA_TIERS", str(file))
    monkeypatch.setenv("DAGORAMA_EXECUTOR", "domino")
    task = load(DOMINO).workflow.task("a")
    assert (task.queue, [one.max for one in task.limits], task.work) == ("domino", [2], Command(argv=("x.py",)))


@pytest.mark.parametrize("executor", ["container", "kubernetes", "process"])
def test_without_domino_tasks_are_processes(executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A control file names no images, and what is Domino's alone is said once to do nothing."""
    monkeypatch.setenv("DAGORAMA_EXECUTOR", executor)
    found = load(DOMINO)
    assert {task.executor for task in found.workflow.tasks} == {"process"}
    assert [one.message for one in found.notices if "other executors" in one.message] == [
        f"'{name}' is for other executors, and does nothing here" for name in ("submit_as_running_user", "environment")
    ]


def test_an_executor_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for none."""
    monkeypatch.setenv("DAGORAMA_EXECUTOR", "dominoes")
    (line,) = refused("[a]\ncommand = x\n")
    assert line.startswith("demo.cfg: DAGORAMA_EXECUTOR names 'dominoes', and there are container, domino, ")
