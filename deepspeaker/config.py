"""conf/*.toml -> frozen dataclasses: the only place where configuration becomes Python.

Every key without a default must be there, none may be unknown, each must have its type; the error names file, section
and key. The meaning and unit of each key stand as comments in conf/deep_speaker.toml.
"""

import inspect
import json
import os
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from types import UnionType

import torch

from deepspeaker.atomic import atomic
from deepspeaker.errors import UserError
from deepspeaker.losses import SoftmaxArguments, TripletArguments
from deepspeaker.losses.triplet import MINING
from deepspeaker.models import NETWORKS, build_network
from deepspeaker.scoring import BACKENDS
from deepspeaker.scoring.quality import QUALITIES


@dataclass(frozen=True)
class FeatureConfig:
    sample_rate: int
    num_mel_bins: int
    low_freq: float
    high_freq: float
    snip_edges: bool
    compress: bool
    vad: bool
    normalize: typing.Literal["mean", "mean_variance", "none"]


@dataclass(frozen=True)
class ModelConfig:
    name: str
    options: Mapping[str, object]


@dataclass(frozen=True)
class BatchConfig:
    speakers: int
    utterances: int
    min_frames: int
    max_frames: int
    speaker_weight: typing.Literal["even", "utterances"]


@dataclass(frozen=True)
class PhaseConfig(BatchConfig):
    """What both phases have."""

    epochs: int
    steps_per_epoch: int
    learning_rate: float
    final_learning_rate: float
    decay: typing.Literal["linear", "exponential"]
    warmup_steps: int
    margin: float

    def learning_rate_at(self, step: int) -> float:
        """Rising linearly over warmup_steps, then falling as `decay` says to final_learning_rate at the last step."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        last = self.epochs * self.steps_per_epoch - 1
        share = (step - self.warmup_steps) / max(1, last - self.warmup_steps)
        if self.decay == "exponential":
            return self.learning_rate * (self.final_learning_rate / self.learning_rate) ** share
        return self.learning_rate + share * (self.final_learning_rate - self.learning_rate)


@dataclass(frozen=True)
class SoftmaxConfig(PhaseConfig):
    margin_start_step: int
    margin_warmup_steps: int
    scale: float

    def loss_arguments(self, step: int) -> SoftmaxArguments:
        """The margin is 0 up to margin_start_step, and rises linearly over margin_warmup_steps, 0: at once."""
        past, rise = step - self.margin_start_step, self.margin_warmup_steps
        share = min(1.0, max(0.0, past / rise)) if rise else float(past >= 0)
        return SoftmaxArguments(share * self.margin, self.scale)


@dataclass(frozen=True)
class TripletConfig(PhaseConfig):
    mining: str
    schedule: list[str]

    def loss_arguments(self, step: int) -> TripletArguments:
        """The mining of the step's epoch: that of the last line of the schedule whose epoch has begun."""
        epoch, mining = step // self.steps_per_epoch + 1, self.mining
        for line in self.schedule:
            first, name = line.split()
            if epoch >= int(first):
                mining = name
        return TripletArguments(self.margin, mining)


@dataclass(frozen=True)
class TrainingConfig:
    optimizer: typing.Literal["sgd", "adamw"]
    momentum: float
    weight_decay: float
    max_gradient_norm: float
    average: int
    compile: bool
    deterministic: bool
    checkpoint_minutes: float


@dataclass(frozen=True)
class AugmentConfig:
    copies: list[typing.Literal["speed", "noise", "music", "babble", "reverb"]]
    speeds: list[float]
    time_mask: int
    frequency_mask: int


@dataclass(frozen=True)
class EmbeddingConfig:
    min_frames: int
    crops: int = 0
    crop_frames: int = 300


@dataclass(frozen=True)
class ScoringConfig:
    backends: list[str]
    cohort_top: int
    plda_transform: typing.Literal["lda", "whiten"]
    plda_dim: int
    calibration_prior: float
    qualities: list[str]


