"""A job is followed from its submission to its end, by whichever executor."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable
from dataclasses import replace

from dagorama.workflows.executors.port import ENDED, Executor, Handle, Job, JobState, JobStatus, JobStopped

#: A job is looked at again after so long, in seconds, if its executor has said nothing before.
LOOK_S = 1.0

#: Takes a piece of output: the stream, and the text.
Tell = Callable[[int, str], None]


def follow(
    executor: Executor, job: Job, *, should_stop: Callable[[], bool], tell: Tell, warn: Callable[[str], None]
) -> JobStatus:
    """Run a job to its end, or find it and go on; tell its output as it comes, and return how it ended.

    When `should_stop` says so the job is cancelled, and its end is waited for. Each word for a state that nobody knows
    is warned of once, and so is each reason why it does not go on. Where following fails, as with a full disk, the job
    is left for the next attempt.
    """
    try:
        handle = executor.submit(replace(job, should_stop=should_stop))
        try:
            status = _followed(executor, handle, should_stop, tell, warn)
        except BaseException:
            executor.leave(handle)
            raise
        executor.forget(handle)  # before anybody is told of the end
    except JobStopped:
        return JobStatus(state=JobState.CANCELLED, problem="was cancelled while its executor was waited for")
    return status


def _followed(
    executor: Executor, handle: Handle, should_stop: Callable[[], bool], tell: Tell, warn: Callable[[str], None]
) -> JobStatus:
    decode = {stream: getincrementaldecoder("utf-8")("backslashreplace") for stream in (1, 2)}
    logs = executor.logs(handle)
    warned: set[str] = set()
    is_cancelled = False

    def drain() -> bool:
        pieces = logs.read()
        for piece in pieces:
            tell(piece.stream, decode[piece.stream].decode(piece.data))
        return bool(pieces)

    try:
        while True:
            status = executor.status(handle)  # before the output, so that none comes after the end
            has_more = drain()
            if status.unknown and status.unknown not in warned:
                warned.add(status.unknown)
                warn(f"the state {status.unknown!r} is not known, so the job counts as running")
            if status.waiting and status.waiting not in warned:
                warned.add(status.waiting)
                warn(status.waiting)
            if status.state in ENDED:
                break
            if not is_cancelled and should_stop():
                executor.cancel(handle)
                is_cancelled = True
            if not has_more:
                executor.wait(handle, LOOK_S)
        while drain():
            pass
        for stream, decoder in decode.items():
            tell(stream, decoder.decode(b"", final=True))
    finally:
        logs.close()
    return status
