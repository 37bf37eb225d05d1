"""Which parts of a configuration each stage depends on, and how two configurations differ. Needs no torch."""

from collections.abc import Mapping

WHEN_READ = ("vad", "normalize")  # [features] keys that archives do not depend on
CROPPED = ("crops", "crop_frames")  # [embedding] keys that embeddings depend on only if crops is above 0
WHEN_KEPT = "checkpoint_minutes"  # [training] key that no network depends on
TRAINED_WITH = ("features", "model", "training", "augment", "embedding")  # sections, and the phase's own


def stored(features: Mapping[str, object]) -> dict[str, object]:
    """The keys of [features] that archives depend on."""
    return {key: value for key, value in features.items() if key not in WHEN_READ}


def embedded_with(embedding: Mapping[str, object]) -> dict[str, object]:
    """The keys of [embedding] that embeddings depend on."""
    return {key: value for key, value in embedding.items() if embedding.get("crops") or key not in CROPPED}


def trained_with(tables: Mapping[str, Mapping], phase: str) -> dict[str, Mapping]:
    """What the training of a phase depends on of a configuration's sections."""
    found = {name: {key: value for key, value in tables.get(name, {}).items() if key != WHEN_KEPT}
             for name in (*TRAINED_WITH, phase)}
    return found | {"embedding": embedded_with(found["embedding"])}


def differences(old: Mapping, new: Mapping, prefix: str = "") -> list[str]:
    """`section.key: old -> new` for every value that differs between two nested dictionaries."""
    found = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}: {a!r} -> {b!r}")
    return found
