"""run.sh's options, resolved once: defaults are filled in, and options that cannot work are refused.

run.sh assigns the result to its variables of the same names. Does not import torch, unless --set or --init is given.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deepspeaker.conf_files import Tables, names, read_tables, value
from deepspeaker.corpus.augmented_copies import CONDITIONS, KINDS, MADE, training_set
from deepspeaker.errors import UserError, one_line
from deepspeaker.recipe.phases import ALL, TRAINED, skipped
from deepspeaker.scoring.backends import AUTO, BACKENDS, needed

if TYPE_CHECKING:
    from deepspeaker.config import Config

OPTIONS = ("corpus", "corpus_opts", "root", "conf", "set", "stage", "stop_stage", "strict", "dry_run", "dir", "name",
           "nj", "gpus", "nnodes", "node_rank", "rdzv_endpoint", "augment", "musan", "rirs", "conditions", "seed",
           "phases", "init", "backend", "cuda_cmd")
NUMBERS = ("stage", "stop_stage", "nj", "nnodes", "node_rank", "seed", "gpus")  # stage and gpus may be empty
TRAINED_OR_EMBEDDED = range(3, 6)  # the stages that use GPUs
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # there with NVIDIA's driver, within WSL, with AMD's driver
DIGITS = 18  # of a number at most: the shell computes with 64 bits
LEARNING = {"cohort", "plda"}  # what back-ends learn from the training set's embeddings
SYNTHETIC = "synthetic"  # the corpus that makes its own speech
Given = Mapping[str, str]


def resolve(given: Given, caller: Path, recipe: Path) -> dict[str, str | list[str]]:
    """Name of a shell variable -> its value, or the words of an array.

    given: the options of the command line, "" where one is left out; caller: the folder run.sh was called from, which
    relative paths start from; recipe: run.sh's own folder.
    """
    given = {**given, **_numbers(given), "cuda_cmd": given["cuda_cmd"].strip()}
    corpus, program = _corpus(given, recipe)
    folder = _absolute(given["dir"], caller) or recipe
    root = _root(given, corpus, caller, folder)
    conf = _conf(given, corpus, caller, recipe)
    exp = _experiment(folder, given["name"] or conf.stem)
    init = _file(given, "init", caller)
    phases = _phases(given, exp, init)
    changed, taken = _changed(conf, init, given["set"]) if init or given["set"] else (None, False)
    tables = changed.as_tables() if changed else read_tables(conf)
    backends = _words(given["backend"]) or " ".join(_backends(tables, conf))
    needs = needed(BACKENDS if backends == AUTO else backends.split(), names(tables, conf, "scoring", "qualities"))
    copies = names(tables, conf, "augment", "copies")
    augment = (_words(given["augment"]) or " ".join(copies)) if phases else ""
    online = tables["augment"] if phases and tables["augment"].get("online") else {}
    musan, rirs = _sounds(given, augment, online, caller)
    gpus = _gpus(given)
    _check_machines(given)
    start = init if init and "softmax" not in phases else exp / "softmax/final.pt"
    recipe_options = {
        "dir": folder, "exp": exp, "corpus": corpus, "corpus-opts": given["corpus_opts"], "root": root,
        "augment": augment, "musan": musan or "", "rirs": rirs or "", "conditions": _conditions(given),
        "seed": given["seed"], "phases": phases, "init": init or "", "start": start, "backends": backends,
        "learnt-from": "train" if needs & LEARNING else "",
        "processes": max(1, gpus) * int(given["nnodes"])}
    tracked = [f"--{name}={value}" for name, value in recipe_options.items()]
    tracked += ["--force"] * bool(given["stage"]) + ["--strict"] * (given["strict"] == "true")
    if changed:
        conf = _temporary_file(changed)
    return {
        **{name: given[name] for name in (*NUMBERS, "cuda_cmd")},
        "corpus": corpus, "corpus_program": str(program), "root": str(root), "conf": str(conf), "dir": str(folder),
        "temporary": str(conf) if changed else "", "taken": "true" if taken else "false",
        "data": str(folder / "data"), "train": str(training_set(folder / "data/train", augment)),
        "exp": str(exp), "gpus": str(gpus), "use_gpu": "true" if gpus else "false",
        "augment": augment, "musan": str(musan or ""), "rirs": str(rirs or ""), "init": str(init or ""),
        "phases": phases, "skipped": " ".join(map(str, skipped(phases))),
        "sounds": str(folder / "sounds/train"), "read": "sound.scp" if online else "feats.scp",
        "start": str(start), "backend": backends, "needs": " ".join(sorted(needs)), "tracked": tracked}


def _numbers(given: Given) -> dict[str, str]:
    """The options that are numbers, checked, without leading zeros."""
    numbers = {}
    for name in NUMBERS:
        option, found = f"--{name.replace('_', '-')}", given[name]
        if not re.fullmatch("[0-9]+", found) and (found or name not in ("stage", "gpus")):
            raise UserError(f"{option}: expected a number, found '{found}'")
        numbers[name] = found.lstrip("0") or found[:1]
        if len(numbers[name]) > DIGITS:
            raise UserError(f"{option}: expected a number of at most {DIGITS} digits, found {found}")
    first, last = int(numbers["stage"] or 1), int(numbers["stop_stage"])
    for stage in (first, last):
        if not 1 <= stage <= 7:
            raise UserError(f"stage {stage}: expected 1 to 7")
    if last < first:
        raise UserError(f"--stop-stage {last} is before --stage {first}")
    for name, what in (("nj", "job"), ("nnodes", "machine")):
        if int(numbers[name]) < 1:
            raise UserError(f"--{name}: expected at least 1 {what}, found {given[name]}")
    return numbers


def _phases(given: Given, exp: Path, init: Path | None) -> str:
    """The phases to train, in their order."""
    asked = given["phases"].split()
    for name in asked:
        if name not in TRAINED:
            raise UserError(f"--phases: no '{name}'; there are: {ALL}")
    phases = " ".join(phase for phase in TRAINED if phase in asked)
    if "softmax" not in asked and not init:
        raise UserError(f"--phases '{phases}' needs --init, the network to start from")
    if init and given["stage"] == "4" and phases == ALL:
        phases = "triplet"  # --stage 4 alone makes --init the start of it
    written = [exp / "model.pt", *(exp / phase for phase in phases.split())]
    if init and any(init.resolve().is_relative_to(path.resolve()) for path in written):
        raise UserError(f"--init {init}: this run would replace it: give the new experiment another --name")
    return phases


def _backends(tables: Tables, conf: Path) -> list[str]:
    """[scoring] backends: names, or AUTO alone."""
    if value(tables, conf, "scoring", "backends") == AUTO:
        return [AUTO]
    return names(tables, conf, "scoring", "backends")


def _words(option: str) -> str:
    return " ".join(option.split())


def _corpus(given: Given, recipe: Path) -> tuple[str, Path]:
    """The name of the corpus and its program in local/."""
    corpus = given["corpus"] or ("voxceleb" if given["root"] else SYNTHETIC)
    programs = sorted(path for path in (recipe / "local").iterdir() if path.is_file() and os.access(path, os.X_OK))
    for program in programs:
        if program.stem == corpus:
            return corpus, program
    raise UserError(f"no corpus '{corpus}' in {recipe}/local; there are: {' '.join(p.stem for p in programs)}")


def _root(given: Given, corpus: str, caller: Path, folder: Path) -> Path:
    root = _absolute(given["root"], caller)
    if corpus == SYNTHETIC:
        return root or folder / "corpus"
    if root is None:
        raise UserError(f"--corpus {corpus} needs --root, the folder of the corpus")
    if not root.is_dir():
        raise UserError(f"--root {root}: no such folder")
    return root


def _experiment(folder: Path, name: str) -> Path:
    """The experiment's folder; UserError unless it lies in DIR/exp and its path fits into a line of track_stages.py."""
    parts = Path(name).parts
    if not parts or ".." in parts or Path(name).is_absolute():
        raise UserError(f"--name {name}: expected the name of a folder in {folder / 'exp'}")
    path = folder / "exp" / name
    if re.search(r"[\t\r\n]", str(path)):
        raise UserError(f"{one_line(path)}: --dir and --name with tabs or line ends do not work: choose other names")
    return path