@dataclass(frozen=True)
class Config:
    features: FeatureConfig
    model: ModelConfig
    softmax: SoftmaxConfig
    triplet: TripletConfig
    training: TrainingConfig
    augment: AugmentConfig
    embedding: EmbeddingConfig
    scoring: ScoringConfig

    def as_tables(self) -> dict[str, dict]:
        """Nested plain dictionaries, as the TOML file has them."""
        tables = asdict(self)
        tables["model"] = {"name": self.model.name, **self.model.options}
        return tables


def load_config(path: str | os.PathLike) -> Config:
    """Read a TOML file; UserError names the key that is unknown, missing or of another type or value."""
    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file)
    except FileNotFoundError:
        raise UserError(f"no such configuration file: {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not TOML: {error}") from None
    return config_from_tables(tables, str(path))


def write_config(path: str | os.PathLike, config: Config) -> None:
    """Write a TOML file that load_config reads back; JSON's scalars and lists are TOML's."""
    with atomic(path) as file:
        for section, table in config.as_tables().items():
            file.write(f"[{section}]\n")
            file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
            file.write("\n")


def set_values(config: Config, changes: Sequence[str]) -> Config:
    """The Config with changes, each SECTION.KEY=VALUE, or SECTION={KEY=VALUE,...} in place of the whole section, with
    TOML values without blanks; UserError as load_config."""
    tables = config.as_tables()
    for change in changes:
        whole = "." not in change.partition("=")[0]
        try:
            for section, table in tomllib.loads(change).items():
                tables[section] = ({} if whole else tables.get(section, {})) | table
        except (tomllib.TOMLDecodeError, TypeError):
            raise UserError(f"expected SECTION.KEY=VALUE with a TOML value without blanks, found {change}") from None
    return config_from_tables(tables, " ".join(changes))


def config_from_tables(tables: Mapping[str, Mapping], where: str) -> Config:
    """The Config of nested dictionaries; `where` opens the error messages."""
    types = typing.get_type_hints(Config)
    _check_names(tables, types, f"{where}: section")
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UserError(f"{where}: {name} must be a section, found {table!r}")
    sections = {name: _model(tables[name], where) if name == "model" else _section(kind, tables[name], name, where)
                for name, kind in types.items()}
    config = Config(**sections)
    _check_values(config, where)
    return config


def _section(kind: type, table: dict, name: str, where: str):
    hints = typing.get_type_hints(kind)
    keys = {field.name: hints[field.name] for field in fields(kind)}
    defaults = {field.name: field.default for field in fields(kind) if field.default is not MISSING}
    return kind(**_typed(defaults | table, keys, f"{where}: [{name}]"))


def _model(table: Mapping, where: str) -> ModelConfig:
    options = dict(table)
    name = options.pop("name", None)
    if name not in NETWORKS:
        raise UserError(f"{where}: [model] name: no model {name!r}; there are: {', '.join(NETWORKS)}")
    arguments = inspect.signature(NETWORKS[name]).parameters.values()
    keys = {a.name: a.annotation for a in arguments if a.kind is a.KEYWORD_ONLY}
    return ModelConfig(name, _typed(options, keys, f"{where}: [model]"))


def _typed(table: Mapping, keys: Mapping[str, type], where: str) -> dict[str, object]:
    _check_names(table, keys, f"{where} key")
    return {key: _value(table[key], kind, f"{where} {key}") for key, kind in keys.items()}


def _check_names(found: Mapping, expected: Mapping, what: str) -> None:
    if unknown := sorted(set(found) - set(expected)):
        raise UserError(f"{what} {', '.join(unknown)} is unknown; there are: {', '.join(expected)}")
    if missing := [name for name in expected if name not in found]:
        raise UserError(f"{what} {', '.join(missing)} is missing")


