"""What model.pt holds beside the network: all that turns embeddings into decisions, and where the model comes from."""

from datetime import UTC, datetime
from pathlib import Path

import torch

from deepspeaker import __version__
from deepspeaker.config import ScoringConfig
from deepspeaker.datadir import read_table
from deepspeaker.errors import UserError
from deepspeaker.scoring import needed
from deepspeaker.scoring.calibration import read_calibration
from deepspeaker.scoring.inputs import read_embeddings
from deepspeaker.scoring.plda_files import read_plda


def gather(phase_dir: Path, scoring: ScoringConfig, train_dir: Path | None, results: list[dict]) -> dict:
    """Read what stages 5 and 6 left of a phase for the back-ends and qualities of [scoring].

    calibration: back-end -> prior, offset, weights, as deepspeaker.scoring.calibration.Calibration has them; cohort:
    training speakers' embeddings (C, E) or None; plda: name -> array of deepspeaker.scoring.plda.Plda, or None;
    summary: date, version, data counts of `train_dir`, and the test results of the phase.
    """
    needs = needed(scoring.backends, scoring.qualities)
    cohort = plda = None
    if "cohort" in needs:
        cohort = torch.from_numpy(read_embeddings(phase_dir / "embeddings/train/spk_embedding.scp"))
    if "plda" in needs:
        plda = {name: torch.from_numpy(array) for name, array in read_plda(phase_dir / "plda")._asdict().items()}
    files = {name: phase_dir / f"calibration/{name}.json" for name in scoring.backends}
    calibration = {name: read_calibration(path)._asdict() for name, path in files.items() if path.exists()}
    return {"calibration": calibration, "cohort": cohort, "plda": plda, "summary": {
        "date": datetime.now(UTC).date().isoformat(), "version": __version__,
        "training": counts(train_dir) if train_dir else None,
        "results": [row for row in results if row["phase"] == phase_dir.name]}}


def counts(train_dir: Path) -> dict[str, float]:
    """Speakers, utterances and hours of a data directory with features."""
    speakers, seconds = read_table(train_dir / "utt2spk"), read_table(train_dir / "utt2dur")
    if not speakers:
        raise UserError(f"{train_dir}/utt2spk is empty")
    hours = sum(map(float, seconds.values())) / 3600
    return {"speakers": len(set(speakers.values())), "utterances": len(speakers), "hours": round(hours, 3)}
