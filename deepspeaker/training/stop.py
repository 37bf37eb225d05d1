"""SIGTERM and SIGINT are only noted, so that training stops after a step, with a checkpoint."""

import signal


class StopRequest:
    """A context in which `signal` is the number of the last SIGTERM or SIGINT that came, 0 before any.

    Handlers are set even where SIGINT came ignored, as it does to a script's background jobs.
    """

    def __enter__(self) -> "StopRequest":
        self.signal = 0
        self._old = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        self.signal = number
