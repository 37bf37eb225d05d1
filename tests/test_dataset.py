"""A directory's features as other tools may have left them, and the fingerprint of what they hold."""

import numpy as np
import pytest

from deepspeaker.config import load_config
from deepspeaker.datadir import write_table
from deepspeaker.datadir.archive import append
from deepspeaker.errors import UserError
from deepspeaker.extraction.feature_set import FeatureSet

COUNTS = {"a": 5, "b": 9, "c": 7}
VOICED = {"a": [0, 1, 1, 0, 1], "b": [0] * 9, "c": [1, 0, 0, 1, 0, 0, 0]}


@pytest.fixture
def make(tmp_path, conf):
    """Write feats.scp and vad.scp of COUNTS and VOICED, of which `change` is another; returns the FeatureSet."""
    config = load_config(conf({"features.num_mel_bins": 4})).features

    def write(voiced=None, change=None, vad=True, gap=b"", suffix=""):
        tables = {"feats.scp": {}, "vad.scp": {}}
        with (tmp_path / f"f{suffix}.ark").open("wb") as feats, (tmp_path / f"v{suffix}.ark").open("wb") as marks:
            for key, count in COUNTS.items():
                feats.write(gap)
                values = np.arange(count * 4, dtype=np.float32).reshape(count, 4)
                values[-1] += key == change
                tables["feats.scp"][key] = f"{feats.name}:{append(feats, key, values)}"
                frames = np.array((VOICED | (voiced or {}))[key], np.float32)
                tables["vad.scp"][key] = f"{marks.name}:{append(marks, key, frames)}"
        for name, table in tables.items():
            write_table(tmp_path / name, table)
        return FeatureSet(tmp_path, config.model_copy(update={"vad": vad}))

    return write


def test_frames_and_rows(make):
    features = make(suffix="0")
    assert len(features) == 3 and features.utterances == ["a", "b", "c"]
    assert [features.frames(i).tolist() for i in range(3)] == [[1, 2, 4], list(range(9)), [0, 3]]
    assert features.rows(2, features.frames(2)).tolist() == [[0, 1, 2, 3], [12, 13, 14, 15]]
    assert features.counts(np.array([2, 0])).tolist() == [7, 5]
    assert make(vad=False, suffix="1").frames(0).tolist() == [0, 1, 2, 3, 4]


def test_voice_activity_that_does_not_fit(make, tmp_path):
    assert make({"a": [0, 0, 0, 0, 1, 0]}, suffix="0").frames(0).tolist() == [4]
    with pytest.raises(UserError, match=r"^a: vad.scp has more frames than feats.scp \(5\)"):
        make({"a": [0, 0, 0, 0, 0, 1]}, suffix="1").frames(0)
    make(suffix="2")
    write_table(tmp_path / "vad.scp", {"a": f"{tmp_path}/v2.ark:2"})
    with pytest.raises(UserError, match="^c is in feats.scp and not in vad.scp"):
        FeatureSet(tmp_path, load_config(tmp_path / "tiny.toml").features).frames(2)


def test_fingerprint_is_of_names_places_values_and_voice_activity(make):
    same = make(suffix="0").fingerprint()
    assert make(suffix="1").fingerprint() == same and len(same) == 16
    others = [make(change="a", suffix="2"), make(change="c", suffix="3"), make(gap=b" ", suffix="4"),
              make({"c": [1, 0, 0, 0, 0, 0, 1]}, suffix="5"), make(vad=False, suffix="6")]
    assert len({same, *(features.fingerprint() for features in others)}) == 6