def _value(value: object, kind: type | UnionType, where: str) -> object:
    if typing.get_origin(kind) is typing.Literal:
        if value not in typing.get_args(kind):
            raise UserError(f"{where}: found {value!r}, expected one of: {', '.join(typing.get_args(kind))}")
        return value
    if typing.get_origin(kind) is list:
        if not isinstance(value, list):
            raise UserError(f"{where}: expected a list, found {value!r}")
        return [_value(item, typing.get_args(kind)[0], where) for item in value]
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise UserError(f"{where}: expected {kind.__name__}, found {value!r}")
    return value


def _check_values(config: Config, where: str) -> None:
    """What no type can express: relations between values, and names that only the network knows."""
    features, scoring = config.features, config.scoring
    positive = {"[features] num_mel_bins": features.num_mel_bins, "[features] sample_rate": features.sample_rate,
                "[embedding] min_frames": config.embedding.min_frames,
                "[embedding] crop_frames": config.embedding.crop_frames, "[scoring] plda_dim": scoring.plda_dim}
    phases = {"softmax": config.softmax, "triplet": config.triplet}
    for name, phase in phases.items():
        positive |= {f"[{name}] {key}": getattr(phase, key)
                     for key in ("epochs", "steps_per_epoch", "speakers", "utterances", "min_frames")}
    for key, value in positive.items():
        if value < 1:
            raise UserError(f"{where}: {key}: expected at least 1, found {value}")
    for name, phase in phases.items():
        if phase.max_frames < phase.min_frames:
            raise UserError(f"{where}: [{name}] max_frames {phase.max_frames} < min_frames {phase.min_frames}")
        if phase.decay == "exponential" and not min(phase.learning_rate, phase.final_learning_rate) > 0:
            raise UserError(f"{where}: [{name}] decay: what falls exponentially is above 0, found learning_rate "
                            f"{phase.learning_rate}, final_learning_rate {phase.final_learning_rate}")
    if config.embedding.crops < 0:
        raise UserError(f"{where}: [embedding] crops: expected 0 (whole utterances) or more, found "
                        f"{config.embedding.crops}")
    if not 0 <= features.low_freq < (features.high_freq or features.sample_rate / 2) <= features.sample_rate / 2:
        raise UserError(f"{where}: [features] low_freq {features.low_freq} and high_freq {features.high_freq} "
                        f"must rise within 0..{features.sample_rate / 2} Hz")
    for key, names, table in (("backends", scoring.backends, BACKENDS), ("qualities", scoring.qualities, QUALITIES)):
        if unknown := [name for name in names if name not in table]:
            raise UserError(f"{where}: [scoring] {key}: no {', '.join(unknown)}; there are: {', '.join(table)}")
    if scoring.cohort_top < 2:
        raise UserError(f"{where}: [scoring] cohort_top: a deviation needs at least 2, found {scoring.cohort_top}")
    if not 0 < scoring.calibration_prior < 1:
        raise UserError(f"{where}: [scoring] calibration_prior: expected more than 0 and less than 1, found "
                        f"{scoring.calibration_prior}")
    if config.triplet.utterances < 2:
        raise UserError(f"{where}: [triplet] utterances: a positive pair needs at least 2, "
                        f"found {config.triplet.utterances}")
    _check_mining(config.triplet, where)
    try:
        with torch.device("meta"):
            build_network(config.features.num_mel_bins, config.model.name, config.model.options)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except Exception as error:  # torch raises whatever comes to it
        raise UserError(f"{where}: [model]: no network can be built of it: {str(error).splitlines()[0]}") from None


def _check_mining(triplet: TripletConfig, where: str) -> None:
    for line in [f"1 {triplet.mining}", *triplet.schedule]:
        epoch, _, name = line.partition(" ")
        if not epoch.isdecimal():
            raise UserError(f"{where}: [triplet] schedule: expected 'EPOCH MINING', found {line!r}")
        if name not in MINING:
            raise UserError(f"{where}: [triplet] mining: no mining {name!r}; there are: {', '.join(MINING)}")
    epochs = [int(line.split()[0]) for line in triplet.schedule]
    if epochs != sorted(set(epochs)):
        raise UserError(f"{where}: [triplet] schedule: epochs must rise, found {epochs}")
