"""run.sh's options: what each becomes, what follows from it, and what is refused."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT, tiny_conf

from deepspeaker import gpu
from deepspeaker.config import load_config, set_values
from deepspeaker.errors import UserError
from deepspeaker.recipe import options
from deepspeaker.recipe.options import NUMBERS, OPTIONS, resolve

RECIPE = ROOT / "egs/voxceleb"
DEFAULTS = dict.fromkeys(OPTIONS, "") | {"stop_stage": "7", "strict": "false", "dry_run": "false", "nj": "2",
                                         "nnodes": "1", "node_rank": "0", "seed": "0", "phases": "softmax triplet"}


@pytest.fixture
def found(tmp_path, monkeypatch):
    """What options given from tmp_path, on a machine without GPUs, are resolved to."""
    monkeypatch.setattr(options, "DRIVERS", [])
    monkeypatch.setattr(gpu, "usable", lambda: (0, ""))
    return lambda **given: resolve(DEFAULTS | given, tmp_path, RECIPE)


def tracked(found, name):
    return [word.partition("=")[2] for word in found["tracked"] if word.startswith(f"--{name}=")]


def test_without_options(found):
    got = found()
    assert (got["corpus"], got["corpus_program"]) == ("synthetic", str(RECIPE / "local/synthetic.py"))
    assert got["root"] == str(RECIPE / "corpus") and got["conf"] == str(RECIPE / "conf/demo.toml")
    assert (got["dir"], got["data"], got["exp"]) == tuple(str(RECIPE / name) for name in ("", "data", "exp/demo"))
    assert got["start"] == str(RECIPE / "exp/demo/softmax/final.pt") and got["init"] == "" == got["augment"]
    assert got["train"] == str(RECIPE / "data/train")
    assert (got["gpus"], got["use_gpu"], got["backend"], got["needs"]) == ("0", "false", "cosine", "")
    assert tracked(got, "learnt-from") == [""] and not {"--force", "--strict"} & set(got["tracked"])


def test_a_corpus_with_its_folder(found, tmp_path):
    (tmp_path / "db").mkdir()
    got = found(root="db", dir="out", name="other")
    assert got["corpus"] == "voxceleb" and got["conf"] == str(RECIPE / "conf/deep_speaker.toml")
    assert got["root"] == str(tmp_path / "db") and got["exp"] == str(tmp_path / "out/exp/other")
    assert found(root=str(tmp_path / "db"), corpus="folder")["corpus_program"] == str(RECIPE / "local/folder.py")


def test_a_configuration_of_the_caller_comes_first(found, tmp_path):
    assert found(conf="conf/small.toml")["conf"] == str(RECIPE / "conf/small.toml")
    (tmp_path / "conf").mkdir()
    tiny_conf(tmp_path / "conf/small.toml", {"scoring.backends": ["plda", "asnorm"]})
    got = found(conf="conf/small.toml")
    assert got["conf"] == str(tmp_path / "conf/small.toml") and got["augment"] == "speed"
    assert (got["backend"], got["needs"]) == ("plda asnorm", "cohort cohort_top plda")
    assert tracked(got, "learnt-from") == ["train"] and tracked(got, "backends") == ["plda asnorm"]
    assert found(conf="conf/small.toml", backend="cosine")["backend"] == "cosine"


def test_changes_make_a_configuration_of_their_own(found):
    got = found(set="softmax.margin=0.5 triplet.epochs=7", name="x")
    config = load_config(got["conf"])
    os.unlink(got["conf"])
    assert (config.softmax.margin, config.triplet.epochs) == (0.5, 7) and got["exp"].endswith("exp/x")
    got = found(set='scoring.backends=["plda"] augment.copies=["speed"]', name="x")
    os.unlink(got["conf"])
    assert (got["backend"], got["needs"], got["augment"]) == ("plda", "plda", "speed")


@pytest.fixture
def network(tmp_path, monkeypatch):
    """Make a checkpoint, by default of the configuration of the synthetic corpus. What resolve writes lies in scratch.
    """
    from deepspeaker.checkpoint import save
    from deepspeaker.models.networks import build_network

    def make(name="a.pt", changes=None):
        config = set_values(load_config(RECIPE / "conf/demo.toml"), changes or [])
        model = build_network(config.features.num_mel_bins, config.model.name, config.model.options)
        save(tmp_path / name, {"config": config.as_tables(), "model": model.state_dict()})
        return str(tmp_path / name)

    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    return make


def test_a_network_to_start_from(found, network):
    path = network()
    first, fourth = found(init="a.pt"), found(init="a.pt", stage="4")
    assert first["init"] == path and first["start"].endswith("softmax/final.pt")
    assert fourth["start"] == path == fourth["init"] and (fourth["phases"], fourth["skipped"]) == ("triplet", "3")
    assert tracked(fourth, "start") == [path] == tracked(fourth, "init") and tracked(fourth, "phases") == ["triplet"]
    assert found(stage="3", stop_stage="3")["exp"] == first["exp"]
    assert "--force" in fourth["tracked"] and "--strict" in found(strict="true")["tracked"]


@pytest.mark.parametrize("asked, phases, skipped, starts", [
    ("softmax triplet", "softmax triplet", "", "softmax/final.pt"),
    (" triplet\tsoftmax ", "softmax triplet", "", "softmax/final.pt"),
    ("softmax", "softmax", "4", "softmax/final.pt"), ("triplet", "triplet", "3", "a.pt"), ("", "", "3 4", "a.pt")])
def test_phases_that_are_chosen(found, network, asked, phases, skipped, starts):
    network()
    got = found(phases=asked, init="a.pt")
    assert (got["phases"], got["skipped"]) == (phases, skipped) and got["start"].endswith(starts)
    assert tracked(got, "phases") == [phases]
    if "softmax" in asked:
        assert found(phases=asked)["phases"] == phases
        return
    with pytest.raises(UserError, match=f"^--phases '{phases}' needs --init, the network to start from$"):
        found(phases=asked)


def test_without_training_there_are_no_copies(found, network, tmp_path):
    """And no sounds: what only training needs is not asked for either."""
    network()
    conf = tiny_conf(tmp_path / "tiny.toml", {"augment.online": True, "augment.music": 0.5, "augment.noise": 0.5})
    with pytest.raises(UserError, match="music needs --musan"):
        found(conf=str(conf), init="a.pt")
    got = found(conf=str(conf), init="a.pt", phases="", augment="noise")
    assert (got["augment"], got["read"]) == ("", "feats.scp") and got["train"].endswith("data/train")


def test_features_and_model_are_those_of_the_network(found, network, tmp_path):
    """And what --set says comes after them; the name of the experiment is the configuration's."""
    network("b.pt", ["features.num_mel_bins=40", "model.embedding_dim=24", "softmax.epochs=99"])
    network()
    own = load_config(RECIPE / "conf/demo.toml")
    for init, changes, taken in (("a.pt", "", "false"), ("b.pt", "", "true"), ("b.pt", "softmax.margin=0.5", "true")):
        got = found(init=init, set=changes, name="x" if changes else "")
        config = load_config(got["conf"])
        assert got["conf"] == got["temporary"] and got["conf"].startswith(str(tmp_path)) and got["taken"] == taken
        assert got["exp"].endswith("exp/x" if changes else "exp/demo") and config.softmax.epochs == own.softmax.epochs
        assert (config.features.num_mel_bins, config.model.options["embedding_dim"]) == (
            (40, 24) if init == "b.pt" else (64, own.model.options["embedding_dim"]))
        assert config.softmax.margin == (0.5 if changes else own.softmax.margin)
    got = found(init="b.pt", set="features.num_mel_bins=48", name="x")
    assert load_config(got["conf"]).features.num_mel_bins == 48
    assert found()["temporary"] == ""


