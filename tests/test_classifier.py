"""The rows of the softmax classifier follow the speakers' names: into checkpoints, and from there into fine-tuning."""

import pytest
import torch
from conftest import ROOT, finish, same, train_command, weights
from test_distributed import torchrun
from test_training import fit

from deepspeaker.checkpoint import load, save, write_model
from deepspeaker.config import load_config
from deepspeaker.errors import UserError
from deepspeaker.training.learner import build_learner

CPU = torch.device("cpu")
AT_SPEEDS = {"augment.online": True, "augment.copies": [], "augment.speed": 0.5, "augment.speeds": [1.1]}


def classifier(path):
    """Name -> row."""
    found = load(path)["classifier"]
    return dict(zip(found["speakers"], found["weight"], strict=True))


def renamed(directory, names):
    """Give speakers other names: old name -> new one."""
    lines = [line.split() for line in (directory / "utt2spk").open()]
    (directory / "utt2spk").write_text("".join(f"{utterance} {names.get(speaker, speaker)}\n"
                                               for utterance, speaker in lines))


@pytest.fixture
def trained(ready, tmp_path):
    """A finished softmax training of s00 to s03, and other data: s00, s03, new0 and new1, in another order."""

    def make(changes=None):
        conf, train, dev = ready(changes)
        fit(conf, train, dev, tmp_path / "out")
        renamed(train, {"s00": "s03", "s01": "new0", "s02": "new1", "s03": "s00"})
        return conf, train, dev, tmp_path / "out"

    return make


def test_checkpoints_to_start_from_have_the_classifier(trained, tmp_path):
    conf, train, dev, out = trained({"training.average": 2})
    names = ["best.pt", "epoch-00001.pt", "epoch-00002.pt", "final.pt"]
    assert all([*classifier(out / name)] == ["s00", "s01", "s02", "s03"] for name in names)
    step = load(out / "step-00000006.pt")
    assert torch.equal(step["loss"]["weight"], load(out / "epoch-00002.pt")["classifier"]["weight"])
    first, second, mean = (load(out / name)["classifier"]["weight"] for name in names[1:])
    torch.testing.assert_close(mean, (first + second) / 2)
    assert not torch.equal(first, second)

    write_model(tmp_path / "model.pt", out / "final.pt", load_config(conf), {"summary": {}})
    assert same(weights(tmp_path / "model.pt"), weights(out / "final.pt"))
    assert b"s00" in (out / "final.pt").read_bytes() and b"s00" not in (tmp_path / "model.pt").read_bytes()
    fit(conf, train, dev, tmp_path / "triplet", "triplet", out / "final.pt")
    assert all("classifier" not in load(path) for path in (tmp_path / "triplet").glob("*.pt"))


@pytest.mark.parametrize("processes", [1, 2])
def test_rows_of_the_same_speakers_are_kept(trained, tmp_path, processes):
    conf, train, dev, out = trained()
    before, new = classifier(out / "final.pt"), tmp_path / "new"
    words = train_command(conf, train, dev, new, "softmax", "--init", out / "final.pt")
    done = finish(words if processes == 1 else torchrun(2, *words[1:]))
    assert done.returncode == 0, done.stderr
    assert (f"from {out}/final.pt (trained on 4 speakers): its network is kept; its classifier keeps 2 speakers, drops "
            "2 and gets 2 new ones") in done.stdout
    start, end = classifier(new / "initial.pt"), classifier(new / "final.pt")
    assert [*start] == [*end] == ["new0", "new1", "s00", "s03"]
    assert all(torch.equal(start[name], before[name]) for name in ("s00", "s03"))
    assert not any(torch.equal(start[name], row) for name in ("new0", "new1") for row in before.values())
    assert not any(torch.equal(start[name], end[name]) for name in start)


