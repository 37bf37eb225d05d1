"""WeSpeaker's config.yaml: the network that its weights belong to, and the front-end."""

import os
import reprlib
from typing import Any, NamedTuple

from deepspeaker.audio.frames import LENGTH_MS, SHIFT_MS
from deepspeaker.errors import UserError, first_line

MOST = 1_000_000  # no number of a network or a front-end is larger
SHOWN = 60  # characters of a value in a message
LARGEST = 1 << 20  # bytes; theirs have 2,000
FRONT_END = {"window": "hamming"}  # config.yaml does not say; samples as 16-bit integers, as Kaldi's
POOLING = ("TSTP", "ASTP")
FBANK_KEYS = {"frame_length": LENGTH_MS, "frame_shift": SHIFT_MS}  # values that are supported, in ms
TRAINING_ONLY = ("dither",)  # left out when embeddings are extracted


class Settings(NamedTuple):
    path: str
    model: str  # name of the network
    num_mel_bins: int
    embedding_dim: int
    pooling: str  # of POOLING
    last_norm: bool  # a batch normalisation behind the last layer
    sample_rate: int

    @property
    def features(self) -> dict[str, object]:
        """Keys of [features]."""
        return {"sample_rate": self.sample_rate, "num_mel_bins": self.num_mel_bins, **FRONT_END}

    def contradiction(self, key: str, found: object, weights: str, path: str) -> UserError:
        """An error that says how this configuration and the weights of `path` differ."""
        return UserError(f"{self.path}: {key} is {_short(found)}, but the weights of {path} have {weights}: the two "
                         "files do not belong together")


def needed(settings: Settings | None, path: str, what: str) -> Settings:
    """UserError where there are none."""
    if settings is None:
        raise UserError(f"{path} has the weights of {what}: add --config config.yaml, which lies beside them where "
                        "they come from")
    return settings


def read_settings(path: str) -> Settings:
    """UserError for a file that is not such a configuration, and for what is not supported, with its key."""
    content = _read(path)
    found = _Section(path, "", content)
    model = found.text("model")
    args = found.section("model_args")
    data = found.section("dataset_args" if "dataset_args" in content else "feature_args")
    fbank, cmvn = data.section("fbank_args", optional=True), data.section("cmvn_args", optional=True)
    older = found.section("feature_args", optional=True)
    bins = args.number("feat_dim")
    args.only("two_emb_layer", (False,))
    args.only("pooling_func", POOLING)
    args.only("emb_bn", (False, True))
    for section in (data, older):
        section.only("frontend", ("fbank",))
        section.only("cmvn", (True,))
    cmvn.only("norm_mean", (True,))
    cmvn.only("norm_var", (False,))
    fbank.only("num_mel_bins", (bins,))
    for key, value in FBANK_KEYS.items():
        fbank.only(key, (value,))
    fbank.no_other("num_mel_bins", *FBANK_KEYS, *TRAINING_ONLY)
    cmvn.no_other("norm_mean", "norm_var")
    rate = data.number("resample_rate") if "resample_rate" in data.content else 16000
    return Settings(path, model, bins, args.number("embed_dim"), str(args.content.get("pooling_func", "")),
                    args.content.get("emb_bn") is True, rate)


class _Section:
    """A part of the file. name: of the keys that lead to it, each with a dot behind."""

    def __init__(self, path: str, name: str, content: dict[str, Any]) -> None:
        self.path, self.name, self.content = path, name, content

    def _wrong(self, key: str, expected: str) -> UserError:
        found = _short(self.content[key]) if key in self.content else "nothing"
        return UserError(f"{self.path}: {self.name}{key}: expected {expected}, found {found}")

    def section(self, key: str, optional: bool = False) -> "_Section":
        found = self.content.get(key)
        found = {} if found is None and optional else found
        if not isinstance(found, dict):
            raise self._wrong(key, "a section, as WeSpeaker's config.yaml has it")
        return _Section(self.path, f"{self.name}{key}.", found)

    def text(self, key: str) -> str:
        if not isinstance(found := self.content.get(key), str):
            raise self._wrong(key, "a name")
        return found

    def number(self, key: str) -> int:
        found = self.content.get(key)
        if type(found) is not int or not 0 < found <= MOST:
            raise self._wrong(key, f"a whole number of 1 to {MOST}")
        return found

    def no_other(self, *known: str) -> None:
        """UserError for a key that is none of these."""
        if unknown := self.content.keys() - {*known}:
            raise UserError(f"{self.path}: {self.name}{min(map(_short, unknown))}: a front-end with this key is not "
                            "supported")

    def only(self, key: str, supported: tuple[object, ...]) -> None:
        """UserError where the key has another value than these; it may be missing."""
        found = self.content.get(key, supported[0])
        if not any(found == value and isinstance(found, bool) == isinstance(value, bool) for value in supported):
            raise self._wrong(key, f"{' or '.join(map(str, supported))}, which is all that is supported")


def _short(value: object) -> str:
    """A value for a message; aliases can make it larger than memory."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _read(path: str) -> dict[str, Any]:
    try:
        import yaml
    except ImportError:
        raise UserError("--config needs PyYAML: pip install pyyaml") from None

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # has no type hints
        def flatten_mapping(self, node: Any) -> None:
            """Merges ("<<"), which could grow without bounds, stay what they are: keys like others."""

    Loader.add_constructor("tag:yaml.org,2002:merge", Loader.construct_yaml_str)
    if not os.path.isfile(path):
        raise UserError(f"{path} is not a file" if os.path.exists(path) else f"no such file: {path}")
    if (size := os.path.getsize(path)) > LARGEST:
        raise UserError(f"{path}: expected a config.yaml, found {size} bytes, which is too much for one")
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.load(file, Loader)
    except OSError:
        raise
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}: not YAML{line}: {error.problem}") from None
    except Exception as error:  # yaml lets many kinds through
        raise UserError(f"{path}: not YAML in UTF-8: {first_line(error)}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected the sections of WeSpeaker's config.yaml, found {_short(content)}")
    return content
