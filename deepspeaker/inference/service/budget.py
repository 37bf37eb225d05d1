"""How much decoding a client may ask for: some at once, then a share of a core."""

import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from deepspeaker.errors import UserError

AT_ONCE = 10.0  # seconds of a core that a client may use up at once
SHARE = 0.5  # of a core, by which the budget grows again
LONGEST_CLIENT = 45  # characters of an address that are kept: of IPv6; a proxy may forward any text
MOST_CLIENTS = 10_000  # whose budgets are kept; of more, those that were quiet for longest have a new one


class Spent(UserError):
    """A client has used its budget.

    wait: seconds until it has something again.
    """

    def __init__(self, wait: float) -> None:
        super().__init__("this address has sent too much sound to decode: wait a little")
        self.wait = wait


class Budget:
    """Seconds of decoding of each client."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> (seconds, when that was so)
        self._lock = Lock()

    def check(self, client: str) -> None:
        """Spent for a client that has nothing left."""
        left = self._change(client, 0.0)
        if left <= 0:
            raise Spent((-left + 0.1 * AT_ONCE) / SHARE)

    @contextmanager
    def spending(self, client: str) -> Iterator[None]:
        """The time that this thread computes within the block is the client's."""
        start = time.thread_time()
        try:
            yield
        finally:
            self._change(client, time.thread_time() - start)

    def _change(self, client: str, spent: float) -> float:
        """What is left."""
        client, now = client[:LONGEST_CLIENT], time.monotonic()
        with self._lock:
            left, since = self._left.get(client, (AT_ONCE, now))
            left = min(AT_ONCE, left + SHARE * (now - since)) - spent
            self._left[client] = left, now
            self._left.move_to_end(client)
            if len(self._left) > MOST_CLIENTS:
                self._left.popitem(last=False)
            return left