def _conf(given: Given, corpus: str, caller: Path, recipe: Path) -> Path:
    """The configuration file: relative to the caller's folder, or else to the recipe's."""
    if given["set"] and not given["name"]:
        raise UserError("--set makes another experiment: it needs --name")
    if given["set"].isspace():
        raise UserError(f"--set: expected SECTION.KEY=VALUE, found '{given['set']}'")
    name = given["conf"] or ("conf/demo.toml" if corpus == SYNTHETIC else "conf/deep_speaker.toml")
    for folder in (caller, recipe) if given["conf"] else (recipe,):
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"--conf {name}: no such file in {caller} or {recipe}")


def _changed(conf: Path, init: Path | None, changes: str) -> tuple["Config", bool]:
    """The configuration with [features] and [model] of --init, then the changes of --set; and whether --init changed
    any."""
    from deepspeaker.checkpoint import load_network
    from deepspeaker.config import load_config, set_values

    config = own = load_config(conf)
    if init:
        trained = load_network(init).config
        config = own.model_copy(update={"features": trained.features, "model": trained.model})
    return set_values(config, changes.split()) if changes else config, config != own


def _temporary_file(config: "Config") -> Path:
    """A file with the configuration, which run.sh moves to exp/NAME."""
    from deepspeaker.config import write_config

    handle, name = tempfile.mkstemp(suffix=".toml")
    os.close(handle)
    try:
        write_config(name, config)
    except BaseException:
        os.unlink(name)
        raise
    return Path(name)


