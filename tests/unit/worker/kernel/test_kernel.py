"""What a worker does with the nodes that it is granted, from the grant to the acknowledgement."""

from __future__ import annotations

from tests.unit.worker.kernel.transcript import check

GIVEN = """
    connect
    welcome
    function g timeout=2
"""


def test_a_node_is_started_reported_and_let_go() -> None:
    """A report goes out once, in the batch in which its slot told of it, and is kept until it is acknowledged."""
    check(
        GIVEN,
        """
        grant a b c
        begin a b
        end a b
        ----
        Start a b c
        Report a#1 b#2

        states
        ----
        a=ended b=ended c=given

        acknowledge a
        states
        ----
        a=let go b=ended c=given
        """,
    )


def test_only_what_was_not_begun_is_handed_back() -> None:
    """A recall gets back what stands in line; what runs, has ended, or was never granted here stays as it is."""
    check(
        GIVEN,
        """
        grant a b c d
        begin a b
        end b
        recall a b c z#9
        states
        ----
        Start a b c d
        Report b#2
        TakeBack a c -> c
        HandBack c#3
        a=given b=ended c=let go d=given

        recall b
        ----
        """,
    )


def test_reports_wait_for_the_welcome() -> None:
    """Until the broker has said which tokens are good nothing is sent; then everything that it may not have."""
    check(
        GIVEN,
        """
        grant a b c d
        begin a b c
        progress b
        end a
        disconnect
        ----
        Start a b c d
        TellProgress b
        Report a#1
        TakeBack all -> d

        connect
        end c
        progress b
        recall d
        states
        ----
        a=ended b=given c=ended d=parked

        welcome a#11 b#12 c#13 d#14
        states
        ----
        Report a#11 c#13
        TellProgress b
        Start d
        a=ended b=given c=ended d=given
        """,
    )


def test_progress_is_told_of_what_runs() -> None:
    """What has ended, or is told under a token of before, tells nothing."""
    check(
        GIVEN,
        """
        grant a b
        begin a b
        end a
        progress a b
        ----
        Start a b
        Report a#1
        TellProgress b

        revoke b
        progress b
        ----
        TakeBack b ->
        Stop b
        """,
    )


def test_what_a_lost_lease_gave_is_discarded() -> None:
    """Of what the broker gave to others, what was parked or had ended is forgotten, and what runs is stopped."""
    check(
        GIVEN,
        """
        grant a b c d
        begin a b d
        end b
        disconnect
        connect
        welcome d#14
        states
        ----
        Start a b c d
        Report b#2
        TakeBack all -> c
        TakeBack a ->
        Stop a
        a=lost b=let go c=let go d=given

        end a
        due
        states
        ----
        Discard a
        never
        a=let go b=let go c=let go d=given
        """,
    )


def test_a_stream_that_was_never_welcome_changes_nothing() -> None:
    """What is parked stays so, however many attempts that takes."""
    check(
        GIVEN,
        """
        grant a
        disconnect
        connect
        disconnect
        connect
        states
        welcome a#11
        ----
        Start a
        TakeBack all -> a
        TakeBack all ->
        a=parked
        Start a
        """,
    )


def test_a_lease_of_what_went_back_meanwhile_is_handed_back() -> None:
    """The broker may lease what the worker has given up since its hello."""
    check(
        GIVEN,
        """
        grant a b
        disconnect
        connect
        drain
        states
        ----
        Start a b
        TakeBack all -> a b
        TakeBack all ->
        Cut
        a=let go b=let go drained

        welcome a#11 b#12
        ----
        TellDrain
        HandBack a#11 b#12
        """,
    )


def test_a_draining_worker_starts_nothing() -> None:
    """What is in line goes back, and what comes; the stream ends when the last report is acknowledged."""
    check(
        GIVEN,
        """
        grant a b
        begin a
        drain
        grant c
        drain
        ----
        Start a b
        TellDrain
        TakeBack all -> b
        HandBack b#2
        HandBack c#3
        TakeBack all ->

        end a
        states
        ----
        Report a#1
        a=ended b=let go c=let go

        acknowledge a
        acknowledge a
        states
        ----
        EndStream
        a=let go b=let go c=let go drained
        """,
    )