def test_new_rows_are_those_of_a_start_without_a_classifier(trained, tmp_path, caplog):
    """Of one seed, as checkpoints of the triplet phase, of older versions and model.pt start."""
    conf, _, _, out = trained()
    config, speakers = load_config(conf), ["s01", "x", "s02"]
    write_model(tmp_path / "model.pt", out / "final.pt", config, {})
    found = []
    caplog.set_level("INFO")
    for init in (out / "final.pt", tmp_path / "model.pt"):
        torch.manual_seed(0)
        found.append(build_learner(config, "softmax", speakers, init, CPU).loss.weight.detach())
    assert "its classifier is replaced by a new one of 3 speakers" in caplog.messages[-1]
    before = classifier(out / "final.pt")
    assert torch.equal(found[0], torch.stack([before["s01"], found[1][1], before["s02"]]))
    assert not torch.equal(found[1][0], before["s01"])
    strangers = build_learner(config, "softmax", ["x", "y"], out / "final.pt", CPU).loss.weight
    assert strangers.shape == (2, 8) and "keeps 0 speakers, drops 4 and gets 2 new ones" in caplog.messages[-1]


def test_speakers_at_other_speeds_are_dropped(ready, tmp_path, caplog):
    """As in large-margin fine-tuning."""
    conf, train, dev = ready(AT_SPEEDS)
    fit(conf, train, dev, tmp_path / "out")
    before = classifier(tmp_path / "out/final.pt")
    assert [*before][3:6] == ["s03", "sp1.1-s00", "sp1.1-s01"]
    conf.write_text(conf.read_text().replace("speed = 0.5", "speed = 0.0"))
    caplog.set_level("INFO")
    fit(conf, train, dev, tmp_path / "large-margin", init=tmp_path / "out/final.pt")
    assert "its classifier keeps 4 speakers, drops 4 and gets 0 new ones" in caplog.text
    start = classifier(tmp_path / "large-margin/initial.pt")
    assert len(start) == 4 and same(start, {name: before[name] for name in start})


def test_a_training_of_before_there_were_classifiers_goes_on(ready, tmp_path):
    conf, train, dev = ready({"training.average": 2})
    out = tmp_path / "out"
    fit(conf, train, dev, out)
    whole = load(out / "final.pt")
    for name in ("final.pt", "step-00000006.pt", "epoch-00002.pt"):
        (out / name).unlink()
    for path in out.glob("*.pt"):
        save(path, {key: value for key, value in load(path).items() if key != "classifier"})
    fit(conf, train, dev, out)
    again, last = (load(out / name) for name in ("final.pt", "epoch-00002.pt"))
    assert same(again["model"], whole["model"])
    assert torch.equal(again["classifier"]["weight"], last["classifier"]["weight"])


@pytest.mark.parametrize("name", ["resnet34", "ecapa"])
def test_the_published_fine_tuning_may_start_from_the_published_training(name):
    first, second, other = (load_config(ROOT / f"egs/voxceleb/conf/{conf}.toml")
                            for conf in (name, f"{name}_lm", "resnet34_lm"))
    assert (first.features, first.model) == (second.features, second.model)
    assert (first.augment.speed, second.augment.speed) == (0.667, 0.0)
    assert (second.softmax, second.training, second.augment) == (other.softmax, other.training, other.augment)
    assert second.softmax.loss_arguments(0).margin == 0.5


@pytest.mark.parametrize("damage, message", [
    ({"speakers": ["a", "b"]}, r"2 names and weights of the shape \(4, 8\)"),
    ({"weight": torch.zeros(4, 7)}, r"4 names and weights of the shape \(4, 7\)"),
    ({"weight": torch.zeros(4)}, r"4 names and weights of the shape \(4,\)"),
    ({"weight": torch.zeros(4, 8, dtype=torch.int64)}, "other values"),
    ({"weight": torch.zeros(4, 8).to_sparse()}, "other values"),
    ({"weight": [[0.0] * 8] * 4}, "other values"),
    ({"speakers": [0, 1, 2, 3]}, "other values"),
    ({"speakers": "abcd"}, "other values"),
    (None, "other values")])
def test_a_damaged_classifier_is_refused(conf, tmp_path, damage, message):
    config = load_config(conf())
    network = build_learner(config, "softmax", "abcd", None, CPU).network.state_dict()
    good = {"speakers": [*"abcd"], "weight": torch.ones(4, 8)}
    save(tmp_path / "bad.pt", {"config": config.as_tables(), "model": network,
                               "classifier": damage and good | damage})
    with pytest.raises(UserError, match=f"bad.pt: its classifier is damaged: expected .*, found {message}: start from"):
        build_learner(config, "softmax", "abcd", tmp_path / "bad.pt", CPU)
    build_learner(config, "triplet", "abcd", tmp_path / "bad.pt", CPU)  # has no use for it
