"""How configurations are checked: types and ranges by pydantic, whose errors are reworded here, and names against the
tables of networks, losses and back-ends."""

import inspect
import math
import re
import warnings
from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Any, TypeVar

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, create_model

from deepspeaker.audio.frames import fft_size, frame_sizes
from deepspeaker.corpus.augmented_copies import CONDITIONS, FASTEST, KINDS, SLOWEST
from deepspeaker.errors import UserError, examples, first_line, one_line
from deepspeaker.losses.triplet import MINING
from deepspeaker.models.networks import NETWORKS, build_network
from deepspeaker.scoring.backends import AUTO, BACKENDS
from deepspeaker.scoring.quality import QUALITIES

MOST_PHASES = 200  # of the filter that changes the speed: the largest denominator of a speed
NAMES = {"extra_forbidden": "unknown", "missing": "missing"}  # pydantic's errors about keys, not values
EXPECTED = {"int_type": "int", "float_type": "float", "bool_type": "bool", "string_type": "str", "list_type": "a list",
            "finite_number": "a finite number", "greater_than_equal": "at least {ge:g}",
            "greater_than": "more than {gt:g}", "less_than": "less than {lt:g}",
            "less_than_equal": "at most {le:g}",
            "too_short": "a list of at least {min_length}"}


class Table(BaseModel):
    """Refuses unknown keys and wrong types, but accepts an int where a float is expected."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


T = TypeVar("T")
Kind = TypeVar("Kind", bound=Table)


def checked(kind: type[Kind], tables: Mapping[str, Any], where: str) -> Kind:
    """Sections -> an object of class `kind`, a field per section; UserError, which begins with `where`, names every
    fault."""
    try:
        return kind.model_validate(tables)
    except ValidationError as error:
        raise UserError(one_line(f"{where}: {_in_words(error, kind)}")) from None


def network_options(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The checked keys of [model] without `name`: the keyword-only arguments of the network, without those at their
    defaults, which older files lack."""
    name = table.get("name")
    if not isinstance(name, str) or name not in NETWORKS:
        raise UserError(f"{where}: [model] name: no network {name!r}; there are: {', '.join(NETWORKS)}")
    arguments = inspect.signature(NETWORKS[name]).parameters.values()
    keys: dict[str, Any] = {a.name: (a.annotation, ... if a.default is a.empty else a.default)
                            for a in arguments if a.kind is a.KEYWORD_ONLY}
    section = create_model("Section", __base__=Table, name=(str, ...), **keys)
    tables = checked(create_model("Tables", __base__=Table, model=(section, ...)), {"model": table}, where)
    options: dict[str, Any] = tables.model_dump(exclude_defaults=True)["model"]
    return {key: options[key] for key in keys if key in options}


def try_to_build(num_mel_bins: int, name: str, options: Mapping[str, Any], where: str) -> None:
    """Build the network without memory for its weights; UserError if it cannot be built, or lacks some weights."""
    for key, value in options.items():
        if any(type(number) is int and number < 0 for number in (value if isinstance(value, list) else [value])):
            raise UserError(f"{where}: [model] {key}: expected at least 0, found {value}")
    try:
        with warnings.catch_warnings(action="ignore"), torch.device("meta"):  # torch warns of empty weights
            network = build_network(num_mel_bins, name, options)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except Exception as error:  # torch raises many kinds
        raise UserError(f"{where}: [model]: no network can be built from these values: {first_line(error)}") from None
    if empty := [name for name, weights in network.named_parameters() if weights.numel() == 0]:
        raise UserError(f"{where}: [model]: these values leave {examples(empty)} without weights: expected sizes above "
                        "0")


def at_least(least: int, why: str) -> AfterValidator:
    """Validator: an int of at least `least`; `why` opens the message."""
    def check(value: int) -> int:
        if value < least:
            raise ValueError(f"{why} at least {least}, found {value}")
        return value

    return AfterValidator(check)


