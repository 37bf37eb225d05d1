"""The end of stage 5: the jobs' embeddings as one archive, and the speakers' means. Without importing torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from deepspeaker.datadir import read_lists
from deepspeaker.datadir.archive import read_vectors, write_vectors
from deepspeaker.extraction.parallel_jobs import job_file
from deepspeaker.scoring.enrolment import averaged, models_of, unit

NAME = "embedding"


def join_embeddings(data_dir: Path, out_dir: Path, jobs: int) -> str:
    """Join the jobs' embeddings, and average them by speaker; returns a line of counts."""
    parts = [job_file(out_dir / NAME, job) for job in range(1, jobs + 1)]
    embeddings = {name: vector for stem in parts for name, vector in read_vectors(f"{stem}.scp").items()}
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
