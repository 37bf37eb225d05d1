"""The parts of each stage of run.sh: their inputs, settings and outputs. Does not import torch."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deepspeaker.conf_files import Tables, names, read_tables
from deepspeaker.corpus.augmented_copies import CONDITIONS, KINDS, MADE, SCPS, training_set
from deepspeaker.datadir import archives, read_table
from deepspeaker.errors import UserError
from deepspeaker.provenance import augmented_with, embedded_with, sampled, scored_with, stored, trained_with
from deepspeaker.recipe.phases import ALL, TRAINED, networks
from deepspeaker.recipe.records import FOLDER, Part, relative

AUDIO = ("wav.scp", "segments", "reco2file_and_channel", "augment")
MEASURED = ("utt2num_frames", "utt2dur", "frame_shift", "utt2quality")
FEATURES = ("feats.scp", "vad.scp", *MEASURED, "feats_conf.json")
SOUND = ("sound.scp", "vad.scp", *MEASURED, "sound_conf.json")  # what training on windows out of sound reads
EMBEDDINGS = ("embedding.scp", "embedding.ark", "spk_embedding.scp", "spk_embedding.ark")
SECTIONS = ("features", "augment", "embedding", "scoring")  # sections that every configuration must have
SOUNDS = "2/sounds/"  # parts of stage 2 that make a kind of sounds begin so
COPY = "2/copy/"  # parts of stage 2 that make a copy of dev or of a test set in a condition begin so
TOP = 100  # files directly in a corpus's folder; if there are more, only their names are compared


class Recipe(NamedTuple):
    """The options of a run of run.sh, resolved."""

    dir: Path
    exp: Path
    tables: Tables  # the configuration
    corpus: str
    corpus_opts: str
    root: Path
    augment: str
    musan: str
    rirs: str
    seed: int
    init: str  # network that the first of the phases starts from; "": random weights
    start: Path  # network that the triplet phase starts from
    backends: str
    learnt_from: str  # "train" if a back-end learns from the training set's embeddings, else ""
    conditions: str = ""  # the test sets are scored in these, too
    processes: int = 1  # that share each batch
    phases: str = ALL  # that are trained

    @property
    def data(self) -> Path:
        return self.dir / "data"

    @property
    def train(self) -> Path:
        return training_set(self.data / "train", self.augment)

    @property
    def online(self) -> bool:
        """Whether training cuts its windows out of sound."""
        return bool(self.phases and self.tables["augment"].get("online"))

    @property
    def networks(self) -> dict[str, Path]:
        """Phase -> its network."""
        return networks(self.exp, self.phases, self.init)

    @property
    def sounds(self) -> Path:
        """The folder of what these windows are changed with, and copies without recorded sounds."""
        return self.dir / "sounds/train"

    @property
    def online_kinds(self) -> list[str]:
        """Kinds of sounds that windows are changed with."""
        return [kind for kind in SCPS if self.online and self.tables["augment"].get(kind)]

    @property
    def made_kinds(self) -> list[str]:
        """Kinds of copies for which the recipe makes sounds itself."""
        return [kind for kind in self.augment.split() if kind in MADE and not self.source(kind)]

    def source(self, kind: str) -> str:
        """The folder given for a kind of sounds; "" for none."""
        return {"musan": self.musan, "rirs": self.rirs}[KINDS[kind]]

    def archived(self, kinds: Iterable[str]) -> list[Path]:
        """The files of these kinds of sounds that are there."""
        scps = [self.sounds / SCPS[kind] for kind in kinds]
        return [path for scp in scps for path in (scp, scp.with_suffix(".ark")) if path.is_file()]

    @property
    def dev_conditions(self) -> list[str]:
        """Training is judged by dev's copies in these."""
        found: list[str] = self.tables["augment"].get("dev_conditions", [])
        return found

    @property
    def dev_sets(self) -> list[str]:
        """Dev and its copies in these conditions."""
        return ["dev", *(f"dev_{condition}" for condition in self.dev_conditions)]

    def sets(self, *trained: str) -> list[str]:
        """Names of the data directories: those of `trained` that exist, and every test set."""
        names = [name for name in trained if (self.data / name).is_dir()]
        return names + sorted(path.name for path in self.data.glob("test*") if path.is_dir())

    def part(self, name: str, inputs: Iterable[Path], settings: Mapping[str, object], outputs: Iterable[Path],
             *paths: Path | str) -> Part:
        folder = (self.data if name[0] in "12" else self.exp) / FOLDER
        return Part(name, folder, self.dir, list(inputs), dict(settings), list(outputs), paths)


