"""Configuration files -> frozen, checked objects: the only place where configuration becomes Python.

Every key is required, unknown keys are refused, and types and ranges are checked; the error names file, section and
key. The meaning and unit of each key are explained in egs/voxceleb/conf/deep_speaker.toml.
"""

import json
import math
import os
import tomllib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from deepspeaker.atomic import atomic
from deepspeaker.audio.frames import FLOOR, RATES
from deepspeaker.conf_files import Tables, read_tables
from deepspeaker.config_checks import (
    Table,
    at_least,
    auto_alone,
    checked,
    distinct,
    distinct_speeds,
    known_backends,
    known_condition,
    known_copy,
    known_mining,
    known_quality,
    network_options,
    probability,
    refuse_empty_filters,
    rising_pair,
    rising_schedule,
    try_to_build,
    usable_speed,
)
from deepspeaker.corpus.augmented_copies import SCPS
from deepspeaker.errors import UserError
from deepspeaker.losses import LossArguments
from deepspeaker.losses.softmax import SoftmaxArguments, margin_at
from deepspeaker.losses.triplet import TripletArguments, mining_at

Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]  # 0 switches it off
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
FILTERBANK = ("sample_rate", "num_mel_bins", "low_freq", "high_freq", "window", "mel_floor")
RAREST = 1e-6  # rarer speeds have no weight beside 1
Decibels = Annotated[list[Annotated[float, Field(ge=-50, le=100)]], AfterValidator(rising_pair)]


class FeatureConfig(Table):
    sample_rate: Annotated[int, Field(ge=RATES[0], le=RATES[1])]
    num_mel_bins: Count
    low_freq: float
    high_freq: float
    snip_edges: bool
    compress: bool
    vad: bool
    normalize: Literal["mean", "mean_variance", "none"]
    window: Literal["povey", "hamming"] = "povey"  # defaults for older checkpoints and files, which lack these two keys
    mel_floor: Annotated[float, Field(ge=FLOOR)] = FLOOR

    @property
    def filterbank(self) -> dict[str, Any]:
        """The keyword arguments of fbank_of_frames (extraction/fbank.py)."""
        return self.model_dump(include=set(FILTERBANK))

    @model_validator(mode="after")
    def _band_rises(self) -> Self:
        nyquist = self.sample_rate / 2
        if not 0 <= self.low_freq < (self.high_freq or nyquist) <= nyquist:
            raise ValueError(f"low_freq {self.low_freq} and high_freq {self.high_freq} must rise within "
                             f"0..{nyquist} Hz")
        return self

    @model_validator(mode="after")
    def _no_filter_is_empty(self) -> Self:
        refuse_empty_filters(self.sample_rate, self.num_mel_bins, self.low_freq, self.high_freq)
        return self


class ModelConfig(Table):
    name: str
    options: dict[str, Any]  # the keyword-only arguments of the network


class BatchConfig(Table):
    speakers: Count
    utterances: Count
    min_frames: Count
    max_frames: int
    speaker_weight: Literal["even", "utterances"]

    @model_validator(mode="after")
    def _lengths_rise(self) -> Self:
        if self.max_frames < self.min_frames:
            raise ValueError(f"max_frames {self.max_frames} < min_frames {self.min_frames}")
        return self


