"""Whether a retry policy, which may be the user's own, has a further attempt for an error."""

from __future__ import annotations

from dagorama.logging import get_logger
from dagorama.retry import RetryConfiguration


def gives_up(retry: RetryConfiguration, error: BaseException) -> bool:
    """Return whether the policy has no further attempt for an error. One that cannot tell has its attempts."""
    try:
        return not retry.retries(error)
    except BaseException:  # the policy, or the exception's type, may be the user's own
        names = type(retry).__qualname__, type(error).__qualname__
        get_logger().warning("the retry policy %s cannot tell whether it retries %s", *names, exc_info=True)
        return False
