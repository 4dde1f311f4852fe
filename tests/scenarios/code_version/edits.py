"""A project, and edits of it with what each does to the code versions of its functions."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

PROJECT = {
    "shop/__init__.py": "",
    "shop/settings.py": '''
        """Settings."""
        import os

        CURRENCY = "EUR"
        RATES = {"EUR": 100}
        RATES["USD"] = 110
        UNUSED = 1
        HOST = os.environ.get("SHOP_HOST", "localhost")
        if os.name == "posix":
            SEPARATOR = "/"
        else:
            SEPARATOR = ":"
    ''',
    "shop/pricing.py": '''
        """Prices."""
        from shop import settings
        from .rounding import *

        FLOOR = 1

        def price(cents, rate=100):
            """Computes a price."""
            return max(FLOOR, to_cents(cents * rate)) if rate else free(cents)

        def free(cents, again=True):
            return price(cents, settings.RATES["EUR"]) if again else 0

        def unused(cents):
            return cents + 1

        class Base:
            factor = 2

            def scaled(self, number):
                return number * self.factor

            def tail(self):
                return "base"

            def overridden(self):
                return 1

        class Discount(Base):
            def __init__(self, percent: int = 10):
                self.percent = percent

            def apply(self, number):
                return number - number * self.percent // 100
    ''',
    "shop/rounding.py": """
        def to_cents(number):
            return round(number)
    """,
    "shop/wrappers.py": """
        import functools

        def repeated(times):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(*args, **kwargs):
                    for _ in range(times - 1):
                        function(*args, **kwargs)
                    return function(*args, **kwargs)
                return wrapper
            return decorate

        def adder(amount, extras=()):
            limit = amount * 2
            table = {"limit": 1}
            def add(number):
                return min(number + amount, limit) + table["limit"] + len(extras)
            return add
    """,
    "shop/other.py": """
        from dagorama import dagorama as node, DAGDefinition

        on_gpu = node(queue_name="gpu")

        class Other(DAGDefinition):
            @on_gpu.syncfn
            def entrypoint(self, number):
                return self.halved(number)

            def halved(self, number):
                return number // 2
    """,
    "shop/tasks.py": '''
        """The tasks."""
        from __future__ import annotations

        import json
        from pathlib import Path

        import shop.settings
        from dagorama.decorators import dagorama
        from dagorama.definition import DAGDefinition
        from dagorama.retry import StaticRetry
        from shop.other import Other
        from shop.pricing import Base, Discount
        from shop.pricing import price as compute
        from shop.wrappers import adder, repeated

        LIMIT: int = 3
        LOG = []

        def plain(numbers: list[int], start=0, *, step: int = 1) -> int:
            """Adds."""
            # A comment.
            total = start
            for number in numbers[::step]:
                if number < LIMIT:
                    total += number
            def inner(value): return value * 2
            pairs = [(left, right) for left, right in zip(numbers, numbers) if left]
            text = f"{total!r:>{step}} {total=}" f" and {len(pairs)}"
            LOG.append(text)
            return inner(total) + (lambda value: value - 1)(total)

        def helped(number):
            return compute(number)

        def configured(number):
            return shop.settings.CURRENCY, shop.settings.RATES, shop.settings.HOST, shop.settings.SEPARATOR

        def lazily(number):
            from shop.rounding import to_cents
            return to_cents(number)

        def discounted(number):
            return Discount(5).apply(number)

        def external(path):
            return json.loads(Path(path).read_text())

        def started(number):
            return Other()(number)

        def recursive(number):
            return 1 if number < 2 else number * recursive(number - 1)

        def defaulted(number, limit=LIMIT):
            return number < limit

        @repeated(2)
        def wrapped(number):
            return number

        add_one = adder(1, ["x"])

        def matched(command):
            match command:
                case {"kind": kind, **rest} if rest:
                    return kind
                case [first, *_]:
                    return first
                case None:
                    return (walrus := len("none")) + walrus
            try:
                return int(command)
            except (ValueError, TypeError) as error:
                return str(error)

        class Task(Base, DAGDefinition):
            size = 4

            def __new__(cls, *args, **kwargs):
                made = super().__new__(cls)
                made.depth = 1
                return made

            def __init__(self, width=2):
                self.width = width

            @dagorama(queue_name="first", retry=StaticRetry(max_attempts=2, interval=1)).syncfn
            def entrypoint(self, number):
                """Begins."""
                return self.finish(self.prepare(number), self.tail())

            @dagorama().syncfn
            def finish(self, number, tail):
                return number + self.width

            def prepare(self, number):
                return self.scaled(number) + self.size

            def overridden(self):
                return 2

            @property
            def area(self):
                return 10

            @dagorama()
            async def measure(self):
                return self.area + self.overridden()

            @dagorama()
            def supered(self):
                return super().overridden()

            def beside(self):
                return 5

            share = 7

            @staticmethod
            def counted():
                return 8

            @dagorama()
            def classy(self):
                return type(self).share + self.__class__.counted()

        VERSIONED = {
            **{function.__name__: function for function in (plain, helped, configured, lazily, discounted)},
            **{function.__name__: function for function in (external, started, recursive, defaulted, wrapped, matched)},
            "add_one": add_one,
            **{name: vars(Task)[name] for name in ("entrypoint", "finish", "measure", "supered", "classy")},
        }
    ''',
}


@dataclass(frozen=True)
class Edit:
    """One change of one file."""

    name: str
    file: str
    before: str
    after: str
    #: The functions whose code version changes.
    changed: frozenset[str]

    def applied(self) -> dict[str, str]:
        """Returns the project's files after the edit."""
        text = FILES[self.file]
        assert text.count(self.before) == 1, (self.name, text.count(self.before))
        return {**FILES, self.file: text.replace(self.before, self.after)}


