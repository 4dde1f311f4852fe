"""Names are bounded, values are counted, and readings of several processes add up."""

from __future__ import annotations

from dagorama.metrics.counting import Histogram
from dagorama.metrics.labels import LABEL_CHARS_MAX, OTHER, Labels
from dagorama.metrics.measures import Readings, add_up


def test_the_first_names_have_labels_and_all_later_ones_share_one() -> None:
    """However many names there are, there are only so many labels and one more."""
    labels = Labels(3)
    given = [labels.of(f"queue {number}") for number in range(10_000)]
    assert given[:4] == ["queue 0", "queue 1", "queue 2", OTHER]
    assert set(given[3:]) == {OTHER}
    assert labels.of("queue 1") == "queue 1"


def test_a_label_has_a_bounded_length() -> None:
    """A name of any length becomes a label that a screen has room for."""
    assert len(Labels(1).of("x" * 5_000)) == LABEL_CHARS_MAX


def test_a_histogram_counts_values_up_to_each_bound() -> None:
    """A value at a bound counts there; one above all counts at +Inf; one below 0 is 0."""
    histogram = Histogram((1.0, 5.0))
    for value in (-2.0, 1.0, 3.0, 100.0):
        histogram.observe(value)
    assert (list(histogram.buckets()), histogram.sum) == ([("1.0", 2.0), ("5.0", 3.0), ("+Inf", 4.0)], 104.0)


def test_readings_add_up_and_are_left_as_they_are() -> None:
    """Numbers and histograms of the same labels are added; others stand beside them."""
    one, other = Histogram((1.0,)), Histogram((1.0,))
    one.observe(0.5)
    other.observe(2.0)
    readings: list[Readings] = [
        {"a": {("x",): 1, ("y",): 2}, "h": {(): one}},
        {"a": {("x",): 3}, "h": {(): other}, "b": {(): 1.5}},
    ]
    sums = add_up(readings)
    total = sums["h"][()]
    assert isinstance(total, Histogram)
    assert (sums["a"], sums["b"], total.counts, total.sum) == ({("x",): 4, ("y",): 2}, {(): 1.5}, [1, 1], 2.5)
    assert (one.counts, other.counts) == ([1, 0], [0, 1])
