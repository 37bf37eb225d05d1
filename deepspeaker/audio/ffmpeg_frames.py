"""A sound file opened by FFmpeg's libraries: its packets, and frames decoded from them. What is damaged is told."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame

from deepspeaker.audio.content import Content
from deepspeaker.audio.decoding import Truncated, check_rate, unreadable
from deepspeaker.errors import UserError

DEMUXERS = ("aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,avr,caf,dts,dtshd,eac3,epaf,flac,flv,gsm,iff,ircam,latm,loas,"
            "matroska,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,nistsphere,ogg,pvf,rm,rso,sln,sox,spdif,tak,truehd,tta,voc,w64,"
            "wav,wsd,wv,xwma")  # not playlists and the like, which open other files
JOINABLE = ("mp3", "aac", "ac3", "eac3", "mpegts")  # kinds that may end anywhere, even within a packet
FADING = ("aac", "aac_latm")  # codecs in whose first frame the decoder only fades in
MP3_FRAME, MP3_TAGS = b"\xff", (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")  # how the parts of an MP3 file begin


@dataclass(frozen=True)
class Opened:
    """The first audio stream of an opened file."""

    content: Content
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
        damage, begin = None, None
        for packet in self.packets(flush=True):
            if begin is None and self.stream.codec_context.name in FADING:
                begin = packet.pts
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                damage = damage or self._damaged(packet, error.strerror or "")
                continue
            if damage and frames and packet.size:
                raise damage
            for frame in frames:
                check_rate(frame.sample_rate, self.content.name)
                if begin is None or frame.pts != begin:  # FFmpeg drops it itself where the file says so
                    yield frame
        if damage and self.kind not in JOINABLE:
            raise Truncated(f"{self.content.name} is truncated: its last packets cannot be decoded") from damage

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
        return UserError(f"{self.content.name} is damaged{'' if when is None else f' at {when:.1f} s'}: {reason}")


@contextmanager
def opened(content: Content) -> Iterator[Opened]:
    """Open a sound file. Raises UserError where FFmpeg fails, there and then or within the block."""
    source = f"file:{content.source}" if isinstance(content.source, str) else io.BytesIO(content.source)
    try:
        with av.open(source, options={"format_whitelist": DEMUXERS}) as container:
            if not container.streams.audio:
                raise UserError(f"{content.name} is not audio that can be read: there is no sound in it")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise UserError(f"{content.name} is not audio that can be read: FFmpeg has no decoder for its sound")
            stream.codec_context.thread_count = 1
            yield Opened(content, container, stream)
    except av.FFmpegError as error:
        raise unreadable(content.name, error) from None


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
