"""Training as run.sh starts it: killed, stopped, gone on with, and fed bad input."""

import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import environment, finish, hear_interrupts, make_features, same, train_command, weights
from test_models import BODIES

from deepspeaker.batches.training_set import Batch
from deepspeaker.checkpoint import load, load_network, save
from deepspeaker.config import SoftmaxConfig, load_config, set_values, write_config
from deepspeaker.datadir.archive import append
from deepspeaker.errors import UserError
from deepspeaker.extraction.embed import embed
from deepspeaker.extraction.feature_set import FeatureSet
from deepspeaker.losses import SoftmaxArguments
from deepspeaker.losses.labels import Labels
from deepspeaker.metrics.describe import eer
from deepspeaker.models.networks import build_network
from deepspeaker.training import learner, loop
from deepspeaker.training.state import set_aside
from deepspeaker.training.stop import StopRequest


def fit(conf, train, dev, out, phase="softmax", init=None, seed=0, replace=None):
    """As steps/train.py does it, in this process."""
    out.mkdir(exist_ok=True)
    loop.fit(load_config(conf), phase, train, dev, out, init, seed, torch.device("cpu"), replace)


def slow_dev_eer(path, dev):
    """Percent, of the cosines of the trials; each utterance embedded alone."""
    model, config, _ = load_network(path)
    features = FeatureSet(dev, config.features)
    found = {name: embed(model, torch.from_numpy(features.rows(i, features.frames(i))), config.features.normalize,
                         config.embedding) for i, name in enumerate(features.utterances)}
    trials = [line.split() for line in (dev / "trials").open()]
    scores = np.array([float(found[a] @ found[b]) for a, b, _ in trials])
    return 100 * eer(scores, np.array([kind == "target" for _, _, kind in trials]))


def test_both_phases(ready, tmp_path):
    conf, train, dev = ready()
    softmax, triplet = tmp_path / "softmax", tmp_path / "triplet"
    done = finish(train_command(conf, train, dev, softmax))
    assert done.returncode == 0, done.stderr
    assert {"final.pt", "initial.pt", "train.log", "train.jsonl"} <= {p.name for p in softmax.iterdir()}
    assert list(softmax.glob("tensorboard/events*"))
    history = [json.loads(line) for line in (softmax / "train.jsonl").open()]
    assert [entry["epoch"] for entry in history] == [1, 2] and history[-1]["step"] == 6
    assert all(entry["loss"] > 0 for entry in history)
    best = min(history, key=lambda entry: entry["dev_eer"])
    content = load(softmax / "final.pt")
    assert content["epoch"] == best["epoch"] and content["dev_eer"] == best["dev_eer"]
    assert content["dev_eer"] == pytest.approx(slow_dev_eer(softmax / "final.pt", dev))
    assert done.stdout == (softmax / "train.log").read_text()

    done = finish(train_command(conf, train, dev, triplet, "triplet", "--init", softmax / "final.pt"))
    assert done.returncode == 0, done.stderr
    assert same(weights(triplet / "initial.pt"), weights(softmax / "final.pt"))
    assert not same(weights(triplet / "final.pt"), weights(softmax / "final.pt"))
    entry = json.loads((triplet / "train.jsonl").read_text().splitlines()[0])
    assert {"loss", "active", "same", "different", "cosine", "effective_rank", "gradient_norm", "utterances_per_second",
            "waiting", "dev_eer"} <= entry.keys()
    assert 0 <= entry["active"] <= 1 and 0 <= entry["waiting"] <= 1 and 1 <= entry["effective_rank"] <= 8

    before = (triplet / "final.pt").read_bytes()
    done = finish(train_command(conf, train, dev, triplet, "triplet", "--init", softmax / "final.pt"))
    assert done.returncode == 0 and "nothing to do" in done.stdout
    assert (triplet / "final.pt").read_bytes() == before


LONG = {"softmax.epochs": 6, "softmax.steps_per_epoch": 40, "training.checkpoint_minutes": 0.0005}


@pytest.mark.parametrize("how, status", [
    (signal.SIGKILL, -9), pytest.param(signal.SIGINT, 130, marks=pytest.mark.long),
    pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)])