def read_recipe(conf: Path, options: Mapping[str, Any]) -> Recipe:
    """A Recipe of a configuration and of options by the names of its fields; others are passed over. UserError where
    the configuration lacks a section, or its dev_conditions are no list of names."""
    tables = read_tables(conf)
    if missing := [name for name in SECTIONS if name not in tables]:
        raise UserError(f"{conf}: section {', '.join(missing)} is missing")
    if "dev_conditions" in tables["augment"]:
        names(tables, conf, "augment", "dev_conditions")
    return Recipe(tables=tables, **{name: value for name, value in options.items() if name in Recipe._fields})


def parts(recipe: Recipe, stage: int) -> list[Part]:
    """The parts of a stage in the order in which they are made, without those whose data sets do not exist yet."""
    return list(STAGES[stage](recipe))


def _data(recipe: Recipe) -> Iterator[Part]:
    root: list[Path] = []  # the synthetic corpus is made by the stage itself, hence no input
    if recipe.corpus != "synthetic" and recipe.root.is_dir():
        files = sorted(path for path in recipe.root.iterdir() if path.is_file())
        root = [recipe.root, *(files if len(files) <= TOP else [])]
    made = (recipe.data / name for name in recipe.sets("train", "dev") if not _made_before(recipe, name))
    yield recipe.part("1", root, {"corpus": recipe.corpus, "corpus_opts": recipe.corpus_opts,
                                  "root": relative(recipe.root, recipe.dir), "seed": recipe.seed},
                      (path for folder in made for path in _there(folder, "wav.scp", "utt2spk", "spk2utt", "trials")))


def _features(recipe: Recipe) -> Iterator[Part]:
    settings = {"features": stored(recipe.tables["features"])}
    for kind in (kind for kind in SCPS if kind in recipe.online_kinds + recipe.made_kinds):
        source = recipe.source(kind)
        talkers = _there(recipe.data / "train", *AUDIO) if kind == "babble" and not source else []
        made = {"rate": recipe.tables["features"].get("sample_rate"), "seed": recipe.seed, "source": source}
        yield recipe.part(f"{SOUNDS}{kind}", talkers, made, recipe.archived([kind]), recipe.data / "train", kind)
    copies = dict(_copies(recipe))
    for name in recipe.sets("train", "dev"):
        folder, makes = recipe.data / name, "feats vad"
        if name == "train" and recipe.online:
            yield recipe.part("2/train/sound", _there(folder, *AUDIO),
                              {"features": sampled(recipe.tables["features"])}, _with_archives(folder, *SOUND), folder,
                              "sound vad")
            makes = "feats" if recipe.learnt_from else ""
        elif name == "train" and not recipe.phases and not recipe.learnt_from:
            makes = ""
        if makes and name not in copies:
            lists = [f"{kind}.scp" for kind in makes.split()]
            yield recipe.part(f"2/{name}", _there(folder, *AUDIO), settings,
                              _with_archives(folder, *lists, *MEASURED, "feats_conf.json"), folder, makes)
    for name, (source, condition) in copies.items():
        folder = recipe.data / source
        yield recipe.part(f"{COPY}{name}", _there(folder, *AUDIO, "utt2spk", "trials*", "enroll"),
                          settings | {"seed": recipe.seed}, _with_archives(recipe.data / name, *FEATURES), folder,
                          condition)
    if recipe.augment and (recipe.data / "train").is_dir():
        drawn = {"augment": recipe.augment, "speeds": recipe.tables["augment"].get("speeds"), "musan": recipe.musan,
                 "rirs": recipe.rirs, "seed": recipe.seed, **({"online": True} if recipe.online else {})}
        yield recipe.part("2/copies", _there(recipe.data / "train", *AUDIO, "utt2spk"), settings | drawn,
                          _with_archives(recipe.train, *(SOUND if recipe.online else FEATURES)), recipe.data / "train")


def _copies(recipe: Recipe) -> Iterator[tuple[str, tuple[str, str]]]:
    """Name -> (source, condition) of the copies of dev and of the test sets in other conditions: those asked for, and
    those of test sets that an earlier run has made. UserError for a data directory of such a name that is none."""
    sources = [name for name in recipe.sets("dev") if not _made_before(recipe, name)]
    for source in sources:
        asked = recipe.dev_conditions if source == "dev" else recipe.conditions.split()
        for condition in CONDITIONS:
            name = f"{source}_{condition}"
            there, made = (recipe.data / name).exists(), _made_before(recipe, name)
            if condition in asked and there and not made:
                raise UserError(f"{recipe.data / name}: expected no such data directory, for this run is to make one, "
                                f"{source} with {condition}: rename it")
            if condition in asked or there and made and source != "dev":
                yield name, (source, condition)


