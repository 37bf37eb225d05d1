"""The development set: the EER of its trials after each epoch chooses the best one."""

from pathlib import Path

import numpy as np
import torch

from deepspeaker.config import Config
from deepspeaker.datadir.trials import read_trials
from deepspeaker.errors import UserError
from deepspeaker.extraction.embed import embed_set
from deepspeaker.extraction.feature_set import FeatureSet
from deepspeaker.metrics.describe import eer
from deepspeaker.models.base import Network
from deepspeaker.training import distributed


class DevelopmentSet:
    """The trials of a data directory and the features of their utterances.

    Trials of utterances that stage 2 could not read are left out.
    """

    def __init__(self, directory: Path, config: Config):
        self.features, self._config = FeatureSet(directory, config.features), config
        position = {name: i for i, name in enumerate(self.features.utterances)}
        trials = [t for t in read_trials(directory / "trials") if t.first in position and t.second in position]
        if not trials:
            raise UserError(f"{directory}: no trial of {directory}/trials names utterances that have features")
        self._labels = np.array([t.target for t in trials])
        pairs = np.array([(position[t.first], position[t.second]) for t in trials])
        self._used, index = np.unique(pairs, return_inverse=True)
        self._pairs = index.reshape(-1, 2)

    def eer(self, network: Network, device: torch.device) -> float:
        """Equal error rate in percent of cosine scores; the network must be in evaluation mode. Each of several
        processes embeds a part of the utterances."""
        mine = self._used[distributed.rank()::distributed.size()]
        found = np.stack([e for _, e in embed_set(network, self.features, mine, self._config, device)])
        embeddings = np.empty((len(self._used), found.shape[1]), np.float32)
        for rank, part in enumerate(distributed.gather_objects(found)):
            embeddings[rank::distributed.size()] = part
        first, second = embeddings[self._pairs].transpose(1, 0, 2)
        return 100 * eer(np.einsum("ne,ne->n", first, second), self._labels)
