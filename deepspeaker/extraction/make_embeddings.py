"""Stage 5: features -> one archive of embeddings per job, which join_embeddings.py joins."""

from pathlib import Path

import torch

from deepspeaker.checkpoint import load_network
from deepspeaker.config import load_config
from deepspeaker.datadir.archive import write_vectors
from deepspeaker.extraction.embed import embed_set, sizes
from deepspeaker.extraction.feature_set import FeatureSet
from deepspeaker.extraction.join_embeddings import NAME
from deepspeaker.extraction.parallel_jobs import Reporter, job_file, job_share, progress_file
from deepspeaker.gpu import explained


def embed_share(checkpoint: Path, conf: Path | None, data_dir: Path, out_dir: Path, job: int, jobs: int,
                device: str) -> str:
    """Embed one job's utterances into OUT_DIR/embedding.JOB.{ark,scp}; returns a line of counts."""
    if device == "cpu":
        torch.set_num_threads(1)
    trained = load_network(checkpoint)
    config = trained.config
    if conf:
        config = config.model_copy(update={"embedding": load_config(conf).embedding})
    features = FeatureSet(data_dir, config.features)
    size = sizes(torch.device(device)).utterances  # whole blocks: the same bytes whatever the number of jobs
    blocks = job_share(range(0, len(features), size), job, jobs)
    mine = [i for start in blocks for i in range(start, min(start + size, len(features)))]
    reporter = Reporter(progress_file(out_dir, job), len(mine))
    embeddings = {}
    with explained("embed on CPUs (run.sh --gpus 0)", "what the stages before have made is kept"):
        for utterance, embedding in embed_set(trained.network.to(device), features, mine, config, torch.device(device)):
            embeddings[utterance] = embedding
            reporter.advance()
    write_vectors(job_file(out_dir / NAME, job), embeddings)
    return f"{len(embeddings)} utterances of {data_dir}"
