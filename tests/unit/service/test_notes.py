"""What people are to be shown with nodes, on its way in."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dagorama.calls import capture
from dagorama.calls.capture import CapturedCall
from dagorama.client.convert import FunctionTable, write_calls
from dagorama.v1 import graph_pb2, work_pb2
from dagorama_broker.core import commands as c
from dagorama_broker.core.model.values import FunctionSpec, WorkerId
from dagorama_broker.requests.checks import INPUTS_BYTES_MAX, LABEL_BYTES_MAX, MalformedRequest
from dagorama_broker.service.convert.incoming import to_calls, to_function, to_sent
from dagorama_broker.service.convert.outgoing import from_function

SPEC = FunctionSpec(name="m:f", queue="q")
IDS = [bytes([number]) * 16 for number in (1, 2, 3)]


def texts(labels: Sequence[str] = (), inputs: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Give the texts of three calls that come with these columns."""
    message = graph_pb2.Calls(node_ids=IDS, functions=[0] * 3, arguments=[b""] * 3, labels=labels, inputs=inputs)
    return [(call.label, call.inputs) for call in to_calls(message, [SPEC])]


def test_texts_come_to_their_calls() -> None:
    """Calls without one have none; a column may be left out."""
    assert texts(["", "a", ""], ["", "x=1", "y"]) == [("", ""), ("a", "x=1"), ("", "y")]
    assert texts(["", "a", "b"]) == [("", ""), ("a", ""), ("b", "")]
    assert texts(inputs=["x", "", ""]) == [("", "x"), ("", ""), ("", "")]
    assert texts() == [("", "")] * 3


def test_texts_arrive_as_they_were_sent() -> None:
    """A column is there where some call has something for it."""
    spec = capture.FunctionSpec(name="m:f", code_version="", queue="q", taint="", retry=None, definition_arguments=b"")
    for sent in ([("", ""), ("", "")], [("a", ""), ("", "")], [("", ""), ("", "x=1")], [("a", ""), ("b", "y")]):
        request = work_pb2.WorkRequest()
        message = request.results.add().children
        calls = [CapturedCall(id, spec, b"", (), (), *both) for id, both in zip(IDS, sent, strict=False)]
        write_calls(message, calls, FunctionTable(request.functions))
        assert (bool(message.labels), bool(message.inputs)) == (any(a for a, _ in sent), any(b for _, b in sent))
        assert [(call.label, call.inputs) for call in to_calls(message, [SPEC])] == sent


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ((["a"], ()), "3 calls have 1 labels"),
        ((["a"] * 3, ["x"] * 2), "3 calls have 2 inputs"),
        ((["a", "\u00e9" * 513, ""], ()), f"a label has 1026 bytes; the limit is {LABEL_BYTES_MAX} bytes"),
        (((), ["", "", "x" * 16385]), f"a text of inputs has 16385 bytes; the limit is {INPUTS_BYTES_MAX}"),
    ],
)
def test_texts_that_cannot_be_kept_are_refused(columns: tuple[Sequence[str], Sequence[str]], said: str) -> None:
    """The error says which bound it is."""
    with pytest.raises(MalformedRequest, match=said):
        texts(*columns)


def test_a_label_of_the_longest_size_is_taken() -> None:
    """The bound counts bytes, not characters."""
    longest = "\u00e9" * (LABEL_BYTES_MAX // 2)
    assert texts([longest, "", ""]) == [(longest, ""), ("", ""), ("", "")]


def test_labels_come_before_reports() -> None:
    """The lease of the node that a worker reports on is still its own then."""
    request = work_pb2.WorkRequest(labels=work_pb2.Labels(tokens=[7], texts=["a"]))
    request.completions.CopyFrom(work_pb2.Completions(node_ids=IDS[:1], tokens=[7], values=[b""], durations_us=[1]))
    sent = to_sent(WorkerId(b"w"), request)
    assert sent.commands == [c.LabelNodes(worker_id=WorkerId(b"w"), labels=[(7, "a")])]
    assert sent.report is not None


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (work_pb2.Labels(tokens=[7]), "the columns of labels have different lengths: 1, 0"),
        (work_pb2.Labels(tokens=[7], texts=["x" * 1025]), "a label has 1025 bytes"),
    ],
)
def test_malformed_labels_are_refused(labels: work_pb2.Labels, said: str) -> None:
    """The error says what is wrong."""
    with pytest.raises(MalformedRequest, match=said):
        to_sent(WorkerId(b"w"), work_pb2.WorkRequest(labels=labels))


def test_a_function_says_what_is_shown() -> None:
    """Both ways; an older client, which says nothing, agrees to nothing."""
    sent = graph_pb2.FunctionSpec(name="m:f", parameters="a, *, k", shows_inputs=True)
    function = to_function(sent)
    assert (function.parameters, function.shows_inputs) == ("a, *, k", True)
    back = from_function(function)
    assert (back.parameters, back.shows_inputs) == ("a, *, k", True)
    assert to_function(graph_pb2.FunctionSpec(name="m:f")).shows_inputs is False


def test_parameters_without_bounds_are_refused() -> None:
    """They stand with every function that the broker keeps."""
    with pytest.raises(MalformedRequest, match="parameters"):
        to_function(graph_pb2.FunctionSpec(name="m:f", parameters="x" * 20_000))
