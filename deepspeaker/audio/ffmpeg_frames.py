"""A sound file opened by FFmpeg's libraries: its packets, and frames decoded from them. What is damaged is told."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame

from deepspeaker.audio.decoding import Truncated, check_rate, unreadable
from deepspeaker.errors import UserError

DEMUXERS = ("aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,avr,caf,dts,dtshd,eac3,epaf,flac,flv,gsm,iff,ircam,latm,loas,"
            "matroska,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,nistsphere,ogg,pvf,rm,sox,spdif,tak,truehd,tta,voc,w64,wav,wsd,"
            "wv,xwma")  # not playlists and the like, which open other files
FADING = ("aac", "aac_latm")  # codecs in whose first frame the decoder only fades in
JOINABLE = ("mp3", "aac", "ac3", "eac3", "mpegts")  # kinds that may end anywhere, even within a packet
PACKET = "4096"  # bytes; FFmpeg takes single bytes of a WAV whose header is damaged, and many seconds for that
MOST_ALLOCATED = 1 << 28  # bytes at once
MOST_PLANES = 7  # PyAV reads on behind the last of more planes of a frame, which may end the process
LEAST_OWN = 1 << 16  # numbers of FFmpeg's own errors; below are the system's, by which decoders say that they failed
UNTOLD = (av.error.BugError, av.error.UndefinedError, av.error.UnknownError)  # that damage causes, too
MP3_FRAME, MP3_TAGS = b"\xff", (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")  # how the parts of an MP3 file begin


def limit_allocations() -> None:
    """Tell FFmpeg's library how much it may allocate at once, which PyAV cannot.

    Else it allocates and fills what headers state: 2 GB for a title in a WAV of 72 bytes. PyAV's wheels have it
    at one of these places.
    """
    place = Path(av.__file__).parent
    for library in (*place.parent.glob("av.libs/*avutil*"), *place.glob(".dylibs/*avutil*")):
        ctypes.CDLL(str(library)).av_max_alloc(ctypes.c_size_t(MOST_ALLOCATED))


limit_allocations()


@dataclass(frozen=True)
class Opened:
    """The first audio stream of an opened file."""

    name: str  # for messages
    container: Any  # of PyAV
    stream: Any

    @property
    def kind(self) -> str:
        """FFmpeg's name of the kind of file, such as "mov"."""
        return str(self.container.format.name).partition(",")[0]

    @property
    def stated(self) -> float:
        """The length that the file states or FFmpeg guesses, in seconds; 0: none."""
        return float(self.stream.duration * self.stream.time_base) if self.stream.duration else 0.0

    def seek(self, stamp: float) -> None:
        """Go on with what is played somewhat before this timestamp."""
        self.container.seek(int(stamp / self.stream.time_base), stream=self.stream)

    def frames(self) -> Iterator[AudioFrame]:
        """Decoded frames from here on, without one that only fades in. Raises UserError for packets that cannot be
        decoded, Truncated if the file ends with them and it is not of a kind that may end anywhere."""
        damage = pack = begin = None
        for packet in self.packets(flush=True):
            if begin is None and self.stream.codec_context.name in FADING:
                begin = packet.pts
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                damage = damage or self._damaged(packet, reason(error))
                continue
            if damage and frames and packet.size:
                raise damage
            for frame in frames:
                check_rate(frame.sample_rate, self.name)
                if begin is not None and frame.pts == begin:  # FFmpeg drops it itself where the file says so
                    continue
                if frame.format.is_planar and frame.layout.nb_channels > MOST_PLANES:
                    pack = pack or av.AudioResampler(frame.format.packed)
                    yield from pack.resample(frame)
                else:
                    yield frame
        if damage and self.kind not in JOINABLE:
            raise Truncated(f"{self.name} is truncated: its last packets cannot be decoded") from damage

    def packets(self, flush: bool = False) -> Iterator[Any]:
        """Packets from here on, with `flush` also the empty one that ends them; of MP3 no tags, and nothing that comes
        after the last frame. Raises UserError for MP3 with anything else between its frames."""
        damage = None
        for packet in self.container.demux(self.stream):
            if packet.size and self.kind == "mp3":
                begin = bytes(memoryview(packet)[:8])
                if begin.startswith(MP3_TAGS):
                    continue
                if not begin.startswith(MP3_FRAME):
                    damage = damage or self._damaged(packet, "expected a frame of MP3")
                    continue
                if damage:
                    raise damage
            if packet.size or flush:
                yield packet

    def _damaged(self, packet: Any, reason: str) -> UserError:
        when = stamp(packet)
        place = "" if when is None else f" at {max(0.0, when):.1f} s"
        return UserError(f"{self.name} is damaged{place}: {reason}")


class _Nameless:
    """An open file as FFmpeg shall see it: one with a name would be decoded by its name where its content is damaged.

    Only MP3 needs one, for a tag with a picture may be longer than what FFmpeg looks at. An exception of seek would be
    printed, for C calls it; damaged files ask for impossible places.
    """

    def __init__(self, file: BinaryIO) -> None:
        file.seek(0)
        self._file, self.read, self.tell = file, file.read, file.tell
        self.name = "sound.mp3" if file.read(3) == b"ID3" else ""
        file.seek(0)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return self._file.tell()


@contextmanager
def opened(file: BinaryIO, name: str) -> Iterator[Opened]:
    """The sound of an open file. Raises UserError where FFmpeg fails, there and then or within the block."""
    options = {"format_whitelist": DEMUXERS, "max_size": PACKET}
    try:
        with av.open(_Nameless(file), options=options, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise unreadable(name, "there is no sound in it")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise unreadable(name, "FFmpeg has no decoder for its sound")
            stream.codec_context.thread_count = 1
            yield Opened(name, container, stream)
    except av.FFmpegError as error:
        raise unreadable(name, reason(error)) from None


def reason(error: av.FFmpegError) -> str:
    """What FFmpeg says, or that the data are invalid where that says nothing about the file."""
    told = error.strerror and (error.errno or 0) >= LEAST_OWN and not isinstance(error, UNTOLD)
    return str(error.strerror) if told else "Invalid data found when processing input"


def stamp(part: Any) -> float | None:
    """When a frame or packet is played, in seconds of the file's own clock; None if it does not say."""
    return None if part.pts is None else float(part.pts * part.time_base)


def samples_of(frame: AudioFrame) -> np.ndarray:
    """(S, channels) float32 within -1..1"""
    values = frame.to_ndarray()
    samples = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if samples.dtype.kind == "u":
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype.kind == "i":
        return (samples * 2.0 ** (1 - 8 * samples.dtype.itemsize)).astype(np.float32)
    return samples.astype(np.float32, copy=False)
