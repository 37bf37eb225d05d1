"""Progress of parallel jobs: each writes a small file, the step that waits for them shows one bar."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

EVERY = 0.5  # seconds between two writes, and between two looks


class Reporter:
    """A job's side: `advance` after each utterance or several; the file is written at most every half second."""

    def __init__(self, path: Path, total: int):
        self._path, self._total, self._done, self._audio, self._written = path, total, 0, 0.0, 0.0
        self._write()

    def advance(self, audio_seconds: float = 0.0, utterances: int = 1) -> None:
        """So many more utterances are done, with so much audio between them."""
        self._done += utterances
        self._audio += audio_seconds
        if time.monotonic() - self._written > EVERY or self._done == self._total:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        temporary = self._path.with_name(f".{self._path.name}")
        temporary.write_text(json.dumps([self._done, self._total, self._audio]))
        temporary.replace(self._path)


def watch(paths: Sequence[Path], description: str) -> None:
    """Show one bar for all jobs until everything they announced is done: utterances, hours of audio, times real time.

    Meant to be killed by whoever started it when the jobs have ended.
    """
    start = time.monotonic()
    with tqdm(desc=description, unit="utt", dynamic_ncols=True) as bar:
        while True:
            reports = [json.loads(path.read_text()) for path in paths if path.exists()]
            done, total, audio = (sum(column) for column in zip(*reports, strict=True)) if reports else (0, 0, 0.0)
            bar.total = total or None
            if audio:
                rate = audio / (time.monotonic() - start)
                bar.set_postfix_str(f"{audio / 3600:.1f} h of audio, {rate:.0f} x real time", refresh=False)
            bar.update(done - bar.n)
            if len(reports) == len(paths) and done >= total:
                return
            time.sleep(EVERY)
