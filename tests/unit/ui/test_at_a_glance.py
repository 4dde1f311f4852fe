"""What the page says at once: values, arguments, attempts, and names in place of ids."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import cast
from uuid import UUID

import httpx
import pytest

from dagorama import BrokerUnavailable, DAGDefinition, Instance, Node, Queue, dagorama, instances
from dagorama.ui.pages.asked import nodes_of
from dagorama.ui.pages.words import linked
from tests.unit.ui.test_pages import page, post

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("broker")]

STATIC = Path(__file__).parents[3] / "dagorama/ui/static"


class Words(DAGDefinition):
    """Counts the letters of files and words."""

    @dagorama(queue_name="words").syncfn
    def entrypoint(self, word: str, folder: Path = Path("here")) -> int:
        """Counts."""
        return self.count(word, folder)

    @dagorama(queue_name="words", label="counting {word}").syncfn
    def count(self, word: str, folder: Path) -> int:
        """Warns of a short one."""
        if len(word) < 4:
            logging.getLogger("words").warning("%r is short", word)
        return len(word)


class Sentence(DAGDefinition):
    """Counts the letters of a word on a queue of its own."""

    @dagorama(queue_name="words").syncfn
    def entrypoint(self, word: str) -> int:
        """Counts."""
        return self.last(self.count(word))

    @dagorama(queue_name="counting", label="counting {word}").syncfn
    def count(self, word: str) -> int:
        """Counts one."""
        return len(word)

    @dagorama(queue_name="words").syncfn
    def last(self, count: int) -> int:
        """Returns it."""
        return count


def counted(word: str) -> tuple[Instance, Node]:
    """Count a word; return the instance, and the node that did."""
    Words()(word)
    (one,) = instances(limit=1)
    assert one.result() == len(word)
    (node,) = one.nodes(function="count")
    return one, node


async def test_the_overview_has_arguments_and_value(client: httpx.AsyncClient) -> None:
    """Those of the entrypoint, with the way to its node."""
    one, _ = counted("elephant")
    text = await page(client, f"/instances/{one.id}")
    assert re.search(r'aria-label="Arguments">[^<]*word=&#39;elephant&#39;', text)
    assert re.search(r'aria-label="Value">8</pre>', text)


async def test_lines_of_an_earlier_attempt_say_so(client: httpx.AsyncClient) -> None:
    """On the page of warnings, in logs, and for each attempt of a node there is one number and one choice."""
    one, node = counted("ant")
    url = f"/instances/{one.id}"
    assert "attempt 1 of" not in await page(client, f"{url}/warnings")
    node.rerun({"word": "elephant"})
    assert one.result() == 8
    for of in ("/warnings", "/logs"):
        assert re.search(r"attempt 1 of 2:</span> &#39;ant&#39; is short", await page(client, url + of))
    text = await page(client, f"{url}/nodes/{node.id}")
    assert re.findall(r"<option[^>]*>Attempt (\d)", text) == ["2", "1"]
    assert "gave a value that is no more" in text
    assert "revived after" in text or "revived after" in await page(client, url)


async def test_attempts_are_told_apart_in_the_log_of_a_node(client: httpx.AsyncClient) -> None:
    """Where another one begins, also in the part that comes next, unless one was chosen."""
    one, node = counted("ant")
    node.rerun({"word": "bee"})
    assert one.result() == 3
    url = f"/instances/{one.id}/nodes/{node.id}"
    told = re.compile(r"Attempt \d(?=</div>)|\w+(?=&#39; is short)")
    text = await page(client, url)
    assert told.findall(text) == ["ant", "Attempt 2", "bee"]
    assert "before=2" in text
    assert told.findall(await page(client, f"{url}/logs/more?before=2")) == ["Attempt 1", "ant", "Attempt 2", "bee"]
    assert told.findall(await page(client, f"{url}?attempt=2")) == ["bee"]


async def test_arguments_that_have_no_field_say_why(client: httpx.AsyncClient) -> None:
    """And stay visible."""
    one, node = counted("ant")
    text = await page(client, f"/instances/{one.id}/nodes/{node.id}")
    assert re.search(r"folder stays as it is: JSON has nothing for it.*here", text)


async def test_an_empty_text_is_started_on_purpose_only(client: httpx.AsyncClient) -> None:
    """A field that has to be filled in is marked, and checked; a box beside it says that the empty text is meant."""
    fields: dict[str, object] = {"definition": "tests.unit.ui.test_at_a_glance:Words", "argument.word": ""}
    form = await page(client, f"/start?definition={fields['definition']}")
    assert form.count(">needed<") == 1
    answer = await post(client, "/start", **fields)
    assert answer.status_code == 422
    assert "word is needed" in answer.text
    answer = await post(client, "/start", **fields, **{"empty.word": "on"})
    assert answer.status_code == 303
    (one,) = instances()
    assert one.result() == 0


async def test_nodes_in_reasons_lead_to_their_pages() -> None:
    """Under the ends of their ids; those of other instances to these."""
    here, node, other, there = (UUID(int=number) for number in range(1, 5))
    text = f"it waits for m:D.f <label> ({node}), and `m:D.g` ({other}) of instance {there} has it"
    told = linked(text, here)
    assert f'm:D.f &lt;label&gt; (<a href="/instances/{here}/nodes/{node}" title="{node}">{node.hex[-12:]}</a>)' in told
    assert f'<a href="/instances/{there}/nodes/{other}" title="{other}">{other.hex[-12:]}</a>' in told
    assert f'of instance <a href="/instances/{there}"' in told
    assert "<code>m:D.g</code>" in told


async def test_reasons_name_nodes_by_their_labels_once(client: httpx.AsyncClient) -> None:
    """Before the id, which leads to the page of the node."""
    Queue("counting").pause()
    Sentence()("ant")
    (one,) = instances()
    assert not one.done()
    (node,) = one.nodes(function="count")
    (last,) = one.nodes(function="last")
    link = f'(<a href="/instances/{one.id}/nodes/{node.id}" title="{node.id}">{node.id.hex[-12:]}</a>)'
    for url in (f"/instances/{one.id}", f"/instances/{one.id}/nodes/{last.id}"):
        text = await page(client, url)
        assert f"Sentence.count counting ant {link}" in text


async def test_nodes_that_are_no_more_are_left_out(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What names them was read before the functions that had called them ran again; the other nodes are shown."""
    one, node = counted("ant")
    gone = UUID(int=5)
    monkeypatch.setattr("dagorama.ui.pages.node.dependents_in", lambda *_: [gone, node.id])
    shown = await page(client, f"/instances/{one.id}/nodes/{node.id}/dependents")
    assert (str(node.id) in shown, str(gone) in shown) == (True, False)


