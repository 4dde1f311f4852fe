"""Reads YAML with the line of each value, from the events of PyYAML's safe loader.

Nothing is made of tags, and an alias is the value that it names, never a copy: a file whose aliases would unfold to
more than `ALIASED_MAX` values is refused where that shows ("billion laughs").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagorama.workflows.jobs.collecting import Problems
from dagorama.workflows.jobs.json_reading import put
from dagorama.workflows.jobs.tree import (
    BeyondBounds,
    CannotRead,
    Entry,
    Fields,
    Items,
    Kind,
    Scalar,
    Tree,
    before_what,
    check_depth,
    described,
)
from dagorama.workflows.problems import Place, Problem, WorkflowError, quoted

if TYPE_CHECKING:
    import yaml

#: The aliases of a file may stand for so many values in all, where a text is one for each so many characters it begins.
ALIASED_MAX, CHARS_OF_VALUE = 100_000, 1_000

_TAG = "tag:yaml.org,2002:"
_KINDS = {
    f"{_TAG}null": Kind.NULL,
    f"{_TAG}bool": Kind.TRUTH,
    f"{_TAG}int": Kind.NUMBER,
    f"{_TAG}float": Kind.NUMBER,
    f"{_TAG}merge": Kind.MERGE,
}


class NoYaml(WorkflowError, ImportError):
    """A file is no JSON, and PyYAML is not installed."""

    def __init__(self, file: str) -> None:
        """Say how to install it."""
        message, way_out = "this is no JSON, and YAML needs PyYAML", "pip install 'dagorama[workflows]'"
        super().__init__([Problem(place=Place(file=file), message=message, way_out=way_out)])


def read_yaml(text: str, problems: Problems) -> Tree | None:
    """Return what a text holds, None for nothing; note tags, and keys that stand twice.

    Raises `CannotRead` for what is no YAML, or too much of it, and `NoYaml` without PyYAML.
    """
    try:
        import yaml
    except ImportError:
        raise NoYaml(problems.file) from None
    # libyaml's parser takes a tenth of the time; a few platforms have no build of it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    builder = _Builder(loader, problems)
    try:
        while loader.check_event():
            builder.take(loader.get_event())
    except yaml.YAMLError as error:
        raise _cannot(error, text) from None
    finally:
        loader.dispose()
    return builder.whole


def _cannot(error: yaml.YAMLError, text: str) -> CannotRead:
    """Return the error for one of PyYAML's, with the text that it stands before, and where that began."""
    began, mark = getattr(error, "context_mark", None), getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    line = 1 if mark is None else mark.line + 1
    since = f" that began in line {began.line + 1}" if began is not None and began.line + 1 < line else ""
    here = "" if mark is None else before_what(text, mark.index)
    is_tab = mark is not None and text[mark.index : mark.index + 1] == "\t"
    way_out = "indent with blanks, not with tabs" if is_tab else "mend the YAML there"
    return CannotRead(line, f"{context}{since}: {problem}{here}" if context else f"{problem}{here}", way_out)


class _Open:
    """A list or mapping whose end has not come."""

    __slots__ = ("anchor", "key", "merged", "size", "tree")

    def __init__(self, tree: Items | Fields, anchor: str | None) -> None:
        self.tree = tree
        self.anchor = anchor
        self.size = 1  #: it and all in it, where aliases are unfolded
        self.key: Scalar | None = None
        self.merged: list[Fields] = []