def probability(value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(f"expected more than 0 and less than 1, found {value}")
    return value


def rising_pair(values: list[float]) -> list[float]:
    """Validator: a lower and an upper end."""
    if len(values) != 2 or values[0] > values[1]:
        raise ValueError(f"expected the lower and the upper end, found {values}")
    return values


def as_fraction(speed: float) -> Fraction:
    """A speed as a fraction of small numbers: 1.1 is 11/10."""
    return Fraction(str(speed)).limit_denominator(MOST_PHASES)


def usable_speed(speed: float) -> float:
    """Validator: a speed that copies and windows may have; NaN is none."""
    if not SLOWEST <= speed <= FASTEST or as_fraction(speed) == 1:
        raise ValueError(f"expected {SLOWEST:g} to {FASTEST:g} and other than 1, found {speed!r}")
    return speed


def distinct_speeds(speeds: list[float]) -> list[float]:
    """Validator: each makes other speakers."""
    for number, speed in enumerate(speeds):
        if alike := [other for other in speeds[:number] if as_fraction(other) == as_fraction(speed)]:
            raise ValueError(f"expected speeds that differ, found {alike[0]!r} and {speed!r}")
    return speeds


def distinct(values: list[T]) -> list[T]:
    """Validator: no value comes twice."""
    if twice := [value for number, value in enumerate(values) if value in values[:number]]:
        raise ValueError(f"expected each value once, found {twice[0]!r} twice")
    return values


def refuse_empty_filters(sample_rate: int, num_mel_bins: int, low_freq: float, high_freq: float) -> None:
    """ValueError for a mel filter without an FFT bin strictly between its ends: its value would never change.

    low_freq, high_freq: Hz, as compute_fbank takes them.
    """
    size = fft_size(frame_sizes(sample_rate)[0])
    width = sample_rate / size  # Hz from one FFT bin to the next
    low, high = _mel(low_freq), _mel(high_freq or sample_rate / 2)

    def empty(filters: int) -> tuple[float, float] | None:
        """The ends of the first of so many filters that is empty, in mel."""
        step = (high - low) / (filters + 1)
        ends = ((low + step * place, low + step * (place + 2)) for place in range(filters))
        return next((pair for pair in ends if not covers(*pair)), None)

    def covers(left: float, right: float) -> bool:
        nearest = math.floor(_hertz(left) / width)
        return any(left < _mel(number * width) < right for number in range(nearest, min(nearest + 3, size // 2)))

    if not (found := empty(num_mel_bins)):
        return
    # an FFT bin lies in at most two filters
    most = next((filters for filters in range(min(num_mel_bins - 1, size), 0, -1) if not empty(filters)), 0)
    band = f"{low_freq:g}..{_hertz(high):g} Hz"
    advice = f"at most {most} bins" if most else f"widen low_freq..high_freq, {band}"
    raise ValueError(f"num_mel_bins = {num_mel_bins}: no FFT bin ({width:g} Hz apart) lies within the filter from "
                     f"{_hertz(found[0]):.1f} to {_hertz(found[1]):.1f} Hz; {advice}")


def _mel(hertz: float) -> float:
    return 1127.0 * math.log1p(hertz / 700.0)


def _hertz(mel: float) -> float:
    return 700.0 * math.expm1(mel / 1127.0)


def known_copy(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"found {kind!r}, expected one of: {', '.join(KINDS)}")
    return kind


def known_condition(name: str) -> str:
    return _known(name, CONDITIONS, f"condition {name!r}")


def known_mining(name: str) -> str:
    return _known(name, MINING, f"mining {name!r}")


def auto_alone(found: object) -> object:
    """Validator: "auto" may stand without a list."""
    return [AUTO] if found == AUTO else found


def known_backends(names: list[str]) -> list[str]:
    """Validator: names of back-ends, or AUTO alone."""
    return names if names == [AUTO] else [_known(name, BACKENDS, name) for name in names]


def known_quality(name: str) -> str:
    return _known(name, QUALITIES, name)


def rising_schedule(lines: list[str]) -> list[str]:
    """Validator: lines 'EPOCH MINING' whose epochs rise."""
    for line in lines:
        epoch, _, mining = line.partition(" ")
        if not epoch.isdecimal():
            raise ValueError(f"expected 'EPOCH MINING', found {line!r}")
        known_mining(mining)
    epochs = [int(line.split()[0]) for line in lines]
    if epochs != sorted(set(epochs)):
        raise ValueError(f"epochs must rise, found {epochs}")
    return lines


def _known(name: str, names: Collection[str], shown: str) -> str:
    if name not in names:
        raise ValueError(f"no {shown}; there are: {', '.join(names)}")
    return name


def _in_words(error: ValidationError, kind: type[BaseModel]) -> str:
    """Pydantic's findings as `[section] key: expected ..., found ...`, joined by semicolons."""
    details: list[dict[str, Any]] = [dict(detail) for detail in error.errors()]
    keys: dict[tuple[str, tuple[Any, ...]], list[str]] = {}
    for detail in sorted(details, key=lambda detail: str(detail["type"])):  # unknown keys before missing ones
        if detail["type"] in NAMES:
            keys.setdefault((NAMES[detail["type"]], detail["loc"][:-1]), []).append(detail["loc"][-1])
    names = [_about_keys(kind, section, found, state) for (state, section), found in keys.items()]
    return "; ".join([*names, *(_about_value(detail) for detail in details if detail["type"] not in NAMES)])


def _about_keys(kind: type[BaseModel], section: tuple[Any, ...], found: list[str], state: str) -> str:
    what = f"[{section[0]}] key" if section else "section"
    table: Any = kind.model_fields[section[0]].annotation if section else kind
    return f"{what} {', '.join(found)} is {state}; there are: {', '.join(table.model_fields)}"


def _about_value(detail: dict[str, Any]) -> str:
    section, *key = detail["loc"]
    where = f"[{section}] {key[0]}: " if key else f"[{section}] "
    found = repr(detail["input"])
    match detail["type"]:
        case "model_type":
            return f"{section} must be a section, found {found}"
        case "value_error":  # raised by our own validators, with a whole sentence
            return f"{where}{detail['ctx']['error']}"
        case "literal_error":
            allowed = re.findall("'(.*?)'", detail["ctx"]["expected"])
            return f"{where}found {found}, expected one of: {', '.join(allowed)}"
    expected = EXPECTED.get(detail["type"], detail["msg"]).format(**detail.get("ctx", {}))
    return f"{where}expected {expected}, found {found}"