def test_stopped_and_started_again_ends_with_the_same_parameters(ready, tmp_path, how, status):
    conf, train, dev = ready(LONG)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert finish(train_command(conf, train, dev, whole)).returncode == 0
    rng = np.random.default_rng(how)
    for _ in range(3):
        process = subprocess.Popen(train_command(conf, train, dev, stopped), stdout=subprocess.PIPE, env=environment(),
                                   preexec_fn=hear_interrupts)
        known = set(stopped.glob("step-*.pt"))
        while process.poll() is None and not set(stopped.glob("step-*.pt")) - known:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(how)
        process.communicate()
        assert process.returncode in (status, 0)  # 0: it had finished before the signal came
        assert (stopped / "final.pt").exists() == (process.returncode == 0)
    done = finish(train_command(conf, train, dev, stopped))
    assert done.returncode == 0, done.stderr
    assert "resuming from" in (stopped / "train.log").read_text()
    assert same(weights(whole / "final.pt"), weights(stopped / "final.pt"))
    last = sorted(p.name for p in whole.glob("step-*.pt"))[-1]
    a, b = load(whole / last), load(stopped / last)
    assert same(a["model"], b["model"]) and same(a["loss"], b["loss"])
    a, b = a["optimizer"]["state"], b["optimizer"]["state"]
    assert a.keys() == b.keys() and {"step", "exp_avg", "exp_avg_sq"} == a[0].keys()
    assert all(same(a[i], b[i]) for i in a)
    assert len(list(stopped.glob("step-*.pt"))) == 3
    leftover = len(list(stopped.glob(".*.tmp")))
    assert leftover <= 3 if how == signal.SIGKILL else leftover == 0  # one a kill


def test_stopped_at_the_end_of_an_epoch_it_is_judged_all_the_same(ready, tmp_path, monkeypatch):
    class AtStepThree(StopRequest):
        @property
        def signal(self):
            return signal.SIGTERM if sys._getframe(1).f_locals["run"].step == 3 else 0

        @signal.setter
        def signal(self, _number):
            pass

    conf, train, dev = ready()
    out = tmp_path / "out"
    monkeypatch.setattr(loop, "StopRequest", AtStepThree)
    with pytest.raises(SystemExit) as left:
        fit(conf, train, dev, out)
    assert left.value.code == 143 and [path.name for path in out.glob("step-*")] == ["step-00000003.pt"]
    monkeypatch.undo()
    fit(conf, train, dev, out)
    assert [json.loads(line)["epoch"] for line in (out / "train.jsonl").open()] == [1, 2]


def test_the_same_seed_gives_the_same_network_and_another_seed_another(ready, tmp_path):
    conf, train, dev = ready()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fit(conf, train, dev, tmp_path / name, seed=seed)
    assert same(weights(tmp_path / "a/final.pt"), weights(tmp_path / "b/final.pt"))
    assert not same(weights(tmp_path / "a/final.pt"), weights(tmp_path / "c/final.pt"))


def test_checkpoint_of_another_configuration_is_refused(ready, conf, tmp_path):
    path, train, dev = ready()
    out = tmp_path / "out"
    fit(path, train, dev, out)
    before = (out / "final.pt").read_bytes()
    other = conf({"softmax.margin": 0.4, "model.embedding_dim": 16})
    for final in (True, False):
        if not final:
            (out / "final.pt").rename(tmp_path / "kept.pt")
        with pytest.raises(UserError, match=r"model.embedding_dim: 8 -> 16; .*softmax.margin: 0.2 -> 0.4.*--name"):
            fit(other, train, dev, out)
    assert (tmp_path / "kept.pt").read_bytes() == before
    with pytest.raises(UserError, match="kept.pt was trained with another .*model.embedding_dim: 8 -> 16"):
        fit(other, train, dev, tmp_path / "new", "triplet", tmp_path / "kept.pt")


def replaced(train, tmp_path, values):
    """Write other features to an archive of their own: utterance -> the value of all of them."""
    lines = []
    with (tmp_path / "other.ark").open("wb") as file:
        for line in (train / "feats.scp").open():
            name = line.split()[0]
            if name in values:
                offset = append(file, name, np.full((98, 64), values[name], np.float32))
                line = f"{name} {tmp_path}/other.ark:{offset}\n"
            lines.append(line)
    (train / "feats.scp").write_text("".join(lines))


