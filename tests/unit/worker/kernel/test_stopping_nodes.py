"""What a worker does about nodes whose leases have ended while they run."""

from __future__ import annotations

from tests.unit.worker.kernel.transcript import check

GIVEN = """
    connect
    welcome
    function g timeout=2
"""


def test_what_is_in_line_never_starts() -> None:
    """A revoked node that was not begun goes back at once; so does one whose report was on its way."""
    check(
        GIVEN,
        """
        grant a b c
        begin a b
        end b
        revoke c b z#9
        states
        ----
        Start a b c
        Report b#2
        HandBack b#2 z#9
        TakeBack c -> c
        HandBack c#3
        a=given b=let go c=let go

        acknowledge b
        due
        ----
        never
        """,
    )


def test_what_runs_is_handed_back_when_it_has_stopped() -> None:
    """Whatever it gives: nothing is reported."""
    check(
        GIVEN,
        """
        grant a b
        begin a b
        revoke a b
        states
        due
        ----
        Start a b
        TakeBack a b ->
        Stop a
        Stop b
        a=revoked b=revoked
        5

        end a
        stop b
        due
        ----
        HandBack a#1
        HandBack b#2
        never
        """,
    )


def test_a_later_lease_is_not_meant() -> None:
    """A revocation names a lease: a node that was granted again meanwhile goes on."""
    check(
        GIVEN,
        """
        grant a
        begin a
        revoke a#9
        states
        ----
        Start a
        HandBack a#9
        a=given
        """,
    )


def test_a_thread_that_goes_on_loses_its_slot() -> None:
    """After the grace; the broker hears then that the slot is free, and nothing when the thread ends at last."""
    check(
        GIVEN,
        """
        grant a
        begin a
        at 1
        revoke a
        at 5.9
        at 6
        states
        due
        ----
        Start a
        TakeBack a ->
        Stop a
        Abandon a
        HandBack a#1
        a=abandoned
        never

        end a
        states
        ----
        a=let go
        """,
    )


def test_a_lost_node_that_goes_on_loses_its_slot_in_silence() -> None:
    """The broker knows nothing any more of such a lease."""
    check(
        GIVEN,
        """
        grant a
        begin a
        disconnect
        connect
        welcome
        at 5
        states
        ----
        Start a
        TakeBack all ->
        TakeBack a ->
        Stop a
        Abandon a
        a=abandoned
        """,
    )


def test_a_thread_gets_no_grace_after_its_timeout() -> None:
    """It knew beforehand when its time is over; where that is later the grace holds."""
    check(
        GIVEN,
        """
        grant a:g
        begin a
        at 1
        revoke a
        due
        at 2
        ----
        Start a
        TakeBack a ->
        Stop a
        2
        Abandon a late
        HandBack a#1
        """,
    )
    check(
        """
        connect
        welcome
        function g timeout=60
        grant a:g
        begin a
        revoke a
        due
        at 5
        ----
        Start a
        TakeBack a ->
        Stop a
        5
        Abandon a
        HandBack a#1
        """
    )


def test_a_task_gets_the_grace_after_its_timeout() -> None:
    """The cancellation is what tells it. It cannot lose its slot: a loop has one thread."""
    check(
        GIVEN,
        """
        grant a:g b
        begin a b async
        at 2
        revoke a b
        due
        at 7
        states
        due
        ----
        Start a b
        TakeBack a b ->
        Stop a
        Stop b
        7
        Complain a late
        Complain b
        a=revoked b=revoked
        never

        stop a
        states
        ----
        HandBack a#1
        a=let go b=revoked
        """,
    )


def test_a_process_of_the_workers_own_ends_once() -> None:
    """With the first node that goes on; whether that is late is what its exit status tells."""
    check(
        GIVEN,
        """
        grant a:g b c
        begin a b
        begin c async
        revoke a b c
        at 2
        ----
        Start a b c
        TakeBack a b c ->
        Stop a
        Stop b
        Stop c
        Leave a late

        at 9
        due
        states
        ----
        never
        a=revoked b=revoked c=revoked
        """,
        may_leave=True,
    )
    check(
        GIVEN,
        """
        grant a
        begin a async
        revoke a
        at 5
        ----
        Start a
        TakeBack a ->
        Stop a
        Leave a
        """,
        may_leave=True,
    )


def test_the_time_of_an_attempt_does_not_count_anew() -> None:
    """A lease that is renewed is of the same attempt."""
    check(
        GIVEN,
        """
        grant a:g
        begin a
        at 1
        disconnect
        connect
        welcome a#11
        revoke a
        due
        stop a
        ----
        Start a
        TakeBack all ->
        TakeBack a ->
        Stop a
        2
        HandBack a#11
        """,
    )


def test_what_stops_while_the_connection_is_broken_is_not_handed_back() -> None:
    """Its lease is not in the hello, which says the same."""
    check(
        GIVEN,
        """
        grant a
        begin a
        revoke a
        disconnect
        stop a
        connect
        welcome
        ----
        Start a
        TakeBack a ->
        Stop a
        TakeBack all ->
        """,
    )