def _sounds(given: Given, augment: str, online: Mapping[str, object], caller: Path) -> tuple[Path | None, Path | None]:
    """The folders of MUSAN and of impulse responses; None where not given. online: [augment], if windows are cut out of
    sound."""
    if online.get("music") and not given["musan"]:
        raise UserError("[augment] music needs --musan, the folder of MUSAN")
    if online.get("speed") and "speed" in augment.split():
        raise UserError("--augment speed and [augment] speed make the same new speakers twice: take one of them")
    for kind in augment.split():
        if kind not in KINDS:
            raise UserError(f"--augment: no '{kind}'; there are: {' '.join(KINDS)}")
        if KINDS[kind] and kind not in MADE and not given[KINDS[kind]]:
            raise UserError(f"--augment {kind} needs --musan, the folder of MUSAN")
    folders = _absolute(given["musan"], caller), _absolute(given["rirs"], caller)
    for folder in folders:
        if folder and not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
    return folders


def _conditions(given: Given) -> str:
    for name in given["conditions"].split():
        if name not in CONDITIONS:
            raise UserError(f"--conditions: no '{name}'; there are: {' '.join(CONDITIONS)}")
    return _words(given["conditions"])


def _file(given: Given, name: str, caller: Path) -> Path | None:
    path = _absolute(given[name], caller)
    if path and not path.is_file():
        raise UserError(f"--{name} {path}: no such file")
    return path


def _gpus(given: Given) -> int:
    """--gpus, or all that PyTorch can use. UserError where there are not as many, or a driver that PyTorch cannot use.
    PyTorch, whose import takes a second, is asked only where the answer matters."""
    asked = int(given["gpus"] or 0)
    if given["cuda_cmd"]:
        if not given["gpus"]:
            raise UserError(f"--cuda-cmd '{given['cuda_cmd']}' needs --gpus: the number of GPUs to train on per "
                            "machine (0: CPU)")
        return asked
    stages = range(int(given["stage"] or 1), int(given["stop_stage"]) + 1)
    if given["gpus"] == "0" or not (asked or any(Path(path).exists() for path in DRIVERS)):
        return 0
    if not set(stages) & set(TRAINED_OR_EMBEDDED):
        return asked
    from deepspeaker.gpu import usable

    there, why = usable()
    if asked > there:
        raise UserError(f"--gpus {asked}: PyTorch finds {there} here{f' ({why})' if why else ''}: lower --gpus (0: "
                        "CPU)")
    if there == 0 and why:
        raise UserError(f"this machine has a GPU, but PyTorch cannot use it: {why}. Install a PyTorch and a driver "
                        "that fit each other, or work without the GPU: --gpus 0")
    return asked or there


def _check_machines(given: Given) -> None:
    """Training on several machines is either one job of --cuda-cmd, or run.sh started on each with --rdzv-endpoint."""
    nnodes, node = int(given["nnodes"]), int(given["node_rank"])
    one_job = bool(given["cuda_cmd"]) and not given["rdzv_endpoint"]
    if one_job and node:
        raise UserError(f"--node-rank {node}: --cuda-cmd starts one job on all machines: leave --node-rank out, or add "
                        "--rdzv-endpoint HOST:PORT and run run.sh on each")
    if nnodes < 2 and node:
        raise UserError(f"--node-rank {node} needs --nnodes, the number of machines, at least {node + 1}")
    if nnodes < 2 or one_job:
        return
    if not given["rdzv_endpoint"]:
        raise UserError(f"--nnodes {nnodes} needs --rdzv-endpoint HOST:PORT, the same on all machines")
    if node >= nnodes:
        raise UserError(f"--node-rank {node}: expected 0 to {nnodes - 1}, another on each machine")
    if int(given["stage"] or 1) < 3 or int(given["stop_stage"]) > 4:
        raise UserError(f"--nnodes {nnodes} is for stages 3 and 4: add --stage 3 --stop-stage 4, and run the others on "
                        "one machine")


def _absolute(path: str, caller: Path) -> Path | None:
    return Path(os.path.join(caller, path)) if path else None