def test_an_utterance_that_holds_no_numbers_is_named(ready, tmp_path):
    conf, train, dev = ready({"features.compress": False})
    replaced(train, tmp_path, {"s01-u02": np.nan})
    with pytest.raises(UserError, match="softmax: loss nan, gradient norm nan at step .: the features of s01-u02 hold"):
        fit(conf, train, dev, tmp_path / "out")
    left = sorted(tmp_path.glob("out/*.pt"))
    assert "initial.pt" in {path.name for path in left} and "final.pt" not in {path.name for path in left}
    assert all(value.isfinite().all() for path in left for value in weights(path).values())


def test_loss_that_diverges_says_what_to_lower(ready, tmp_path):
    conf, train, dev = ready({"softmax.learning_rate": 1e38, "softmax.epochs": 5, "training.optimizer": "sgd"})
    with pytest.raises(UserError, match=r"learning rate .*: lower \[softmax\] learning_rate"):
        fit(conf, train, dev, tmp_path / "out")


def test_features_that_never_change_are_refused(ready, tmp_path):
    conf, train, dev = ready({"features.compress": False, "features.vad": False})
    replaced(train, tmp_path, dict.fromkeys([line.split()[0] for line in (train / "feats.scp").open()], -15.9))
    with pytest.raises(UserError, match=r"the features of all utterances of a batch are constant \(s0.-u0"):
        fit(conf, train, dev, tmp_path / "out")


def test_hardest_negatives_from_a_random_start_collapse_and_the_alarm_says_so(ready, tmp_path):
    conf, train, dev = ready({"triplet.mining": "hard", "triplet.epochs": 10, "triplet.steps_per_epoch": 100,
                              "triplet.learning_rate": 0.01, "triplet.warmup_steps": 0, "triplet.margin": 0.2})
    with pytest.raises(UserError, match=r"collapsed at step \d+: for 200 steps .* \(0\.(19|20)\d+\).*--init.*semihard"):
        fit(conf, train, dev, tmp_path / "out", "triplet")
    assert not (tmp_path / "out/final.pt").exists()


