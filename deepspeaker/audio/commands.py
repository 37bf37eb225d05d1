"""Commands of wav.scp (`cmd |`): how they are run, how long they may take and how much they may write."""

import io
import os
import signal
import subprocess
import tempfile
import threading
from functools import lru_cache
from pathlib import Path

from deepspeaker.errors import UserError

PIPE_TIMEOUT = 600.0  # seconds that a command may take
MOST_PIPED = 1 << 31  # bytes that a command may write: 18 hours of one channel of 16 kHz


@lru_cache(maxsize=1)  # the segments of one recording follow each other
def pipe_output(entry: str, timeout: float = PIPE_TIMEOUT) -> bytes:
    """The output of the command of a wav.scp entry `cmd |`. UserError with its last line of errors when it fails.

    A command that takes longer than `timeout` seconds is killed with all processes that it started.
    """
    expired = threading.Event()
    with tempfile.TemporaryFile() as errors, subprocess.Popen(
            ["bash", "-c", "set -o pipefail\n" + entry[:-1]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=errors) as process:
        assert isinstance(process.stdout, io.BufferedReader)
        timer = threading.Timer(timeout, _expire, (expired, process.pid))
        timer.start()
        try:
            output = _read(process.stdout)
            if len(output) > MOST_PIPED:
                _kill(process.pid)
            status = process.wait()
        finally:
            timer.cancel()
        errors.seek(0)
        last = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
    if expired.is_set():
        raise UserError(f"command did not end within {timeout:g} s: {entry}: {last}")
    if len(output) > MOST_PIPED:
        raise UserError(f"command writes more than {MOST_PIPED} bytes: {entry}")
    if status:
        raise UserError(f"command failed with status {status}: {entry}: {last}")
    return bytes(output)


def _read(pipe: io.BufferedReader) -> bytearray:
    """All that comes through a pipe, or its beginning, just above MOST_PIPED."""
    output = bytearray()
    while len(output) <= MOST_PIPED and (chunk := pipe.read1(1 << 20)):
        output += chunk
    return output


def _expire(expired: threading.Event, pid: int) -> None:
    expired.set()
    _kill(pid)


def _kill(pid: int) -> None:
    """Kill a process and those that it started."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return  # it has ended
    for child in below:
        _kill(int(child))