class _Builder:
    """Makes a tree of events, which come in the order of the text."""

    def __init__(self, loader: Any, problems: Problems) -> None:
        self._loader = loader
        self._problems = problems
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Tree, int] | None] = {}  #: None while it is open
        self._aliased = 0
        self._document_line = 1
        self.whole: Tree | None = None  #: None for nothing: empty documents stand for that, too

    def take(self, event: Any) -> None:
        """Take the next event."""
        match type(event).__name__:
            case "ScalarEvent":
                self._check_tag(event)
                self._put(self._scalar(event), 1 + len(event.value) // CHARS_OF_VALUE, event.anchor)
            case "MappingStartEvent":
                self._begin(Fields(_line(event)), event)
            case "SequenceStartEvent":
                self._begin(Items(_line(event)), event)
            case "MappingEndEvent" | "SequenceEndEvent":
                self._end()
            case "AliasEvent":
                self._alias(event)
            case "DocumentStartEvent":
                self._document_line = _line(event)
                self._anchors.clear()

    def _check_tag(self, event: Any) -> None:
        if event.tag is not None:
            tag = quoted(str(event.tag).replace(_TAG, "!!"))
            self._problems.add(_line(event), f"the tag {tag} is not read", "leave it out")

    def _scalar(self, event: Any) -> Scalar:
        kind = Kind.TEXT
        if event.implicit[0]:
            kind = _KINDS.get(self._loader.resolve(_scalar_node(), event.value, event.implicit), Kind.TEXT)
        return Scalar(_line(event), kind, "" if kind is Kind.NULL else event.value)

    def _begin(self, tree: Items | Fields, event: Any) -> None:
        self._check_tag(event)
        check_depth(len(self._open) + 1, tree.line)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._open.append(_Open(tree, event.anchor))

    def _end(self) -> None:
        ended = self._open.pop()
        if isinstance(ended.tree, Fields):
            for merged in ended.merged:
                for key, entry in merged.entries.items():
                    ended.tree.entries.setdefault(key, entry)
        self._put(ended.tree, ended.size, ended.anchor)

    def _alias(self, event: Any) -> None:
        name, line = event.anchor, _line(event)
        if name not in self._anchors:
            raise CannotRead(line, f"the alias *{name} has no anchor &{name} before it", "write the anchor first")
        named = self._anchors[name]
        if named is None:
            raise BeyondBounds(line, f"the alias *{name} stands for what it is part of", "write the value itself")
        tree, size = named
        self._aliased += size
        if self._aliased > ALIASED_MAX:
            text = f"the aliases stand for more than {ALIASED_MAX:,} values of {CHARS_OF_VALUE:,} characters"
            raise BeyondBounds(line, text, "use fewer of them")
        self._put(tree, size, None)

    def _put(self, tree: Tree, size: int, anchor: str | None) -> None:
        """Put a value that is whole where it belongs."""
        if anchor is not None:
            self._anchors[anchor] = (tree, size)
        if not self._open:
            self._end_document(tree)
            return
        within = self._open[-1]
        within.size += size
        if isinstance(within.tree, Items):
            within.tree.items.append(tree)
        elif within.key is None:
            within.key = self._key(tree)
        else:
            key, within.key = within.key, None
            if key.kind is Kind.MERGE:
                within.merged += self._mergeable(tree)
            else:
                put(within.tree, key.text, Entry(key.line, tree), self._problems)

    def _end_document(self, tree: Tree) -> None:
        """Take a document that is whole; there is one, but for any that are empty, as after a last `---`."""
        if isinstance(tree, Scalar) and tree.kind is Kind.NULL:
            return
        if self.whole is not None:
            raise BeyondBounds(self._document_line, "a second document begins", "write one workflow in each file")
        self.whole = tree

    def _key(self, tree: Tree) -> Scalar:
        if isinstance(tree, Scalar) and tree.kind is not Kind.NULL:
            return tree
        way_out = "write a name before the colon, and quotes around a text that begins with { or ["
        raise CannotRead(tree.line, f"a key is {described(tree)}, and no text", way_out)

    def _mergeable(self, tree: Tree) -> list[Fields]:
        """Return the mappings that a merge key has its mapping take entries from."""
        several = tree.items if isinstance(tree, Items) else [tree]
        fields = [each for each in several if isinstance(each, Fields)]
        if len(fields) < len(several):
            self._problems.add(tree.line, "<< merges mappings, and this is none", "name one by its alias")
        return fields


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _scalar_node() -> Any:
    import yaml

    return yaml.ScalarNode
