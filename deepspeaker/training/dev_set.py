"""The development set: the EER of its trials, or the mean of several conditions, chooses the best epoch."""

from pathlib import Path
from statistics import fmean

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

CLEAN = "clean"  # the condition of the development set itself
CONDITION = "dev_eer_"  # in train.jsonl, the name of an EER in one of several conditions begins so


class DevelopmentSet:
    """A development set DIR, condition "clean", and its copies DIR_CONDITION in the conditions of [augment]
    dev_conditions.

    Trials of utterances that stage 2 could not read are left out. Raises UserError for copies that do not exist.
    """

    def __init__(self, directory: Path, config: Config):
        copies = {name: directory.with_name(f"{directory.name}_{name}") for name in config.augment.dev_conditions}
        if missing := [path for path in copies.values() if not path.is_dir()]:
            raise UserError(f"no {' and no '.join(map(str, missing))}, by which [augment] dev_conditions judges "
                            f"training: make these copies of {directory} first (stage 2)")
        self._conditions = {name: _Condition(path, config) for name, path in {CLEAN: directory, **copies}.items()}

    def eers(self, network: Network, device: torch.device) -> dict[str, float]:
        """The equal error rate in percent of cosine scores in each condition, "clean" first; the network must be in
        evaluation mode. Each of several processes embeds a part of the utterances."""
        return {name: condition.eer(network, device) for name, condition in self._conditions.items()}

    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each condition's features: `dev_features`, `dev_noise_features`, ..."""
        return {"dev_features" if name == CLEAN else f"dev_{name}_features": condition.features.fingerprint()
                for name, condition in self._conditions.items()}


def summary(eers: dict[str, float]) -> dict[str, float]:
    """The EERs as train.jsonl has them: `dev_eer`, their mean, and where there are several, each as `dev_eer_NAME`."""
    each = {f"{CONDITION}{name}": value for name, value in eers.items()} if len(eers) > 1 else {}
    return {"dev_eer": fmean(eers.values()), **each}


class _Condition:
    """The trials of a data directory and the features of their utterances."""

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
        mine = self._used[distributed.rank()::distributed.size()]
        found = np.stack([e for _, e in embed_set(network, self.features, mine, self._config, device)])
        embeddings = np.empty((len(self._used), found.shape[1]), np.float32)
        for rank, part in enumerate(distributed.gather_objects(found)):
            embeddings[rank::distributed.size()] = part
        first, second = embeddings[self._pairs].transpose(1, 0, 2)
        return 100 * eer(np.einsum("ne,ne->n", first, second), self._labels)