def test_a_network_that_is_none_or_that_the_run_would_replace(found, network, tmp_path):
    (tmp_path / "no.pt").write_text("none")
    with pytest.raises(UserError, match=f"^{tmp_path}/no.pt is damaged, or not a checkpoint: "):
        found(init="no.pt")
    for name, phases in (("model.pt", ""), ("triplet/final.pt", "triplet"), ("softmax/final.pt", "softmax")):
        (tmp_path / "out/exp/demo" / name).parent.mkdir(parents=True, exist_ok=True)
        network(f"out/exp/demo/{name}")
        with pytest.raises(UserError, match=f"^--init .*/{name}: this run would replace it: give the new "):
            found(init=f"out/exp/demo/{name}", dir="out", phases=phases)
        assert found(init=f"out/exp/demo/{name}", dir="out", phases=phases, name="other")["phases"] == phases
    assert found(init="out/exp/demo/softmax/final.pt", dir="out", phases="triplet")["phases"] == "triplet"


def test_without_a_network_or_changes_torch_is_not_imported():
    words = [f"--{name.replace('_', '-')}={value}" for name, value in DEFAULTS.items()]
    done = subprocess.run([sys.executable, "-X", "importtime", ROOT / "steps/resolve_options.py", "--caller", RECIPE,
                           *words, "--gpus=0"], cwd=RECIPE, capture_output=True, text=True)
    assert done.returncode == 0 and not re.search(r"\| +torch$", done.stderr, re.MULTILINE)