async def test_many_nodes_are_not_read_for_a_page_of_one(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an instance has very many, the nodes that a value goes into are looked for when somebody asks."""
    one, node = counted("ant")
    url = f"/instances/{one.id}/nodes/{node.id}"
    assert 'hx-trigger="load, dagorama:refresh"' in await page(client, url)
    monkeypatch.setattr("dagorama.ui.pages.node.READ_UNASKED_MAX", 0)
    shown = await page(client, url)
    assert 'hx-trigger="load, dagorama:refresh"' not in shown
    assert re.search(rf'hx-get="{url}/dependents" hx-target="#dependents".*>Look for them among \d+ nodes</a>', shown)


async def test_an_error_of_one_node_is_one_of_the_page() -> None:
    """Nodes that cannot be asked for are not left out as if they were no more."""

    class Away:
        async def anode(self, id: UUID) -> Node:
            raise BrokerUnavailable(host="h", port=1, waited_s=1.0, detail="away")

    with pytest.raises(BrokerUnavailable):
        await nodes_of(cast(Instance, Away()), [UUID(int=5)])


async def test_leaving_a_search_keeps_what_was_found() -> None:
    """Browsers clear a search field at Escape unless the page does something else with it."""
    keys = (STATIC / "js/keys.js").read_text()
    (line,) = [line for line in keys.splitlines() if '"Escape"' in line]
    assert line.index("event.preventDefault()") < line.index("event.target.blur()")
