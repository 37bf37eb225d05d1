"""Sound files of any kind that FFmpeg's libraries write, for tests."""

import av
import numpy as np

FRAME = 1024  # samples, where the encoder does not want another number


def encode(path, samples, codec, rate=16000, options=None, kind=None, since=0.0, hole=None, coding=None):
    """Write samples (S,) or (S, channels) to a file whose timestamps begin at `since` seconds.

    options: of the container; kind: FFmpeg's name of it, if the ending does not say; hole: (second, seconds), from
    where on timestamps are later, and by how much; coding: options of the codec.
    """
    samples = samples.reshape(len(samples), -1).T
    with av.open(str(path), "w", format=kind, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, layout={1: "mono", 2: "stereo", 8: "7.1"}[len(samples)])
        stream.codec_context.options = coding or {}
        stream.codec_context.open()
        resampler = av.AudioResampler(format=stream.codec_context.format, rate=rate)
        size = stream.codec_context.frame_size or FRAME
        for start in range(0, samples.shape[1], size):
            part = np.ascontiguousarray(samples[:, start:start + size].T, np.float32).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(part, format="flt", layout=stream.layout.name)
            frame.rate, frame.pts = rate, start
            for each in resampler.resample(frame):
                _mux(container, stream, stream.encode(each), since, hole)
        _mux(container, stream, stream.encode(None), since, hole)
    return path


def _mux(container, stream, packets, since, hole):
    for packet in packets:
        shift = since
        if hole and float(packet.pts * packet.time_base) >= hole[0]:
            shift += hole[1]
        packet.pts += round(shift / packet.time_base)
        packet.dts = packet.pts
        container.mux(packet)
