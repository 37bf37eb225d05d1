"""Stage 5: features -> archives of embeddings, in jobs that are joined at the end."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from deepspeaker.archive import read_vectors, write_vectors
from deepspeaker.checkpoint import load_model
from deepspeaker.config import load_config
from deepspeaker.datadir import read_lists
from deepspeaker.dataset import FeatureSet
from deepspeaker.embedding import embed_set
from deepspeaker.jobs import merge, part, share
from deepspeaker.progress import Reporter
from deepspeaker.scoring.enrolment import averaged, models_of, unit

NAME = "embedding"


def embed_share(checkpoint: Path, conf: Path | None, data_dir: Path, out_dir: Path, job: int, jobs: int,
                device: str) -> str:
    """Embed one job's utterances into OUT_DIR/embedding.JOB.{ark,scp}; returns a line of counts."""
    if device == "cpu":
        torch.set_num_threads(1)
    trained = load_model(checkpoint)
    config = trained.config
    if conf:
        config = dataclasses.replace(config, embedding=load_config(conf).embedding)
    features = FeatureSet(data_dir, config.features)
    mine = share(range(len(features)), job, jobs)
    reporter = Reporter(out_dir / f"progress.{job}", len(mine))
    embeddings = {}
    for utterance, embedding in embed_set(trained.model.to(device), features, mine, config, torch.device(device)):
        embeddings[utterance] = embedding
        reporter.advance()
    write_vectors(part(out_dir / NAME, job), embeddings)
    return f"{len(embeddings)} utterances of {data_dir}"


def join_shares(data_dir: Path, out_dir: Path, jobs: int) -> str:
    """Join the jobs' embeddings, and average them by speaker; returns a line of counts."""
    parts = [part(out_dir / NAME, job) for job in range(1, jobs + 1)]
    embeddings = merge(read_vectors(f"{stem}.scp") for stem in parts)
    speakers = speaker_means(read_lists(data_dir / "spk2utt"), embeddings)
    write_vectors(out_dir / NAME, embeddings)
    write_vectors(out_dir / f"spk_{NAME}", speakers)
    for stem in parts:
        Path(f"{stem}.scp").unlink()
        Path(f"{stem}.ark").unlink()
    size = next(iter(embeddings.values())).size
    return f"{out_dir}: {len(embeddings)} embeddings of {size} dimensions, {len(speakers)} speakers"


def speaker_means(spk2utt: Mapping[str, Sequence[str]], embeddings: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Speaker -> mean of its utterances' embeddings, brought to length one; of speakers that have any."""
    found = {speaker: [u for u in utterances if u in embeddings] for speaker, utterances in spk2utt.items()}
    found = {speaker: utterances for speaker, utterances in found.items() if utterances}
    position = {utterance: row for row, utterance in enumerate(embeddings)}
    means = unit(averaged(np.stack([*embeddings.values()]), models_of(found.values(), position)))
    return dict(zip(found, means, strict=True))
