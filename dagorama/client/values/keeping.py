"""Values that are stored and that nothing refers to yet: a broker drops them after a while, unless somebody asks.

A node may put a value early, and report hours later; a program may put one, and start instances with it all day.
Until then the process asks for it now and then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from weakref import WeakKeyDictionary

from dagorama.calls.references import Reference
from dagorama.logging import get_logger

#: Where the broker did not answer it is asked again after so long, and then after twice as long each time.
AGAIN_S = 15.0


class Keeper:
    """Asks for values for as long as their owners live."""

    def __init__(self, ask: Callable[[Sequence[Reference]], object], pause_s: Callable[[], float]) -> None:
        """Call `ask` with the references of all values, every `pause_s()` seconds, while there are any."""
        self._ask = ask
        self._pause_s = pause_s
        #: For those below: nodes begin and end while the thread looks.
        self._lock = threading.Lock()
        self._held: WeakKeyDictionary[object, dict[Reference, None]] = WeakKeyDictionary()
        self._is_asking = False
        #: Set where values are to be asked for at once.
        self._hurries = threading.Event()

    def hold(self, owner: object, references: Iterable[Reference], *, at_once: bool = False) -> None:
        """Keep values until `owner` is gone. With `at_once` ask for them without a pause first."""
        with self._lock:
            self._held.setdefault(owner, {}).update(dict.fromkeys(references))
            if at_once:
                self._hurries.set()
            if self._is_asking:
                return
            self._is_asking = True
        threading.Thread(target=self._keep_asking, name="dagorama-values-kept", daemon=True).start()

    def _keep_asking(self) -> None:
        pause_s = self._pause_s()
        again_s = AGAIN_S
        while True:
            self._hurries.wait(pause_s)
            self._hurries.clear()
            with self._lock:
                held = {reference for references in list(self._held.values()) for reference in references}
                if not held:
                    self._is_asking = False
                    return
            try:
                self._ask(sorted(held))
                pause_s, again_s = self._pause_s(), AGAIN_S
            except Exception as error:  # a value that is lost meanwhile is asked for with the report, or the start
                get_logger().warning("the broker could not be asked to keep %d values: %s", len(held), error)
                pause_s, again_s = min(again_s, self._pause_s()), 2 * again_s
