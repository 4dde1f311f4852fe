"""Values that are stored and that nothing refers to yet: a broker drops them after a while, unless somebody asks.

A node may put a value early, and report hours later. Until then the process asks for it now and then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from time import sleep
from weakref import WeakKeyDictionary

from dagorama.logging import get_logger


class Keeper:
    """Asks for values for as long as their owners live."""

    def __init__(self, ask: Callable[[Sequence[bytes]], object], pause_s: Callable[[], float]) -> None:
        """Call `ask` with the digests of all values, every `pause_s()` seconds, while there are any."""
        self._ask = ask
        self._pause_s = pause_s
        #: For those below: nodes begin and end while the thread looks.
        self._lock = threading.Lock()
        self._digests: WeakKeyDictionary[object, dict[bytes, None]] = WeakKeyDictionary()
        self._is_asking = False

    def hold(self, owner: object, digests: Iterable[bytes]) -> None:
        """Keep values until `owner` is gone."""
        with self._lock:
            self._digests.setdefault(owner, {}).update(dict.fromkeys(digests))
            if self._is_asking:
                return
            self._is_asking = True
        threading.Thread(target=self._keep_asking, name="dagorama-values-kept", daemon=True).start()

    def _keep_asking(self) -> None:
        while True:
            sleep(self._pause_s())
            with self._lock:
                held = {digest for digests in list(self._digests.values()) for digest in digests}
                if not held:
                    self._is_asking = False
                    return
            try:
                self._ask(sorted(held))
            except (
                Exception
            ) as error:  # the next time it may go well; a value that is lost is asked for with the report
                get_logger().warning("the broker could not be asked to keep %d values: %s", len(held), error)
