"""Sound files of the kinds that soundfile and PyAV write: for tests of what becomes of damaged ones."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import soundfile
from conftest import noise
from sounds import encode

SECONDS = 1.5
NONE: Mapping[str, str] = MappingProxyType({})


class Kind(NamedTuple):
    """A kind of sound file."""

    name: str  # of the file
    container: str
    coding: str  # soundfile's subtype, FFmpeg's codec
    rate: int = 16000  # Hz
    channels: int = 1
    options: Mapping[str, str] = NONE  # of the container
    coding_options: Mapping[str, str] = NONE


SNDFILE = [
    Kind("pcm16.wav", "WAV", "PCM_16"), Kind("stereo.wav", "WAV", "PCM_24", 44100, 2),
    Kind("float.wav", "WAV", "FLOAT"), Kind("double.wav", "WAV", "DOUBLE"), Kind("u8.wav", "WAV", "PCM_U8", 8000),
    Kind("ulaw.wav", "WAV", "ULAW", 8000), Kind("alaw.wav", "WAVEX", "ALAW", 8000), Kind("ima.wav", "WAV", "IMA_ADPCM"),
    Kind("ms.wav", "WAV", "MS_ADPCM", 22050, 2), Kind("gsm.wav", "WAV", "GSM610", 8000),
    Kind("g721.wav", "WAV", "G721_32", 8000), Kind("ex.wav", "WAVEX", "PCM_32", 48000, 2),
    Kind("a.rf64", "RF64", "PCM_16"), Kind("a.flac", "FLAC", "PCM_16"), Kind("stereo.flac", "FLAC", "PCM_24", 44100, 2),
    Kind("vorbis.ogg", "OGG", "VORBIS"), Kind("opus.ogg", "OGG", "OPUS"), Kind("sndfile.mp3", "MP3", "MPEG_LAYER_III"),
    Kind("a.aiff", "AIFF", "PCM_16"), Kind("ima.aifc", "AIFF", "IMA_ADPCM"), Kind("float.aifc", "AIFF", "FLOAT"),
    Kind("a.au", "AU", "PCM_16"), Kind("g721.au", "AU", "G721_32", 8000), Kind("g723.au", "AU", "G723_24", 8000),
    Kind("ulaw.au", "AU", "ULAW", 8000), Kind("a.caf", "CAF", "PCM_16"), Kind("alac.caf", "CAF", "ALAC_16"),
    Kind("a.w64", "W64", "PCM_16"), Kind("ms.w64", "W64", "MS_ADPCM"), Kind("a.sph", "NIST", "PCM_16"),
    Kind("ulaw.sph", "NIST", "ULAW", 8000), Kind("a.voc", "VOC", "PCM_16"), Kind("a.avr", "AVR", "PCM_16"),
    Kind("a.htk", "HTK", "PCM_16"), Kind("a.svx", "SVX", "PCM_16"), Kind("a4.mat", "MAT4", "PCM_16"),
    Kind("a5.mat", "MAT5", "FLOAT"), Kind("a.mpc", "MPC2K", "PCM_16"), Kind("a.paf", "PAF", "PCM_16"),
    Kind("a.pvf", "PVF", "PCM_16"), Kind("a.sds", "SDS", "PCM_16"), Kind("a.sf", "IRCAM", "FLOAT"),
    Kind("a.wve", "WVE", "ALAW", 8000),
]
FFMPEG = [
    Kind("cbr.mp3", "mp3", "libmp3lame", options={"write_xing": "0"}, coding_options={"b": "32000"}),
    Kind("vbr.mp3", "mp3", "libmp3lame", 44100, 2, coding_options={"q": "4"}),
    Kind("bare.mp3", "mp3", "libmp3lame", options={"write_xing": "0", "id3v2_version": "0"}, coding_options={"q": "4"}),
    Kind("a.mp2", "mp2", "mp2"), Kind("wide.m4a", "ipod", "aac", 48000, 8), Kind("a.m4a", "ipod", "aac"),
    Kind("first.m4a", "ipod", "aac", 44100, 2, options={"movflags": "faststart"}),
    Kind("pieces.mp4", "mp4", "aac", options={"movflags": "frag_keyframe+empty_moov", "frag_duration": "200000"}),
    Kind("alac.m4a", "ipod", "alac"), Kind("a.mov", "mov", "pcm_s16le"), Kind("ulaw.mov", "mov", "pcm_mulaw", 8000),
    Kind("opus.mp4", "mp4", "libopus", 48000), Kind("a.3gp", "3gp", "libopencore_amrnb", 8000),
    Kind("a.amr", "amr", "libopencore_amrnb", 8000), Kind("a.aac", "adts", "aac"), Kind("a.latm", "latm", "aac"),
    Kind("a.webm", "webm", "libopus", 48000), Kind("a.mka", "matroska", "flac"),
    Kind("pcm.mkv", "matroska", "pcm_s16le"), Kind("aac.mkv", "matroska", "aac"),
    Kind("mp3.mkv", "matroska", "libmp3lame"), Kind("live.mka", "matroska", "libopus", 48000, options={"live": "1"}),
    Kind("aac.ts", "mpegts", "aac"), Kind("mp2.ts", "mpegts", "mp2"), Kind("opus.ts", "mpegts", "libopus", 48000),
    Kind("ac3.ts", "mpegts", "ac3", 48000), Kind("a.mpg", "mpeg", "mp2", 48000), Kind("a.vob", "vob", "ac3", 48000, 2),
    Kind("a.ac3", "ac3", "ac3", 48000), Kind("a.eac3", "eac3", "eac3", 48000, 2),
    Kind("v2.wma", "asf", "wmav2", 44100, 2, coding_options={"b": "64000"}),
    Kind("v1.wma", "asf", "wmav1", 44100, coding_options={"b": "48000"}), Kind("mp3.asf", "asf", "libmp3lame"),
    Kind("pcm.avi", "avi", "pcm_s16le"), Kind("mp3.avi", "avi", "libmp3lame"), Kind("ac3.avi", "avi", "ac3", 48000),
    Kind("mp3.flv", "flv", "libmp3lame", 44100), Kind("aac.flv", "flv", "aac"),
    Kind("nelly.flv", "flv", "nellymoser", 11025), Kind("swf.flv", "flv", "adpcm_swf", 11025),
    Kind("a.wv", "wv", "wavpack"), Kind("a.tta", "tta", "tta"), Kind("a.oga", "ogg", "flac"),
    Kind("ffmpeg.opus", "opus", "libopus", 48000), Kind("ffmpeg.flac", "flac", "flac"),
    Kind("mp3-by-ffmpeg.wav", "wav", "libmp3lame"), Kind("g722.wav", "wav", "g722"),
    Kind("g723.wav", "wav", "g723_1", 8000, coding_options={"b": "6300"}), Kind("g726.wav", "wav", "g726", 8000),
    Kind("yamaha.wav", "wav", "adpcm_yamaha"), Kind("wma.wav", "wav", "wmav2", 44100, 2, coding_options={"b": "64000"}),
    Kind("amr.wav", "wav", "libopencore_amrnb", 8000), Kind("alac-by-ffmpeg.caf", "caf", "alac"),
    Kind("qt.aiff", "aiff", "adpcm_ima_qt", 44100), Kind("a.rm", "rm", "ac3", 48000),
    Kind("real.rm", "rm", "real_144", 8000), Kind("a.sox", "sox", "pcm_s32le"), Kind("a.spdif", "spdif", "ac3", 48000),
]


def write_all(folder: Path) -> list[Path]:
    """Write SECONDS of noise in all kinds."""
    return [*(_by_soundfile(folder / kind.name, kind) for kind in SNDFILE),
            *(encode(folder / kind.name, sound(kind), kind.coding, kind.rate, dict(kind.options), kind.container,
                     coding=dict(kind.coding_options)) for kind in FFMPEG)]


def sound(kind: Kind) -> np.ndarray:
    return np.stack([noise(SECONDS, seed, kind.rate) for seed in range(kind.channels)], 1)


def _by_soundfile(path: Path, kind: Kind) -> Path:
    soundfile.write(path, sound(kind), kind.rate, kind.coding, format=kind.container)
    return path
