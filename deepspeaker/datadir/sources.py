"""Where the audio of a data directory's utterances lies, and reading it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from deepspeaker.audio import Audio, read_audio
from deepspeaker.audio.augment import augment
from deepspeaker.audio.commands import PIPE_TIMEOUT
from deepspeaker.audio.content import is_command
from deepspeaker.datadir import CHANNELS, read_lists, read_segments, read_table
from deepspeaker.errors import UserError

T = TypeVar("T")


class Source(NamedTuple):
    """Where an utterance's audio lies: a wav.scp entry, the part of it in seconds, and what to do to it."""

    entry: str
    start: float = 0.0
    end: float | None = None
    channel: int | None = None
    augment: str | None = None

    def read(self, rate: int, pipe_timeout: float = PIPE_TIMEOUT) -> Audio:
        """The utterance at `rate` Hz, changed as its line of the file `augment` says."""
        audio = read_audio(self.entry, rate, self.start, self.end, self.channel, pipe_timeout)
        return audio._replace(samples=augment(audio.samples, rate, self.augment)) if self.augment else audio


def sources(data_dir: Path, pipes: bool = True) -> dict[str, Source]:
    """Utterance -> Source, of a data directory with or without segments, channels and augment, sorted.

    pipes False: UserError for a wav.scp with commands.
    """
    wav = read_table(data_dir / "wav.scp")
    if not pipes and (commands := [recording for recording, entry in wav.items() if is_command(entry)]):
        raise UserError(f"{data_dir}/wav.scp: {len(commands)} entries are commands, such as that of {commands[0]}: "
                        f"{wav[commands[0]]!r}; --no-pipes runs none")
    changes = _optional(read_table, data_dir / "augment")
    channels = _optional(read_lists, data_dir / "reco2file_and_channel")
    found = {}
    for utterance, (recording, start, end, channel) in read_segments(data_dir).items():
        if recording not in wav:
            raise UserError(f"{data_dir}/segments: {utterance} is of recording {recording}, which is not in wav.scp")
        if channel is None and recording in channels:
            name = channels[recording][-1]
            if name not in CHANNELS:
                raise UserError(f"{data_dir}/reco2file_and_channel: {recording}: expected channel "
                                f"{' or '.join(CHANNELS)}, found {name!r}")
            channel = CHANNELS.index(name)
        found[utterance] = Source(wav[recording], start, end, channel, changes.get(utterance))
    return found


def _optional(read: Callable[[Path], dict[str, T]], path: Path) -> dict[str, T]:
    return read(path) if path.exists() else {}