def test_leading_zeros_and_blanks_do_not_matter(found, network, tmp_path):
    network()
    got = found(init="a.pt", stage="04", stop_stage="07", nj="08", nnodes="01", node_rank="00", seed="09", gpus="010",
                cuda_cmd="c")
    assert [got[name] for name in NUMBERS] == ["4", "7", "8", "1", "0", "9", "10"]
    assert got["start"] == str(tmp_path / "a.pt") and got["phases"] == "triplet"
    assert found()["stage"] == "" == found(cuda_cmd=" ")["cuda_cmd"]
    assert found(cuda_cmd=" slurm.pl --gpu 1 ", gpus="1")["cuda_cmd"] == "slurm.pl --gpu 1"
    got = found(augment=" speed\n", backend="\tplda  cosine ")
    assert (got["augment"], got["backend"]) == ("speed", "plda cosine")
    got = found(augment=" ", backend=" ")
    assert (got["augment"], got["backend"]) == ("", "cosine") and got["train"] == str(RECIPE / "data/train")


def test_a_changed_configuration_that_cannot_be_written_leaves_no_file(found, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("the disk is full")

    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    monkeypatch.setattr("deepspeaker.config.write_config", full)
    with pytest.raises(OSError, match="the disk is full"):
        found(set="softmax.margin=0.5", name="x")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_message_names_run_sh_and_has_one_line():
    done = subprocess.run([sys.executable, ROOT / "steps/resolve_options.py", "--caller", RECIPE, *(
        f"--{name.replace('_', '-')}={value}" for name, value in (DEFAULTS | {"init": "a\nb"}).items())],
        cwd=RECIPE, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        1, "", f"run.sh: --init {RECIPE}/a\\nb: no such file\n")


def test_gpus_are_those_that_pytorch_can_use(found, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "DRIVERS", ["/no/driver", str(tmp_path)])
    monkeypatch.setattr(gpu, "usable", lambda: (2, ""))
    assert [found(gpus=n)[key] for n in ("", "0", "1") for key in ("gpus", "use_gpu")] == [
        "2", "true", "0", "false", "1", "true"]
    with pytest.raises(UserError, match=r"--gpus 3: PyTorch finds 2 here: lower --gpus \(0: CPU\)"):
        found(gpus="3")
    monkeypatch.setattr(gpu, "usable", lambda: (0, ""))  # CUDA_VISIBLE_DEVICES hides them
    assert found()["gpus"] == "0"


def test_a_driver_that_pytorch_cannot_use_is_told(found, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "usable", lambda: (0, "the driver is too old"))
    for asked in ("1", "2"):
        with pytest.raises(UserError, match=rf"--gpus {asked}: PyTorch finds 0 here \(the driver is too old\): lower"):
            found(gpus=asked)
    assert found()["gpus"] == "0"  # no sign of a GPU: PyTorch is not asked
    monkeypatch.setattr(options, "DRIVERS", [str(tmp_path)])
    with pytest.raises(UserError, match=r"PyTorch cannot use it: the driver is too old\. Install .*: --gpus 0$"):
        found()
    assert found(gpus="0")["gpus"] == "0" and found(stage="6")["gpus"] == "0"
    assert found(stage="6", gpus="2")["gpus"] == "2" and found(stop_stage="2", gpus="2")["gpus"] == "2"
    assert found(cuda_cmd="slurm.pl --gpu 4", gpus="4")["gpus"] == "4"  # other machines' GPUs


def test_sounds(found, tmp_path):
    (tmp_path / "musan").mkdir()
    got = found(augment="speed noise reverb", musan="musan")
    assert (got["augment"], got["musan"], got["rirs"]) == ("speed noise reverb", str(tmp_path / "musan"), "")
    assert got["train"] == str(RECIPE / "data/train_augmented")
    assert tracked(got, "musan") == [got["musan"]] and found(augment="reverb speed")["augment"] == "reverb speed"


def test_windows_out_of_sound(found, tmp_path):
    """What is read, and which sounds; music alone needs MUSAN, and copies of the test sets need nothing."""
    (tmp_path / "musan").mkdir()
    tiny_conf(tmp_path / "plain.toml", {"augment.music": 0.5, "augment.noise": 0.5})
    got = found(conf="plain.toml", conditions=" noise\treverb ")
    assert (got["read"], tracked(got, "conditions")) == ("feats.scp", ["noise reverb"])
    tiny_conf(tmp_path / "tiny.toml", {"augment.online": True, "augment.music": 0.5, "augment.noise": 0.5})
    with pytest.raises(UserError, match=r"^\[augment\] music needs --musan, the folder of MUSAN$"):
        found(conf="tiny.toml")
    got = found(conf="tiny.toml", musan="musan", dir="out")
    assert (got["read"], got["sounds"]) == ("sound.scp", str(tmp_path / "out/sounds/train"))
    tiny_conf(tmp_path / "fast.toml", {"augment.online": True, "augment.copies": [], "augment.speed": 0.5})
    with pytest.raises(UserError, match="^--augment speed and .augment. speed make the same new speakers twice"):
        found(conf="fast.toml", augment="noise speed", musan="musan")
    assert tracked(got, "musan") == [str(tmp_path / "musan")] and tracked(got, "conditions") == [""]
    tiny_conf(tmp_path / "tiny.toml", {"augment.online": True, "augment.noise": 0.5, "augment.reverb": 0.5})
    assert found(conf="tiny.toml")["musan"] == ""
    with pytest.raises(UserError, match="^--conditions: no 'music'; there are: noise reverb$"):
        found(conditions="noise music")


@pytest.mark.parametrize("text, message", [
    ("[scoring]\nbackends = []\n", r"bad.toml: \[scoring\] key qualities is missing"),
    ("[features]\nvad = true\n", "bad.toml: section scoring is missing"),
    ("[scoring]\nbackends = 'cosine'\n", r"bad.toml: \[scoring\] backends: expected a list of names, found 'cosine'"),
    ("[scoring]\nbackends = []\nqualities = [1]\n", r"\[scoring\] qualities: expected a list of names, found \[1\]"),
    ("[scoring]\nbackends = []\nqualities = []\n", "bad.toml: section augment is missing"),
    ("base = 'none.toml'\n", "bad.toml: base: no such file: "), ("[scoring\n", "bad.toml: not TOML")])
def test_a_configuration_that_run_sh_cannot_read(found, tmp_path, text, message):
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        found(conf="bad.toml")
    if "augment" in message:
        with pytest.raises(UserError, match=message):
            found(conf="bad.toml", augment="reverb")


MACHINES = {"nnodes": "2", "stage": "3", "stop_stage": "4", "rdzv_endpoint": "h:1"}


def test_several_machines(found):
    for given in (MACHINES, MACHINES | {"node_rank": "1"}, {"nnodes": "2", "cuda_cmd": "slurm.pl", "gpus": "4"}):
        found(**given)


@pytest.mark.parametrize("options, message", [
    ({"nj": "0"}, "--nj: expected at least 1 job, found 0"), ({"nj": ""}, "--nj: expected a number, found ''"),
    ({"nj": "9" * 5000}, "--nj: expected a number of at most 18 digits"), ({"nj": "٣"}, "--nj: expected a number"),
    ({"nnodes": "0"}, "--nnodes: expected at least 1 machine, found 0"),
    ({"name": ".."}, "--name ..: expected the name of a folder in .*/exp"), ({"name": "."}, "--name .: expected"),
    ({"name": "/x"}, "--name /x: expected"), ({"name": "a/../../x"}, "--name a/../../x: expected"),
    ({"dir": "a\tb"}, r"/a\\tb/exp/demo: --dir and --name with tabs or line ends do not work: choose other"),
    ({"dir": "a\nb"}, r"/a\\nb/exp/demo: --dir and --name"), ({"name": "a\nb"}, r"exp/a\\nb: --dir and --name"),
    ({"set": " ", "name": "x"}, "--set: expected SECTION.KEY=VALUE, found ' '"),
    ({"node_rank": "1"}, "--node-rank 1 needs --nnodes, the number of machines, at least 2"),
    ({"nnodes": "2", "cuda_cmd": "slurm.pl", "gpus": "4", "node_rank": "1"}, "--node-rank 1: --cuda-cmd starts one"),
    ({"gpus": "two"}, "--gpus: expected a number, found 'two'"), ({"seed": "-1"}, "--seed: expected a number"),
    ({"stop_stage": "8"}, "stage 8: expected 1 to 7"), ({"stage": "0"}, "stage 0: expected 1 to 7"),
    ({"stage": "5", "stop_stage": "4"}, "--stop-stage 4 is before --stage 5"),
    ({"augment": "music"}, "--augment music needs --musan"), ({"augment": "hum"}, "--augment: no 'hum'; there are: sp"),
    ({"augment": "reverb", "rirs": "nix"}, "nix: no such folder"), ({"init": "nix.pt"}, "--init .*/nix.pt: no such"),
    ({"cuda_cmd": "slurm.pl"}, "--cuda-cmd 'slurm.pl' needs --gpus"),
    (MACHINES | {"rdzv_endpoint": ""}, "--nnodes 2 needs --rdzv-endpoint HOST:PORT"),
    (MACHINES | {"node_rank": "2"}, "--node-rank 2: expected 0 to 1"),
    (MACHINES | {"stage": "2"}, "--nnodes 2 is for stages 3 and 4"),
    (MACHINES | {"stop_stage": "5"}, "--nnodes 2 is for stages 3 and 4"),
    ({"phases": "softmax lda"}, "--phases: no 'lda'; there are: softmax triplet"),
    ({"set": "softmax.margin=1"}, "--set makes another experiment: it needs --name"),
    ({"backend": "cosine nix"}, "no back-end 'nix'; there are: cosine, asnorm, plda"),
    ({"corpus": "folder"}, "--corpus folder needs --root"),
    ({"corpus": "nix"}, "no corpus 'nix' in .*/local; there are: cnceleb folder kaldi librispeech synthetic voxceleb")])
def test_what_is_refused(found, options, message):
    with pytest.raises(UserError, match=message):
        found(**options)


@pytest.mark.parametrize("found", ["x", "", "08", "-1"])
def test_steps_called_by_hand_refuse_what_is_no_number(call, tmp_path, found):
    (tmp_path / "wav.scp").write_text("a a.wav\n")
    for command, option, others in (("steps/make_fbank.sh", "--nj", [tmp_path]),
                                    ("steps/train.sh", "--gpus", ["--phase", "softmax", "--conf", "c", *"abc"])):
        done = call(command, option, found, *others)
        assert (done.returncode, done.stdout, done.stderr) == (
            1, "", f"{command[6:]}: {option}: expected a number without leading zeros, found '{found}'\n")


def test_blank_back_ends_are_those_of_the_configuration(call, tmp_path):
    scp = tmp_path / "exp/embeddings/set/embedding.scp"
    scp.parent.mkdir(parents=True)
    scp.write_text("x\n")
    conf = tiny_conf(tmp_path / "conf.toml", {"scoring.backends": ["plda"]})
    done = call("steps/score_set.sh", "--conf", conf, "--backends", " ", tmp_path / "set", tmp_path / "exp")
    assert done.returncode == 1 and done.stderr.startswith(f"score_trials.py: no such file {tmp_path}/set/trials")


def test_records_and_disk_space_by_hand(call, tmp_path):
    conf = tiny_conf(tmp_path / "conf.toml")
    words = "--dir", tmp_path, "--exp", tmp_path / "exp", "--conf", conf, "--root", tmp_path, "--start", "s"
    for part, message in ((), "end needs --part"), (("--part", "x"), "part x: expected its stage, 1 to 7, first"):
        done = call("steps/track_stages.py", "end", *words, *part)
        assert done.returncode in (1, 2) and done.stderr.endswith(f"{message}\n") and "Traceback" not in done.stderr
    (tmp_path / "bare.toml").write_text("[augment]\n[features]\nnum_mel_bins = 64\n")
    for words, message in ((), "[features] key compress is missing"), (
            ("--copies", "train", "speed", "feats vad"), "[augment] key speeds is missing"):
        done = call("steps/check_space.py", "--conf", tmp_path / "bare.toml", *words, "fbank")
        assert (done.returncode, done.stderr) == (1, f"check_space.py: {tmp_path}/bare.toml: {message}\n")
