"""What model.pt is given beside the network."""

import numpy as np
import pytest

from deepspeaker.config import ScoringConfig
from deepspeaker.datadir.archive import write_vectors
from deepspeaker.errors import UserError
from deepspeaker.inference.model_file import counts, gather
from deepspeaker.scoring.calibration import Calibration, write_calibration

RESULTS = [{"phase": "softmax", "eer": 2.0}, {"phase": "triplet", "eer": 1.0}]


def scoring(*backends, qualities=()):
    return ScoringConfig(backends=list(backends), cohort_top=3, plda_transform="lda", plda_dim=4,
                         calibration_prior=0.01, qualities=list(qualities))


def test_what_the_back_ends_need(tmp_path):
    phase, calibration = tmp_path / "triplet", Calibration(0.01, -1.0, {"score": 2.0})
    for name in ("calibration", "embeddings/train"):
        (phase / name).mkdir(parents=True)
    write_calibration(phase / "calibration/asnorm.json", calibration)
    write_vectors(phase / "embeddings/train/spk_embedding", {"a": np.float32([1, 0]), "b": np.float32([0, 1])})
    found = gather(phase, scoring("cosine", "asnorm"), None, RESULTS)
    assert found["calibration"] == {"asnorm": calibration._asdict()} and found["plda"] is None
    assert found["cohort"].tolist() == [[1, 0], [0, 1]]
    assert found["summary"]["training"] is None and found["summary"]["results"] == RESULTS[1:]
    assert gather(phase, scoring("cosine"), None, RESULTS)["cohort"] is None
    assert gather(phase, scoring("cosine", qualities=["cohort_mean"]), None, RESULTS)["cohort"] is not None


def test_counts(tmp_path):
    (tmp_path / "utt2spk").write_text("a-1 a\na-2 a\nb-1 b\n")
    (tmp_path / "utt2dur").write_text("a-1 1800\na-2 900\nb-1 1350\n")
    assert counts(tmp_path) == {"speakers": 2, "utterances": 3, "hours": 1.125}
    assert gather(tmp_path, scoring("cosine"), tmp_path, [])["summary"]["training"]["hours"] == 1.125
    (tmp_path / "utt2spk").write_text("")
    with pytest.raises(UserError, match="utt2spk is empty"):
        counts(tmp_path)
