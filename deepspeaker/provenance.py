"""Which parts of a configuration each stage depends on, and how two configurations differ. Does not import torch."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

LATER = {"window": "povey", "mel_floor": 2.0 ** -23}  # [features] keys that older files lack, and what they mean there
WHEN_READ = ("vad", "normalize")  # [features] keys that archives do not depend on
SAMPLED = ("sample_rate", "snip_edges")  # [features] keys that sound and its voice activity depend on
CROPPED = ("crops", "crop_frames")  # [embedding] keys that matter only if crops is above 0
LENGTH = "plda_normalize_length"  # [scoring] key that, where false, scores do not depend on: older files lack it
ONLINE = ("online", "speed", "reverb", "noise", "music", "babble", "telephone", "noise_snr", "music_snr",
          "babble_snr")  # [augment] keys that matter only if `online` is true; older files lack them
CONDITIONS = "dev_conditions"  # [augment] key that, where empty, training does not depend on: older files lack it
WHEN_KEPT = "checkpoint_minutes"  # [training] key that no network depends on
FROZEN = "frozen_norms"  # [training] key that, where false, no network depends on: older files lack it
TRAINED_WITH = ("features", "model", "training", "augment", "embedding")  # sections, besides the phase's own


def front_end(features: Mapping[str, object]) -> dict[str, object]:
    """The keys of [features] that what a network sees depends on."""
    return {key: value for key, value in features.items() if key not in LATER or value != LATER[key]}


def stored(features: Mapping[str, object]) -> dict[str, object]:
    """The keys of [features] that archives depend on."""
    return {key: value for key, value in front_end(features).items() if key not in WHEN_READ}


def sampled(features: Mapping[str, object]) -> dict[str, object]:
    """The keys of [features] that archives of sound, and its voice activity, depend on."""
    return {key: value for key, value in features.items() if key in SAMPLED}


def embedded_with(embedding: Mapping[str, object]) -> dict[str, object]:
    """The keys of [embedding] that embeddings depend on."""
    return {key: value for key, value in embedding.items() if embedding.get("crops") or key not in CROPPED}


def scored_with(scoring: Mapping[str, object]) -> dict[str, object]:
    """The keys of [scoring] that scores depend on."""
    return {key: value for key, value in scoring.items() if value or key != LENGTH}


def augmented_with(augment: Mapping[str, object]) -> dict[str, object]:
    """The keys of [augment] that training depends on."""
    return {key: value for key, value in augment.items()
            if (augment.get("online") or key not in ONLINE) and (value or key != CONDITIONS)}


def trained_with(tables: Mapping[str, Mapping[str, object]], phase: str) -> dict[str, Mapping[str, object]]:
    """The part of a configuration that the training of a phase depends on."""
    found: dict[str, Mapping[str, object]] = {
        name: {key: value for key, value in tables.get(name, {}).items()
               if key != WHEN_KEPT and (value or key != FROZEN)}
        for name in (*TRAINED_WITH, phase)}
    return found | {"features": front_end(found["features"]), "embedding": embedded_with(found["embedding"]),
                    "augment": augmented_with(found["augment"])}


class Change(NamedTuple):
    """A value that differs between two nested dictionaries."""

    path: tuple[str, ...]  # section, key
    old: object  # None where there is no such key
    new: object

    @property
    def key(self) -> str:
        return self.path[-1]


def changes(old: Mapping[str, object], new: Mapping[str, object], path: tuple[str, ...] = ()) -> Iterator[Change]:
    """Every value that differs, in the order of the keys."""
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from changes(a, b, (*path, key))
        elif a != b:
            yield Change((*path, key), a, b)


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """`section.key: old -> new` for every value that differs."""
    return [f"{'.'.join(change.path)}: {change.old!r} -> {change.new!r}" for change in changes(old, new)]