def test_a_drain_is_told_again_to_the_next_broker() -> None:
    """And what was parked while the worker drains is not started."""
    check(
        GIVEN,
        """
        grant a b
        begin a
        disconnect
        drain
        connect
        welcome a#11
        ----
        Start a b
        TakeBack all -> b
        TakeBack all ->
        TellDrain

        end a
        disconnect
        connect
        ----
        Report a#11
        TakeBack all ->

        welcome
        states
        ----
        TellDrain
        EndStream
        a=let go b=let go drained
        """,
    )


def test_a_worker_that_is_drained_cuts_a_stream_that_nobody_answers() -> None:
    """There is nothing to say on it."""
    check(
        """
        connect
        drain
        ----
        TakeBack all ->
        Cut

        disconnect
        drain
        connect
        ----
        TakeBack all ->
        TakeBack all ->
        Cut
        """
    )


def test_a_draining_worker_parks_nothing() -> None:
    """A node that comes to a worker that has begun to drain is let go of when the connection breaks, too."""
    check(
        GIVEN,
        """
        grant a
        begin a
        drain
        disconnect
        drain
        states
        ----
        Start a
        TellDrain
        TakeBack all ->
        TakeBack all ->
        TakeBack all ->
        a=given
        """,
    )


def test_what_cannot_be_run_goes_back_with_all_of_its_version() -> None:
    """The others of its function and version are not even begun; other versions and functions are."""
    check(
        """
        connect
        welcome
        function old version=1 name=f
        function new version=2 name=f
        grant a:old b:new c:old d e:old
        begin a e
        reject a version=2
        states
        ----
        Start a b c d e
        Reject a#1: 2
        TakeBack c e -> c
        Reject c#3: 2
        a=let go b=given c=let go d=given e=given
        """
    )


def test_what_is_lacking_holds_for_every_version_or_for_one_node() -> None:
    """Where the function is lacking all of its nodes go back; where one node lacks something only that does."""
    check(
        """
        connect
        welcome
        function old version=1 name=f
        function new version=2 name=f
        grant a:old b:new c:new
        begin a
        reject a problem=broken lacks=shop:Order
        ----
        Start a b c
        Reject a#1: broken shop:Order

        begin b
        reject b problem=gone
        states
        ----
        Reject b#2: gone
        TakeBack c -> c
        Reject c#3: gone
        a=let go b=let go c=let go
        """
    )


def test_what_is_rejected_without_a_connection_is_not_named_again() -> None:
    """The next hello leaves it out, which says the same."""
    check(
        GIVEN,
        """
        grant a b
        begin a b
        disconnect
        reject a version=2
        stop b
        states
        ----
        Start a b
        TakeBack all ->
        TakeBack b ->
        a=let go b=let go
        """,
    )


def test_a_drained_worker_ends_when_the_last_goes_back() -> None:
    """It may be a rejection, or a revocation, that leaves it nothing to report."""
    check(
        GIVEN,
        """
        grant a b
        begin a b
        drain
        reject a version=2
        revoke b
        ----
        Start a b
        TellDrain
        TakeBack all ->
        Reject a#1: 2
        TakeBack b ->
        TakeBack b ->
        Stop b
        EndStream
        """,
    )


def test_a_worker_that_hears_of_no_broker_gives_up_once() -> None:
    """When its time is over, which begins with the first stream, however many follow."""
    check(
        """
        due
        at 1
        connect
        due
        ----
        never
        6

        at 4
        disconnect
        connect
        due
        at 5.9
        ----
        TakeBack all ->
        6

        at 6
        due
        disconnect
        connect
        due
        ----
        GiveUp 5
        never
        TakeBack all ->
        never
        """,
        connect_timeout_s=5,
    )


def test_a_worker_that_was_welcome_never_gives_up() -> None:
    """It waits for a broker that goes away later; and what is to stop is due as ever."""
    check(
        """
        connect
        function g timeout=2
        at 4.9
        welcome
        due
        disconnect
        connect
        due
        welcome
        grant a:g
        begin a
        revoke a
        due
        ----
        never
        TakeBack all ->
        never
        Start a
        TakeBack a ->
        Stop a
        6.9
        """,
        connect_timeout_s=5,
    )


def test_what_is_due_first_counts() -> None:
    """A node that is to stop, though it was granted before the connection broke, and then the broker."""
    check(
        """
        connect
        grant a
        begin a
        revoke a
        due
        at 2
        due
        at 5
        ----
        Start a
        TakeBack a ->
        Stop a
        2
        Abandon a
        5
        GiveUp 5
        """,
        connect_timeout_s=5,
        cancel_grace_s=2,
    )
