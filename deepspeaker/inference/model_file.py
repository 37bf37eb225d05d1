"""What model.pt holds beside the network: back-end and calibration, which turn embeddings into decisions, and a summary
of the training."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from deepspeaker import __version__
from deepspeaker.config import ScoringConfig
from deepspeaker.datadir import read_table
from deepspeaker.errors import UserError
from deepspeaker.scoring.backends import needed
from deepspeaker.scoring.calibration import read_calibration
from deepspeaker.scoring.inputs import read_embeddings
from deepspeaker.scoring.plda_files import read_plda


def gather(phase_dir: Path, scoring: ScoringConfig, train_dir: Path | None,
           results: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    """Read from a phase's folder, after stages 5 and 6, what the back-ends and qualities of [scoring] need.

    calibration: back-end -> prior, offset, weights, as deepspeaker.scoring.calibration.Calibration has them; cohort:
    training speakers' embeddings (C, E) or None; plda: field of deepspeaker.scoring.plda.Plda -> tensor, or
    None; summary: date, version, speakers, utterances and hours of `train_dir`, and those of `results` that are the
    phase's.
    """
    needs = needed(scoring.backends, scoring.qualities)
    cohort = plda = None
    if "cohort" in needs:
        cohort = torch.from_numpy(read_embeddings(phase_dir / "embeddings/train/spk_embedding.scp"))
    if "plda" in needs:
        plda = {name: torch.as_tensor(value) for name, value in read_plda(phase_dir / "plda")._asdict().items()}
    files = {name: phase_dir / f"calibration/{name}.json" for name in scoring.backends}
    calibration = {name: read_calibration(path)._asdict() for name, path in files.items() if path.exists()}
    return {"calibration": calibration, "cohort": cohort, "plda": plda, "summary": {
        "date": datetime.now(UTC).date().isoformat(), "version": __version__,
        "training": counts(train_dir) if train_dir else None,
        "results": [row for row in results if row["phase"] == phase_dir.name]}}


def counts(train_dir: Path) -> dict[str, float]:
    """Speakers, utterances and hours of a data directory after stage 2."""
    speakers, seconds = read_table(train_dir / "utt2spk"), read_table(train_dir / "utt2dur")
    if not speakers:
        raise UserError(f"{train_dir}/utt2spk is empty")
    hours = sum(map(float, seconds.values())) / 3600
    return {"speakers": len(set(speakers.values())), "utterances": len(speakers), "hours": round(hours, 3)}