FILES = {name: textwrap.dedent(text).lstrip() for name, text in PROJECT.items()}


def same(name: str, file: str, before: str, after: str) -> Edit:
    """An edit after which every function does what it did."""
    return Edit(name, f"shop/{file}.py", before, after, frozenset())


def different(name: str, file: str, before: str, after: str, *functions: str) -> Edit:
    """An edit that changes what exactly these functions do."""
    return Edit(name, f"shop/{file}.py", before, after, frozenset(functions))


EDITS = [
    same("comment", "tasks", "# A comment.", "# Another comment."),
    same("comment taken out", "tasks", "    # A comment.\n", ""),
    same("docstring", "tasks", '"""Adds."""', '"""Adds numbers, slowly."""'),
    same("docstring taken out", "tasks", '    """Adds."""\n', ""),
    same("helper's docstring", "pricing", '"""Computes a price."""', '"""Prices."""'),
    same("module's docstring", "tasks", '"""The tasks."""', '"""All tasks.\n\nOf the shop.\n"""'),
    same("blank lines", "tasks", "def plain(", "\n\n\n\ndef plain("),
    same("indentation", "tasks", "        total += number", "            total += number"),
    same("line broken", "tasks", "total = start", "total = (\n        start\n    )"),
    same("quotes", "settings", '"EUR"\n', "'EUR'\n"),
    same("string in pieces", "tasks", '"none"', '"no" "ne"'),
    same("number's spelling", "tasks", "return 10", "return 0xA"),
    same("annotation of a parameter", "tasks", "step: int = 1", "step: float = 1"),
    same("annotation of a result", "tasks", "-> int:", "-> float:"),
    same("annotation of a constant", "tasks", "LIMIT: int = 3", "LIMIT = 3"),
    same("local annotation", "tasks", "total = start", "total: int = start"),
    same("future annotations", "tasks", "from __future__ import annotations\n", ""),
    same("import's way", "tasks", "from shop.pricing import price as compute", "from .pricing import price as compute"),
    same("order of functions", "pricing", "FLOOR = 1\n", "def early():\n    return 0\n\nFLOOR = 1\n"),
    same("unused function", "pricing", "return cents + 1", "return cents + 2"),
    same("unused constant", "settings", "UNUSED = 1", "UNUSED = 2"),
    same("unused import", "tasks", "import json\n", "import json\nimport string\n"),
    same("overridden method of the base, unused", "tasks", "return 5", "return 6"),
    same("queue", "tasks", 'queue_name="first"', 'queue_name="second"'),
    same("retry", "tasks", "max_attempts=2", "max_attempts=3"),
    same("decorator's spelling", "tasks", "@dagorama()\n    async", "@dagorama().asyncfn\n    async"),
    same(
        "line of a semicolon",
        "tasks",
        "def inner(value): return value * 2",
        "def inner(value):\n        return value * 2",
    ),
    same("alias of the decorator", "other", 'queue_name="gpu"', 'queue_name="cpu"'),
    same("node of a used definition", "other", "return self.halved(number)", "return self.halved(number) + 1"),
    different("name of a node of a used definition", "other", "def entrypoint", "def beginning", "started"),
    different("helper of a used definition", "other", "number // 2", "number / 2", "started"),
    different("operator", "tasks", "total += number", "total -= number", "plain"),
    different("comparison", "tasks", "number < LIMIT", "number <= LIMIT", "plain"),
    different("constant in the body", "tasks", "value * 2", "value * 3", "plain"),
    different("kind of a number", "tasks", "value - 1", "value - 1.0", "plain"),
    different("lambda", "tasks", "lambda value: value - 1", "lambda value: value + 1", "plain"),
    different("comprehension", "tasks", "if left]", "if right]", "plain"),
    different("f-string", "tasks", "{total!r:>{step}}", "{total!s:>{step}}", "plain"),
    different("default", "tasks", "start=0", "start=1", "plain"),
    different("keyword default", "tasks", "step: int = 1", "step: int = 2", "plain"),
    different("parameter's name", "tasks", "def external(path):", "def external(path, *more):", "external"),
    different("module constant", "tasks", "LIMIT: int = 3", "LIMIT: int = 4", "plain", "defaulted"),
    different("name of a constant", "tasks", "limit=LIMIT", "limit=len(LOG)", "defaulted"),
    different("renamed callee", "tasks", "return compute(number)", "return adder(number)", "helped"),
    different("alias of another", "tasks", "import price as compute", "import free as compute", "helped"),
    different("helper in another module", "pricing", "cents * rate", "cents + rate", "helped"),
    different("helper's default", "pricing", "rate=100", "rate=101", "helped"),
    different("helper's constant", "pricing", "FLOOR = 1", "FLOOR = 2", "helped"),
    different("helper's helper, in a cycle", "pricing", "if again else 0", "if again else 1", "helped"),
    different("star-imported helper", "rounding", "round(number)", "int(number)", "helped", "lazily"),
    different("constant of another module", "settings", '"EUR"\n', '"USD"\n', "configured"),
    different("table of another module", "settings", '{"EUR": 100}', '{"EUR": 101}', "configured", "helped"),
    different("entry added to the table", "settings", "110", "111", "configured", "helped"),
    different("environment's default", "settings", '"localhost"', '"remote"', "configured"),
    different("condition of a constant", "settings", 'os.name == "posix"', 'os.name == "nt"', "configured"),
    different("method of a used class", "pricing", "self.percent // 100", "self.percent / 100", "discounted"),
    different(
        "constructor's default of a used class", "pricing", "percent: int = 10", "percent: int = 11", "discounted"
    ),
    different("other package's function", "tasks", "json.loads(", "json.load(", "external"),
    different(
        "other package's name", "tasks", "from pathlib import Path", "from pathlib import PurePath as Path", "external"
    ),
    different("recursive function", "tasks", "number * recursive", "number + recursive", "recursive"),
    different("decorator's argument", "tasks", "@repeated(2)", "@repeated(3)", "wrapped"),
    different("decorator's body", "wrappers", "range(times - 1)", "range(times)", "wrapped"),
    different("decorator taken away", "tasks", "@repeated(2)\n", "", "wrapped"),
    different("closed-over constant", "tasks", "adder(1, ", "adder(2, ", "add_one"),
    different("closed-over list", "tasks", '["x"]', '["y"]', "add_one"),
    different("closed-over local", "wrappers", "amount * 2", "amount * 3", "add_one"),
    different("closed-over table", "wrappers", '{"limit": 1}', '{"limit": 2}', "add_one"),
    different("pattern", "tasks", "**rest} if rest", "**rest} if kind", "matched"),
    different("exception", "tasks", "(ValueError, TypeError)", "(ValueError,)", "matched"),
    different("undecorated method", "tasks", "self.scaled(number) + ", "self.scaled(number) - ", "entrypoint"),
    different("class constant", "tasks", "size = 4", "size = 5", "entrypoint"),
    different(
        "inherited method", "pricing", "number * self.factor", "number + self.factor", "entrypoint", "discounted"
    ),
    different("inherited constant", "pricing", "factor = 2", "factor = 3", "entrypoint", "discounted"),
    different("inherited method that has only text", "pricing", '"base"', '"bases"', "entrypoint", "discounted"),
    different("constructor", "tasks", "self.width = width", "self.width = width * 2", "finish"),
    different("constructor by __new__", "tasks", "made.depth = 1", "made.depth = 2", "finish"),
    different("decorated callee", "tasks", "number + self.width", "number - self.width", "finish"),
    different("decorated callee's name", "tasks", "return self.finish(", "return self.measure(", "entrypoint"),
    different("property", "tasks", "return 10", "return 11", "measure"),
    different(
        "own method over the base's", "tasks", "return 2\n\n    @property", "return 3\n\n    @property", "measure"
    ),
    different("base's method by super()", "pricing", "return 1\n", "return 7\n", "supered", "discounted"),
    different("constant by type(self)", "tasks", "share = 7", "share = 9", "classy"),
    different("method by self.__class__", "tasks", "return 8", "return 9", "classy"),
    different("sync instead of async", "tasks", "async def measure", "def measure", "measure"),
]
