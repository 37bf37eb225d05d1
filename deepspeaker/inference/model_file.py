"""What model.pt holds beside the network: back-end and calibration, which turn embeddings into decisions, and a summary
of the training."""

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from deepspeaker import __version__
from deepspeaker.config import ScoringConfig
from deepspeaker.datadir import read_table
from deepspeaker.datadir.archive import write_vectors
from deepspeaker.errors import UserError
from deepspeaker.inference.model import load
from deepspeaker.scoring.backends import needed
from deepspeaker.scoring.calibration import read_calibration, write_calibration
from deepspeaker.scoring.inputs import read_embeddings
from deepspeaker.scoring.plda_files import read_plda, write_plda


def gather(phase_dir: Path, scoring: ScoringConfig, train_dir: Path | None,
           results: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    """Read from a phase's folder, after stages 5 and 6, what the back-ends and qualities of [scoring] need.

    calibration: back-end -> the fields of deepspeaker.scoring.calibration.Calibration; cohort: embeddings (C, E) of
    training speakers or None, and cohort_speakers their names; plda: field of deepspeaker.scoring.plda.Plda -> tensor,
    or None; summary: date, version, speakers, utterances and hours of `train_dir`, and those of `results` that are the
    phase's.
    """
    needs = needed(scoring.backends, scoring.qualities)
    cohort = plda = None
    cohort_speakers: list[str] = []
    if "cohort" in needs:
        scp = phase_dir / "embeddings/train/spk_embedding.scp"
        cohort, cohort_speakers = torch.from_numpy(read_embeddings(scp)), [*read_table(scp)]
    if "plda" in needs:
        plda = {name: torch.as_tensor(value) for name, value in read_plda(phase_dir / "plda")._asdict().items()}
    files = {name: phase_dir / f"calibration/{name}.json" for name in scoring.backends}
    calibration = {name: read_calibration(path)._asdict() for name, path in files.items() if path.exists()}
    return {"calibration": calibration, "cohort": cohort, "cohort_speakers": cohort_speakers, "plda": plda, "summary": {
        "date": datetime.now(UTC).date().isoformat(), "version": __version__,
        "training": counts(train_dir) if train_dir else None,
        "results": [row for row in results if row["phase"] == phase_dir.name]}}


def unpack(path: Path, out_dir: Path) -> str:
    """Write what a model decides with as files: backend, qualities, calibration.json, cohort.{ark,scp}, plda/. Nothing
    for a checkpoint without a calibration of its back-end. Returns a line of counts; UserError for a damaged model."""
    model = load(path)
    shutil.rmtree(out_dir, ignore_errors=True)
    out_dir.mkdir(parents=True)
    if not model.calibration:
        return f"{path}: no calibration of {model.backend}: scores are cosines, and no decisions"
    qualities = model.calibration.qualities
    (out_dir / "backend").write_text(f"{model.backend}\n")
    (out_dir / "qualities").write_text("".join(f"{name}\n" for name in qualities))
    needs = needed([model.backend], qualities)
    if "cohort" in needs and model.cohort is not None:
        write_vectors(out_dir / "cohort", {f"cohort-{n:07}": vector for n, vector in enumerate(model.cohort)})
    if "plda" in needs and model.plda is not None:
        write_plda(out_dir / "plda", model.plda)
    write_calibration(out_dir / "calibration.json", model.calibration)
    return f"{path}: decides by {model.backend}, with {', '.join(qualities) or 'no qualities'}"


def best_first(phase_dir: Path, backends: Sequence[str]) -> tuple[list[str], str]:
    """(back-ends, the lowest Cllr on the development set first; a sentence on the reason).

    Those whose calibration has no Cllr, and all without a development set, stay as they are.
    """
    files = {name: phase_dir / f"calibration/{name}.json" for name in backends}
    cllr = {name: found for name, path in files.items() if path.exists()
            and (found := read_calibration(path).cllr) is not None}
    if not cllr:
        return [*backends], "the development set has too few speakers to compare back-ends"
    ranked = sorted(cllr, key=cllr.__getitem__)
    values = ", ".join(f"{name} {cllr[name]:.3f}" for name in ranked)
    return ([*ranked, *(name for name in backends if name not in cllr)],
            f"Cllr of development speakers held out, in bits: {values}")


def counts(train_dir: Path) -> dict[str, float]:
    """Speakers, utterances and hours of a data directory after stage 2."""
    speakers, seconds = read_table(train_dir / "utt2spk"), read_table(train_dir / "utt2dur")
    if not speakers:
        raise UserError(f"{train_dir}/utt2spk is empty")
    hours = sum(map(float, seconds.values())) / 3600
    return {"speakers": len(set(speakers.values())), "utterances": len(speakers), "hours": round(hours, 3)}