@pytest.mark.parametrize("size, left", [(8, {".lock"}), (40, {".lock", "initial.pt", "best.pt"})])
def test_a_disk_that_fills_up_leaves_the_last_checkpoint_good(ready, tmp_path, size, left):
    """Of KiB: what initial.pt does not fit into, and what a checkpoint with its optimiser does not."""
    conf, train, dev = ready({"model.channels": [8, 8], "training.checkpoint_minutes": 0.0})
    fit(conf, train, dev, tmp_path / "whole")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size * 1024, limits[1]))
    try:
        with pytest.raises((OSError, RuntimeError, UserError)) as error:
            fit(conf, train, dev, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert isinstance(error.value, OSError | UserError), error.value
    assert {path.name for path in (tmp_path / "out").iterdir()} <= left
    for path in tmp_path.glob("out/*.pt"):
        load(path)
    fit(conf, train, dev, tmp_path / "out")
    assert same(weights(tmp_path / "whole/final.pt"), weights(tmp_path / "out/final.pt"))


def test_a_second_process_may_not_write_into_the_folder(ready, tmp_path):
    conf, train, dev = ready({"softmax.epochs": 10000})
    out = tmp_path / "out"
    first = subprocess.Popen(train_command(conf, train, dev, out), stdout=subprocess.DEVNULL, env=environment())
    until = time.monotonic() + 60
    while not (out / "initial.pt").exists() and time.monotonic() < until:
        time.sleep(0.05)
    with pytest.raises(UserError, match=f"another process is training into {out}: wait for its end"):
        fit(conf, train, dev, out)
    first.kill()
    first.wait()
    conf.write_text(conf.read_text().replace("epochs = 10000", "epochs = 1"))
    for path in out.glob("*.pt"):
        path.unlink()
    fit(conf, train, dev, out)  # the lock ended with the process that held it


def test_always_replaces_what_is_finished_and_goes_on_with_what_has_begun(tmp_path):
    """As a queue starts a training again that was to replace an older one."""
    out, identity = tmp_path / "exp/softmax", {"seed": 0}
    out.mkdir(parents=True)
    content = {"identity": identity, "config": {}, "model": {}}
    save(out / "step-00000001.pt", content)
    set_aside(out, identity, "always")
    assert (out / "step-00000001.pt").exists()
    save(out / "final.pt", content)
    set_aside(out, identity, "changed")
    assert (out / "final.pt").exists()
    set_aside(out, identity, "always")
    assert not list(out.iterdir()) and (tmp_path / "exp/old/softmax/final.pt").exists()


def test_what_was_trained_otherwise_is_replaced_where_asked(ready, tmp_path):
    conf, train, dev = ready()
    out, old = tmp_path / "exp/softmax", tmp_path / "exp/old/softmax"
    out.parent.mkdir()
    for seed in (0, 1, 1):
        fit(conf, train, dev, out, seed=seed, replace="changed")
        assert load(out / "final.pt")["identity"]["seed"] == seed
    assert load(old / "final.pt")["identity"]["seed"] == 0


def test_other_data_than_the_run_began_with_are_refused(ready, tmp_path):
    conf, train, dev = ready()
    out = tmp_path / "out"
    fit(conf, train, dev, out)
    (out / "final.pt").unlink()
    for directory in (train, dev):
        ark = Path((directory / "feats.scp").read_text().split()[1].rpartition(":")[0])
        before = ark.read_bytes()
        ark.write_bytes(before[:-7] + bytes([before[-7] ^ 1]) + before[-6:])
        with pytest.raises(UserError, match=f"trained with other data .*{directory.name}_features: '.*' -> '.*move"):
            fit(conf, train, dev, out)
        ark.write_bytes(before)
    with pytest.raises(UserError, match=r"was trained with other data or settings \(seed: 0 -> 1\)"):
        fit(conf, train, dev, out, seed=1)
    with pytest.raises(UserError, match=r"was trained with other data or settings \(init: None -> '[0-9a-f]{16}'\)"):
        fit(conf, train, dev, out, init=out / "best.pt")
    for name in ("feats.scp", "utt2spk"):
        lines = [line for line in (train / name).open() if not line.startswith("s03")]
        (train / name).write_text("".join(lines))
    with pytest.raises(UserError, match="speakers: 4 -> 3; .*utterances: 16 -> 12"):
        fit(conf, train, dev, out)


def test_the_epoch_with_the_best_dev_eer_is_kept(ready, tmp_path, monkeypatch):
    conf, train, dev = ready({"softmax.epochs": 4})
    out, eers = tmp_path / "out", iter([30.0, 10.0, 20.0, 10.0])
    monkeypatch.setattr(loop.DevelopmentSet, "eers", lambda *_: {"clean": next(eers)})
    fit(conf, train, dev, out)
    final = load(out / "final.pt")
    assert (final["epoch"], final["dev_eer"]) == (2, 10.0)
    assert [json.loads(line)["dev_eer"] for line in (out / "train.jsonl").open()] == [30.0, 10.0, 20.0, 10.0]
    kept = sorted(path.name for path in out.glob("step-*.pt"))
    assert kept == ["step-00000006.pt", "step-00000009.pt", "step-00000012.pt"]
    assert [same(final["model"], weights(out / name)) for name in kept] == [True, False, False]
    seen = [value for key, value in weights(out / kept[-1]).items() if key.endswith("num_batches_tracked")]
    assert seen and set(map(int, seen)) == {12}  # in training mode after each look at the dev set, too


BOTH = {"augment.dev_conditions": ["noise", "reverb"]}


@pytest.mark.parametrize("average", [0, 2])
def test_dev_in_several_conditions(ready, conditions, tmp_path, caplog, average):
    conf, train, dev = ready(BOTH | {"training.average": average})
    copies, out = conditions(conf, dev), tmp_path / "out"
    caplog.set_level("INFO")
    fit(conf, train, dev, out)

    def history():
        entries = map(json.loads, (out / "train.jsonl").open())
        timed = ("seconds", "utterances_per_second", "waiting")
        return [{key: value for key, value in entry.items() if key not in timed} for entry in entries]

    before, final = history(), load(out / "final.pt")
    names = ["dev_eer_clean", "dev_eer_noise", "dev_eer_reverb"]
    for entry in before:
        assert [name for name in entry if name.startswith("dev_eer")] == ["dev_eer", *names]
        assert entry["dev_eer"] == pytest.approx(sum(entry[name] for name in names) / 3)
    true = [slow_dev_eer(out / "final.pt", directory) for directory in (dev, *copies)]
    assert len(set(true)) > 1 and final["dev_eer"] == pytest.approx(sum(true) / 3)
    shown = f"dev EER {final['dev_eer']:.2f} %"
    if average:
        shown += " (clean {:.1f}, noise {:.1f}, reverb {:.1f})".format(*true)
    else:
        assert [before[final["epoch"] - 1][name] for name in names] == pytest.approx(true)
    assert caplog.messages[-1].endswith(shown)
    assert len({final["identity"][key] for key in ("dev_features", "dev_noise_features", "dev_reverb_features")}) == 3

    for path in (out / "final.pt", out / "step-00000006.pt"):
        path.unlink()
    fit(conf, train, dev, out)
    assert "resuming from" in caplog.text and history() == before
    again = load(out / "final.pt")
    assert same(again["model"], final["model"]) and again["dev_eer"] == final["dev_eer"]

    (out / "final.pt").unlink()
    (copies[0] / "feats.scp").write_text((copies[1] / "feats.scp").read_text().replace("-reverb ", "-noise "))
    with pytest.raises(UserError, match=r"trained with other data .*\(dev_noise_features: '.*' -> '[0-9a-f]*'\)"):
        fit(conf, train, dev, out)


def test_the_epoch_that_is_best_over_the_conditions_is_kept(ready, conditions, tmp_path, monkeypatch, caplog):
    """Not the third, which is the best in clean speech alone."""
    conf, train, dev = ready(BOTH | {"softmax.epochs": 3})
    conditions(conf, dev)
    out, eers = tmp_path / "out", iter([(6, 30, 30), (4, 12, 8), (1, 20, 9)])
    monkeypatch.setattr(loop.DevelopmentSet, "eers",
                        lambda *_: dict(zip(("clean", "noise", "reverb"), next(eers), strict=True)))
    caplog.set_level("INFO")
    fit(conf, train, dev, out)
    final = load(out / "final.pt")
    assert (final["epoch"], final["dev_eer"]) == (2, 8.0)
    assert [json.loads(line)["dev_eer"] for line in (out / "train.jsonl").open()] == [22.0, 8.0, 10.0]
    assert "dev EER 8.00% (clean 4.0, noise 12.0, reverb 8.0)  " in caplog.text


def test_conditions_without_their_data_are_told_before_training(ready, conditions, tmp_path):
    conf, train, dev = ready(BOTH)
    with pytest.raises(UserError, match=f"no {dev}_noise and no {dev}_reverb, by which .* dev_conditions .*stage 2"):
        fit(conf, train, dev, tmp_path / "out")
    for copy in conditions(conf, dev)[1:]:
        shutil.rmtree(copy)
    with pytest.raises(UserError, match=f"no {dev}_reverb, by which"):
        fit(conf, train, dev, tmp_path / "out")
    (dev.with_name("dev_noise") / "feats.scp").unlink()
    dev.with_name("dev_reverb").mkdir()
    with pytest.raises(UserError, match=f"no {dev}_noise/feats.scp: make the features first"):
        fit(conf, train, dev, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


def test_trainings_from_before_there_were_conditions_go_on(ready, tmp_path, caplog):
    """Their configuration lacks the key."""
    conf, train, dev = ready()
    out = tmp_path / "out"
    fit(conf, train, dev, out)
    assert "dev_eer_clean" not in (out / "train.jsonl").read_text()
    for path in out.glob("*.pt"):
        content = load(path)
        assert content["config"]["augment"].pop("dev_conditions") == []
        assert "dev_conditions" not in content["identity"]["augment"]
        assert [key for key in content["identity"] if key.startswith("dev")] == ["dev_features"]
        save(path, content)
    assert load_network(out / "final.pt")[1].augment.dev_conditions == []
    caplog.set_level("INFO")
    fit(conf, train, dev, out)
    assert "nothing to do" in caplog.text
    (out / "final.pt").unlink()
    (out / "step-00000006.pt").unlink()
    fit(conf, train, dev, out)
    assert "resuming from" in caplog.text and load(out / "final.pt")
    fit(conf, train, dev, tmp_path / "triplet", "triplet", out / "best.pt")


def begun(conf, changes, step=0, seed=0):
    """What a step needs of a Run, with a network of one weight (3,) at 0 that draws random numbers in training."""
    config = load_config(conf(changes))
    learner = torch.nn.ParameterList([torch.zeros(3)])
    learner.network = SimpleNamespace(random_in_training=True)
    return SimpleNamespace(config=config, phase="softmax", settings=config.softmax, seed=seed, step=step,
                           device=torch.device("cpu"), learner=learner,
                           optimizer=torch.optim.SGD(learner.parameters(), 0.0))


def small_batch(windows=200):
    features = torch.randn(windows, 30, 8, generator=torch.Generator().manual_seed(0)) + 5
    return Batch(features, Labels.of(torch.arange(windows), torch.arange(windows) + 1000))


def seen_by_the_network(run, batch):
    """What the network gets at the run's step, where the batch is drawn."""
    heard = []

    def parallel(features, labels, arguments):
        heard.append(features)
        return run.learner[0].sum(), {}

    run.parallel = parallel
    loop._step(run, loop._draw(run, SimpleNamespace(draw=lambda *_: batch), run.step))
    return heard[0]


def test_the_network_sees_normalised_windows_with_masks_of_their_own(conf):
    batch, shown = small_batch(), {}
    for name, step, seed, longest in (("plain", 0, 0, 0), ("masked", 0, 0, 6), ("again", 0, 0, 6), ("next", 1, 0, 6),
                                      ("other", 0, 1, 6)):
        run = begun(conf, {"augment.time_mask": longest, "augment.frequency_mask": longest // 3,
                           "softmax.speakers": 200, "softmax.utterances": 1}, step, seed)
        shown[name] = seen_by_the_network(run, batch)
    torch.testing.assert_close(shown["plain"], batch.features - batch.features.mean(1, keepdim=True))
    hidden = shown["masked"] == 0
    assert torch.equal(shown["masked"][~hidden], shown["plain"][~hidden])
    assert set(hidden.all(2).sum(1).tolist()) == set(range(7)) and set(hidden.all(1).sum(1).tolist()) == {0, 1, 2}
    assert len(hidden.flatten(1).unique(dim=0)) > 150
    assert torch.equal(shown["masked"], shown["again"])
    assert not torch.equal(shown["masked"], shown["next"]) and not torch.equal(shown["masked"], shown["other"])


def test_a_step_moves_against_the_clipped_gradient_at_the_rate_of_the_step(conf):
    """The gradient (0, 3, 4) of length 5 is clipped to 0.5; the last of 6 steps has the final rate, 0.1."""
    heard = []

    def parallel(features, labels, arguments):
        heard.append((features, labels, arguments, torch.rand(2).tolist()))
        return (run.learner[0] * torch.tensor([0.0, 3.0, 4.0])).sum() + 7, {"accuracy": torch.tensor(0.25)}

    batch, changes = small_batch(5), {"training.max_gradient_norm": 0.5, "softmax.learning_rate": 1.0,
                                      "softmax.final_learning_rate": 0.1, "softmax.margin": 0.3,
                                      "softmax.margin_start_step": 5}
    run = begun(conf, changes, step=5)
    run.parallel = parallel
    gauges = loop._step(run, batch)
    torch.testing.assert_close(run.learner[0].detach(), torch.tensor([0.0, -0.03, -0.04]))
    assert gauges["loss"] == 7 and not gauges["loss"].requires_grad
    assert gauges["gradient_norm"] == 5 and gauges["accuracy"] == 0.25
    loop._step(run, batch)  # its gradient is its own
    torch.testing.assert_close(run.learner[0].detach(), torch.tensor([0.0, -0.06, -0.08]))
    run.step = 4
    loop._step(run, batch)
    features, labels, arguments, drawn = heard[0]
    torch.testing.assert_close(features, batch.features - batch.features.mean(1, keepdim=True))
    assert labels is batch.labels
    assert [each[2] for each in heard] == [SoftmaxArguments(m, scale=30.0) for m in (0.3, 0.3, 0.0)]
    assert heard[1][3] == drawn != heard[2][3]  # what a network draws follows from the step


def test_a_signal_is_noted_within_the_block_and_acts_as_before_behind_it():
    heard = []
    before = {number: signal.signal(number, lambda number, _: heard.append(number))
              for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with StopRequest() as stop:
            assert stop.signal == 0
            for number in before:
                signal.raise_signal(number)
                assert stop.signal == number
        assert not heard
        for number in before:
            signal.raise_signal(number)
        assert heard == list(before) and stop.signal == signal.SIGINT
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_dev_trials_of_utterances_without_features_are_left_out(ready):
    conf, _, dev = ready()
    config = load_config(conf)
    whole = loop.DevelopmentSet(dev, config)
    lines = (dev / "trials").read_text()
    (dev / "trials").write_text(f"s00-u00 gone target\ngone s00-u00 target\n{lines}")
    torch.manual_seed(0)
    model = build_network(64, config.model.name, config.model.options).eval()
    eers = [found.eers(model, torch.device("cpu")) for found in (whole, loop.DevelopmentSet(dev, config))]
    assert eers[0] == eers[1] and eers[0]["clean"] > 0
    (dev / "trials").write_text("s00-u00 gone target\ngone s00-u00 target\n")
    with pytest.raises(UserError, match="no trial of .*/trials names utterances that have features"):
        loop.DevelopmentSet(dev, config)


def test_the_mean_of_the_last_epochs(ready, tmp_path):
    conf, train, dev = ready({"softmax.epochs": 3, "training.average": 2})
    out = tmp_path / "out"
    fit(conf, train, dev, out)
    kept = [load(path) for path in sorted(out.glob("epoch-*.pt"))]
    final = load(out / "final.pt")
    assert [content["epoch"] for content in kept] == final["epochs"] == [2, 3]
    assert final["dev_eer"] == pytest.approx(slow_dev_eer(out / "final.pt", dev))
    for name, value in final["model"].items():
        a, b = (content["model"][name] for content in kept)
        torch.testing.assert_close(value, (a + b) / 2 if value.is_floating_point() else b)
    load_network(out / "final.pt")


def test_fine_tuning_on_more_speakers_says_what_it_keeps(ready, data_dir, tmp_path, caplog):
    conf, train, dev = ready()
    out = tmp_path / "out"
    fit(conf, train, dev, out)
    mine = data_dir("mine", speakers=6, utterances=2)
    make_features(mine, load_config(conf), tmp_path)
    caplog.set_level("INFO")
    fit(conf, mine, dev, tmp_path / "new", init=out / "final.pt")
    assert (f"from {out}/final.pt (trained on 4 speakers): its network is kept; its classifier keeps 4 speakers, drops "
            "0 and gets 2 new ones") in caplog.text
    assert same(weights(tmp_path / "new/initial.pt"), weights(out / "final.pt"))


def test_frozen_norms_keep_their_statistics_and_learn_their_weights(ready, tmp_path):
    conf, train, dev = ready()
    fit(conf, train, dev, tmp_path / "softmax")
    start = weights(tmp_path / "softmax/final.pt")
    for frozen in (True, False):
        config = set_values(load_config(conf), [f"training.frozen_norms={str(frozen).lower()}"])
        write_config(conf, config)
        fit(conf, train, dev, tmp_path / f"triplet-{frozen}", "triplet", tmp_path / "softmax/final.pt")
        found = weights(tmp_path / f"triplet-{frozen}/final.pt")
        kept = {name for name, value in found.items() if torch.equal(value, start[name])}
        statistics = {name for name in found if re.search("running_|num_batches", name)}
        assert kept == (statistics if frozen else set()) and len(statistics) > 6


@pytest.mark.parametrize("name", ["gru", "resnet", "ecapa", "campplus"])
def test_every_body_trains(ready, tmp_path, name):
    conf, train, dev = ready({"model": {"name": name, **BODIES[name]}})
    fit(conf, train, dev, tmp_path / "softmax")
    fit(conf, train, dev, tmp_path / "triplet", "triplet", tmp_path / "softmax/final.pt")
    initial, final = (load(tmp_path / phase)["model"] for phase in ("softmax/initial.pt", "triplet/final.pt"))
    assert all(value.isfinite().all() for value in final.values())
    assert not any(torch.equal(initial[key], final[key]) for key in final if key.endswith("weight"))
    load_network(tmp_path / "triplet/final.pt")


@pytest.mark.long
@pytest.mark.parametrize("compiler", ["g++", "/no/such/compiler"])
def test_compiled_or_not_and_says_so(ready, tmp_path, compiler, monkeypatch):
    if compiler == "g++" and not shutil.which("g++"):
        pytest.skip("no g++, which torch.compile needs on a CPU")
    conf, train, dev = ready({"training.compile": True})
    done = subprocess.run(train_command(conf, train, dev, tmp_path / "compiled"), capture_output=True, text=True,
                          timeout=400, env=environment(CXX=compiler, TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache")))
    assert done.returncode == 0, done.stderr
    assert ("torch.compile failed, training goes on without it" in done.stdout) == (compiler != "g++")
    conf.write_text(conf.read_text().replace("compile = true", "compile = false"))
    if compiler == "g++":  # compiled for a CPU, a network is in single precision
        monkeypatch.setattr(learner, "multiplies_bfloat16", lambda device: False)
    fit(conf, train, dev, tmp_path / "eager")
    for name, value in weights(tmp_path / "eager/final.pt").items():
        torch.testing.assert_close(weights(tmp_path / "compiled/final.pt")[name], value, atol=2e-3, rtol=2e-3)


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("g++"), reason="no g++, which torch.compile needs on a CPU")
def test_compiled_twice_for_windows_of_many_lengths(ready, tmp_path):
    """Where each length is compiled anew, the compiler soon reaches its limit, and the log says so."""
    conf, train, dev = ready({"training.compile": True, "softmax.steps_per_epoch": 12})
    done = subprocess.run(train_command(conf, train, dev, tmp_path / "out"), capture_output=True, text=True,
                          timeout=400, env=environment(TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache")))
    assert done.returncode == 0 and "torch.compile" not in done.stdout, done.stdout + done.stderr


def test_deterministic_operations_alone(ready, tmp_path):
    conf, train, dev = ready({"training.deterministic": True, "triplet.mining": "all"})
    try:
        fit(conf, train, dev, tmp_path / "out")
        fit(conf, train, dev, tmp_path / "triplet", "triplet", tmp_path / "out/final.pt")
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_too_few_speakers(ready, tmp_path):
    conf, train, dev = ready({"softmax.speakers": 9})
    with pytest.raises(UserError, match=r"\[softmax\] speakers = 9, but 4 of the 4 training speakers"):
        fit(conf, train, dev, tmp_path / "out")


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile-was-here",)


def test_checkpoints_that_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Path("hostile.pt").open("wb") as file:
        pickle.dump(Hostile(), file)
    torch.save({"model": Hostile()}, "hostile2.pt")
    Path("text.pt").write_text("no checkpoint at all")
    save("other.pt", {"something": 1})
    for name, message in (("hostile.pt", "damaged, or not a checkpoint"), ("hostile2.pt", "damaged, or not"),
                          ("text.pt", "damaged, or not"), ("other.pt", "not a checkpoint of this project"),
                          ("none.pt", "no such checkpoint")):
        with pytest.raises(UserError, match=message):
            load_network(name)
    assert not Path("hostile-was-here").exists()


def test_truncated_checkpoint(ready, tmp_path):
    conf, train, dev = ready()
    fit(conf, train, dev, tmp_path / "out")
    path = tmp_path / "cut.pt"
    path.write_bytes((tmp_path / "out/final.pt").read_bytes()[:-500])
    with pytest.raises(UserError, match="cut.pt is damaged"):
        load(path)


@pytest.mark.parametrize("decay", ["linear", "exponential"])
def test_learning_rate(decay):
    settings = SoftmaxConfig(epochs=2, steps_per_epoch=10, speakers=1, utterances=1, min_frames=1, max_frames=1,
                             speaker_weight="even", learning_rate=1.0, final_learning_rate=0.1, decay=decay,
                             warmup_steps=4, margin=0.1, margin_start_step=0, margin_warmup_steps=0, scale=30.0)
    rates = [settings.learning_rate_at(step) for step in range(20)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0] and rates[-1] == pytest.approx(0.1)
    if decay == "linear":
        assert np.allclose(np.diff(rates[4:]), -0.9 / 15)
    else:
        assert np.allclose(np.diff(np.log(rates[4:])), np.log(0.1) / 15)
