#!/usr/bin/env python3
"""Check that the disk has room for the archives of data directories, estimated from some of their recordings.

Reads each DATA_DIR's wav.scp (or segments). Prints a line with the frames, bytes and free space to expect, or fails.
Features and voice activity are counted, unless --make says otherwise.

    steps/check_space.py --conf conf/small.toml --copies data/train 'speed noise' 'feats vad' fbank data/train \\
        data/dev
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deepspeaker.conf_files import read_tables, value
from deepspeaker.corpus.augmented_copies import KINDS, copy_names
from deepspeaker.datadir import ARCHIVES
from deepspeaker.errors import UserError, run
from deepspeaker.recipe.disk_space import check_space, sound_bytes


def archives_of(words: str) -> set[str]:
    """The kinds of archives that an option names."""
    if unknown := [word for word in words.split() if word not in ARCHIVES]:
        raise UserError(f"no kind of archives '{unknown[0]}'; there are: {' '.join(ARCHIVES)}")
    return {*words.split()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conf", type=Path, required=True, metavar="FILE",
                        help="configuration with [features] and [augment]")
    parser.add_argument("--copies", nargs=3, action="append", default=[], metavar=("DATA_DIR", "KINDS", "ARCHIVES"),
                        help="augmented copies of DATA_DIR to count as well; KINDS: some of "
                             f"'{' '.join(KINDS)}'; ARCHIVES: what is made of each, as of --make")
    parser.add_argument("--make", nargs=2, action="append", default=[], metavar=("DATA_DIR", "ARCHIVES"),
                        help="what is made of DATA_DIR, some of 'feats vad sound'")
    parser.add_argument("--sounds", nargs=3, action="append", default=[], metavar=("KINDS", "MUSAN", "RIRS"),
                        help="sounds to count as well, as make_sounds.py takes these options; '' for none")
    parser.add_argument("ark_dir", type=Path, metavar="ARK_DIR")
    parser.add_argument("data_dirs", type=Path, nargs="*", metavar="DATA_DIR")
    args = parser.parse_args()
    conf = read_tables(args.conf)
    audio = {directory.name: directory for directory in args.data_dirs}
    makes: dict[str, set[str]] = {}
    for folder, archives in args.make:
        audio[Path(folder).name] = Path(folder)
        makes.setdefault(Path(folder).name, set()).update(archives_of(archives))
    for folder, kinds, archives in args.copies:
        source = Path(folder)
        for copy in copy_names(kinds.split(), value(conf, args.conf, "augment", "speeds"), source.name):
            audio[copy] = source
            makes[copy] = archives_of(archives)
    features = {key: value(conf, args.conf, "features", key) for key in ("num_mel_bins", "compress", "sample_rate")}
    beside = sum(sound_bytes(kinds.split(), features["sample_rate"], musan, rirs) for kinds, musan, rirs in args.sounds)
    print(f"   {check_space(features, audio, args.ark_dir, makes, beside)}")


if __name__ == "__main__":
    run(main)