def _made_before(recipe: Recipe, name: str) -> bool:
    """Whether a data directory is such a copy: its sounds are those that stage 2 makes; or it is empty, as a killed run
    may leave it."""
    folder = recipe.data / name
    if folder.is_symlink() or not folder.is_dir():
        return False
    sounds = folder / "augment"
    if sounds.is_file():
        return f"/sounds/{name}/" in next(iter(read_table(sounds).values()), "")
    return not any(folder.glob("[!.]*"))


def _training(recipe: Recipe, phase: str, init: list[Path]) -> Iterator[Part]:
    if phase not in recipe.phases.split():
        return
    read = [*_with_archives(recipe.train, *(SOUND[:2] if recipe.online else FEATURES[:2]), "utt2spk")]
    for name in recipe.dev_sets:
        read += _with_archives(recipe.data / name, "feats.scp", "vad.scp", "utt2spk", "trials")
    read += recipe.archived(recipe.online_kinds)
    settings = trained_with(recipe.tables, phase) | {"seed": recipe.seed, "train": recipe.train.name}
    yield recipe.part(str(TRAINED[phase]), [*read, *init], settings,
                      _there(recipe.exp / phase, "initial.pt", "final.pt", "train.jsonl"))


def _softmax(recipe: Recipe) -> Iterator[Part]:
    yield from _training(recipe, "softmax", [Path(recipe.init)] if recipe.init else [])


def _triplet(recipe: Recipe) -> Iterator[Part]:
    yield from _training(recipe, "triplet", [recipe.start])


def _embeddings(recipe: Recipe) -> Iterator[Part]:
    settings = {"embedding": embedded_with(recipe.tables["embedding"])}
    for name in recipe.sets(*recipe.learnt_from.split(), *recipe.dev_sets):
        read = list(_with_archives(recipe.data / name, "feats.scp", "vad.scp", "spk2utt"))
        for phase, network in recipe.networks.items():
            out = recipe.exp / phase / "embeddings" / name
            yield recipe.part(f"5/{phase}/{name}", [network, *read], settings,
                              _there(out, *EMBEDDINGS), network, recipe.data / name, out)


def _scores(recipe: Recipe) -> Iterator[Part]:
    names = recipe.sets(*recipe.learnt_from.split(), *recipe.dev_sets)
    phases = recipe.networks
    read = [path for phase in phases for name in names
            for path in _there(recipe.exp / phase / "embeddings" / name, *EMBEDDINGS)]
    read += [path for name in recipe.sets("train", *recipe.dev_sets)
             for path in _there(recipe.data / name, "trials*", "enroll", "spk2gender", "utt2*")]
    made = _there(recipe.exp, "results.tsv", "model.pt", *(f"{phase}/scores/*/*.json" for phase in phases))
    yield recipe.part("6", [*read, *phases.values()],
                      {"scoring": scored_with(recipe.tables["scoring"]), "backends": recipe.backends}, made,
                      *(recipe.exp / phase for phase in phases))


def _report(recipe: Recipe) -> Iterator[Part]:
    kinds = ("train.jsonl", "scores/*/*", "llr/*/*")
    read = _there(recipe.exp, "results.tsv", *(f"{phase}/{kind}" for phase in recipe.networks for kind in kinds))
    conf = recipe.tables | {"augment": augmented_with(recipe.tables["augment"]),
                            "embedding": embedded_with(recipe.tables["embedding"]),
                            "scoring": scored_with(recipe.tables["scoring"])}
    yield recipe.part("7", read, {"conf": conf}, _there(recipe.exp, "report.html"))


STAGES = {1: _data, 2: _features, 3: _softmax, 4: _triplet, 5: _embeddings, 6: _scores, 7: _report}


def _there(folder: Path, *patterns: str) -> Iterator[Path]:
    """The files of a folder that match the patterns, in the order of the patterns, sorted within each."""
    for pattern in patterns:
        yield from sorted(path for path in folder.glob(pattern) if path.is_file())


def _with_archives(folder: Path, *names: str) -> Iterator[Path]:
    """Files of a data directory by name, and the archives that those among them that are lists refer to."""
    yield from _there(folder, *names)
    yield from sorted(archives(folder, *(name for name in names if name.endswith(".scp"))))