class PhaseConfig(BatchConfig):
    """The keys that [softmax] and [triplet] share."""

    epochs: Count
    steps_per_epoch: Count
    learning_rate: NotNegative
    final_learning_rate: NotNegative
    decay: Literal["linear", "exponential"]
    warmup_steps: CountOrNone
    margin: NotNegative

    @model_validator(mode="after")
    def _decay_is_possible(self) -> Self:
        if self.decay == "exponential" and not min(self.learning_rate, self.final_learning_rate) > 0:
            raise ValueError("decay: an exponential decay needs rates above 0, found learning_rate "
                             f"{self.learning_rate}, final_learning_rate {self.final_learning_rate}")
        return self

    @abstractmethod
    def loss_arguments(self, step: int) -> LossArguments:
        """The arguments of the phase's loss at a step, counted from 0."""

    def learning_rate_at(self, step: int) -> float:
        """Rises linearly over warmup_steps, then decays to final_learning_rate at the last step."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        last = self.epochs * self.steps_per_epoch - 1
        share = (step - self.warmup_steps) / max(1, last - self.warmup_steps)
        if self.decay == "exponential":
            return float(self.learning_rate * (self.final_learning_rate / self.learning_rate) ** share)
        return self.learning_rate + share * (self.final_learning_rate - self.learning_rate)


class SoftmaxConfig(PhaseConfig):
    margin_start_step: CountOrNone
    margin_warmup_steps: CountOrNone
    scale: Positive

    def loss_arguments(self, step: int) -> SoftmaxArguments:
        margin = margin_at(step, self.margin, self.margin_start_step, self.margin_warmup_steps)
        return SoftmaxArguments(margin, self.scale)


class TripletConfig(PhaseConfig):
    utterances: Annotated[int, at_least(2, "a positive pair needs")]
    mining: Annotated[str, AfterValidator(known_mining)]
    schedule: Annotated[list[str], AfterValidator(rising_schedule)]

    def loss_arguments(self, step: int) -> TripletArguments:
        epoch = step // self.steps_per_epoch + 1
        return TripletArguments(self.margin, mining_at(epoch, self.mining, self.schedule))


class TrainingConfig(Table):
    optimizer: Literal["sgd", "adamw"]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: NotNegative
    max_gradient_norm: Positive
    average: CountOrNone
    compile: bool
    deterministic: bool
    checkpoint_minutes: NotNegative
    frozen_norms: bool = False  # the default is for older checkpoints and files, which lack this key


class AugmentConfig(Table):
    copies: Annotated[list[Annotated[str, AfterValidator(known_copy)]], AfterValidator(distinct)]
    speeds: Annotated[list[Annotated[float, AfterValidator(usable_speed)]], AfterValidator(distinct_speeds)]
    time_mask: CountOrNone
    frequency_mask: CountOrNone
    online: bool = False  # from here on the defaults are for older checkpoints and files, which lack these keys
    speed: Probability = 0.0
    reverb: Probability = 0.0
    noise: Probability = 0.0
    music: Probability = 0.0
    babble: Probability = 0.0
    telephone: Probability = 0.0
    noise_snr: Decibels = [0.0, 15.0]
    music_snr: Decibels = [5.0, 15.0]
    babble_snr: Decibels = [13.0, 20.0]
    dev_conditions: Annotated[list[Annotated[str, AfterValidator(known_condition)]], AfterValidator(distinct)] = []

    @model_validator(mode="after")
    def _sounds_are_alternatives(self) -> Self:
        if (together := math.fsum((self.noise, self.music, self.babble))) > 1:
            raise ValueError(f"noise, music and babble: a window gets one of them at most, found probabilities whose "
                             f"sum is {together:g}, more than 1")
        if 0 < self.speed < RAREST:
            raise ValueError(f"speed: expected 0 or at least {RAREST:g}, found {self.speed:g}")
        if self.speed and not self.speeds:
            raise ValueError("speed: windows at another speed need speeds")
        if self.online and self.speed and "speed" in self.copies:
            raise ValueError("speed and the copies 'speed' make the same new speakers twice: take one of them")
        return self

    @property
    def sounds_needed(self) -> list[str]:
        """The kinds of sounds that windows are changed with (batches/sound_bank.py)."""
        return [kind for kind in SCPS if self.online and getattr(self, kind)]


class EmbeddingConfig(Table):
    min_frames: Count
    crops: CountOrNone = 0  # defaults for older checkpoints, which lack these two keys
    crop_frames: Count = 300


class ScoringConfig(Table):
    backends: Annotated[list[str], BeforeValidator(auto_alone), AfterValidator(known_backends), Field(min_length=1)]
    cohort_top: Annotated[int, at_least(2, "a deviation needs")]
    plda_transform: Literal["lda", "whiten"]
    plda_dim: Count
    plda_normalize_length: bool = False  # the default is for older checkpoints and files, which lack this key
    calibration_prior: Annotated[float, AfterValidator(probability)]
    qualities: list[Annotated[str, AfterValidator(known_quality)]]


class Config(Table):
    features: FeatureConfig
    model: ModelConfig
    softmax: SoftmaxConfig
    triplet: TripletConfig
    training: TrainingConfig
    augment: AugmentConfig
    embedding: EmbeddingConfig
    scoring: ScoringConfig

    def as_tables(self) -> Tables:
        """Nested plain dictionaries, as the TOML file has them."""
        return self.model_dump() | {"model": {"name": self.model.name, **self.model.options}}


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read a TOML file and its bases; UserError names each key that is unknown, missing or has a wrong value."""
    return config_from_tables(read_tables(path), str(path))


def write_config(path: str | os.PathLike[str], config: Config) -> None:
    """Write a TOML file that load_config reads back; scalars and lists are written alike in JSON and TOML."""
    with atomic(path) as file:
        for section, table in config.as_tables().items():
            file.write(f"[{section}]\n")
            file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
            file.write("\n")


def set_values(config: Config, changes: Sequence[str]) -> Config:
    """The Config with changes: each sets one key, SECTION.KEY=VALUE, or replaces a section, SECTION={KEY=VALUE,...}.
    Values are TOML without blanks. UserError as load_config."""
    tables = config.as_tables()
    for change in changes:
        whole = "." not in change.partition("=")[0]
        try:
            sections = tomllib.loads(change)
            for section, table in sections.items():
                tables[section] = ({} if whole else tables.get(section, {})) | table
            if not sections:  # a comment
                raise ValueError
        except (ValueError, TypeError, RecursionError):
            raise UserError(f"expected SECTION.KEY=VALUE with VALUE in TOML, without blanks, found {change}") from None
    return config_from_tables(tables, " ".join(changes))


def config_from_tables(tables: Mapping[str, Any], where: str) -> Config:
    """The Config of nested dictionaries; error messages begin with `where`."""
    if isinstance(network := tables.get("model"), Mapping):
        options = network_options(network, where)
        tables = {**tables, "model": {"name": network["name"], "options": options}}
    config = checked(Config, tables, where)
    try_to_build(config.features.num_mel_bins, config.model.name, config.model.options, where)
    return config
