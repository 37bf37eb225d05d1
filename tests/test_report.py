"""The report of an experiment: what it says, what it must not run, and what a browser makes of it."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import browser, missing
from conftest import ROOT, environment, tiny_conf

from deepspeaker.datadir.archive import write_vectors
from deepspeaker.recipe.report import facts, figures, make_report
from deepspeaker.recipe.report.systems import differences, scored_lists, worst_errors
from deepspeaker.scoring.calibration import Calibration, write_calibration

HOSTILE = '"><script>document.title="run"</script><img/src=x/onerror="document.title=1">'
PHASES = {"untrained": 0.5, "softmax": 2.0, "triplet": 3.0}  # how far apart the classes are
GAUGES = {"loss": 1.0, "active": 0.1, "same": 0.7, "different": 0.0, "effective_rank": 12.5, "gradient_norm": 1.2,
          "learning_rate": 0.001, "utterances_per_second": 300.0, "waiting": 0.01, "a_new_gauge": 5}
CONDITIONS = {"dev_eer_clean": 4.0, "dev_eer_noise": 12.0, "dev_eer_reverb": 5.0}  # of the triplet phase


def write_data(folder, speakers=6, utterances=4):
    """A test set whose last speaker has a hostile name and a hostile path, and whose trials are all pairs."""
    folder.mkdir(parents=True)
    names = [f"s{n}" for n in range(speakers - 1)] + [f"s9{HOSTILE}"]
    utt2spk = {f"{name}-{n}": name for name in names for n in range(utterances)}
    ids = sorted(utt2spk)
    (folder / "utt2spk").write_text("".join(f"{i} {utt2spk[i]}\n" for i in ids))
    (folder / "wav.scp").write_text("".join(f"{i} /wavs/a b/{i}.wav\n" for i in ids[:-1])
                                    + f"{ids[-1]} cat {HOSTILE} |\n")
    (folder / "utt2dur").write_text("".join(f"{i} {2 + n / 7:.2f}\n" for n, i in enumerate(ids)))
    (folder / "spk2gender").write_text("".join(f"{name} {'mf'[n % 2]}\n" for n, name in enumerate(names)))
    pairs = [(a, b, utt2spk[a] == utt2spk[b]) for n, a in enumerate(ids) for b in ids[n + 1:]]
    (folder / "trials").write_text("".join(f"{a} {b} {'target' if t else 'nontarget'}\n" for a, b, t in pairs))
    return ids, pairs


def write_scores(exp, phase, pairs, distance, rng, backends=("cosine",)):
    values = rng.normal([distance * target for _, _, target in pairs])
    for kind, scores in {"scores": values, "llr": 2 * values - 2}.items():
        folder = exp / phase / kind / "test"
        folder.mkdir(parents=True)
        for backend in backends:
            (folder / f"trials.{backend}").write_text(
                "".join(f"{a} {b} {s:.4f}\n" for (a, b, _), s in zip(pairs, scores, strict=True)))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """DATA and EXP_DIR as stages 1 to 6 leave them, of drawn scores and embeddings."""
    from deepspeaker.metrics.describe import describe

    work = tmp_path_factory.mktemp("report")
    data, exp, rng = work / "data", work / "exp/my <i>exp", np.random.default_rng(0)
    ids, pairs = write_data(data / "test")
    tables = [str(data / "test" / name) for name in ("utt2dur", "spk2gender")]
    for phase, distance in PHASES.items():
        backends = ("cosine", "plda") if phase == "triplet" else ("cosine",)
        write_scores(exp, phase, pairs, distance, rng, backends)
        embeddings = exp / phase / "embeddings/test"
        embeddings.mkdir(parents=True)
        write_vectors(embeddings / "embedding", {i: rng.normal(size=8).astype(np.float32) for i in ids})
        for backend in backends:
            scores, llr = (exp / phase / kind / f"test/trials.{backend}" for kind in ("scores", "llr"))
            found = describe(scores, data / "test/trials", llr, data / "test/utt2spk",
                             breakdowns=tables if phase == "triplet" else ())
            scores.with_name(f"{scores.name}.json").write_text(json.dumps(found))
    (exp / "triplet/calibration").mkdir()
    write_calibration(exp / "triplet/calibration/cosine.json", Calibration(
        0.1, 0.0, {"score": 1.0, "snr_smaller": 0.1, "score*snr_smaller": 0.1}, {"snr_smaller": (0.0, 1.0)},
        (-2.5, 3.0), 6, 0.25))
    for phase in ("softmax", "triplet"):
        (exp / phase / "train.jsonl").write_text("".join(
            json.dumps({"epoch": n, "step": 10 * n, "dev_eer": 9.0 - n, "seconds": 8, "note": HOSTILE,
                        **(CONDITIONS if phase == "triplet" else {}),
                        **(GAUGES if n > 1 else {"loss": 2.0})}) + "\n" for n in (1, 2, 3)))
    (exp / "results.tsv").write_text("not read\n")
    for home, name, seconds, date, command in ((data, "1", 5, "2026-01-01T00:00:00Z", f"run.sh {HOSTILE}"),
                                               (exp, "6.a", 25, "2026-01-01T00:10:00Z", "run.sh"),
                                               (exp, "6.b", 3700, "2026-01-02T00:10:00Z", "run.sh --stage 6")):
        (home / ".stages").mkdir(exist_ok=True)
        (home / f".stages/{name}.json").write_text(json.dumps({
            "format": 1, "settings": {}, "inputs": {}, "outputs": {}, "program": "", "revision": "", "seconds": seconds,
            "date": date, "command": command}))
    return data, exp


@pytest.fixture(scope="module")
def report(experiment, tmp_path_factory):
    data, exp = experiment
    conf = tiny_conf(tmp_path_factory.mktemp("conf") / "tiny.toml")
    done = subprocess.run([sys.executable, ROOT / "steps/make_report.py", "--conf", conf, data, exp], env=environment(),
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return exp / "report.html"


class Page(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_data(self, data):
        self.text += data


def test_says_what_the_experiment_was(report, experiment):
    page = Page(report.read_text())
    text = re.sub(r"\s+", " ", page.text)
    metrics = json.loads((experiment[1] / "triplet/scores/test/trials.plda.json").read_text())
    assert "my <i>exp" in text and "36 target and 240 nontarget trials of 6 speakers; 0 trials lost" in text
    assert f"{metrics['eer']:.2f} {metrics['eer_low']:.2f} – {metrics['eer_high']:.2f}" in text
    assert f"{metrics['cllr']:.3f}" in text and f"{metrics['act_dcf_0.01']:.3f}" in text
    for each in ("triplet, cosine", "both f", "over 3.", "false rejects", "1 h 02 min", "run.sh --stage 6",
                 "num_mel_bins", "matplotlib", "2026-01-02 00:10:00", "a new gauge", "effective rank",
                 "dev EER, %", HOSTILE):
        assert each in text, each
    # DET, map, costs, reliability, histograms, gauges
    assert page.elements.count("svg") == 1 + 1 + 2 + 2 * 2 + 2 * (len(GAUGES) + 1)
    assert "cosine60.250snr−2.503.00" in text  # the row of the calibration


def test_ratios_that_mean_what_they_say_are_observed():
    """Of Gaussian scores N(2, 1) and N(0, 1) the log-likelihood ratio is 2 s - 2; half of it claims too little."""
    rng = np.random.default_rng(0)
    labels = np.arange(200_000) % 10 == 0
    llr = 2 * (rng.standard_normal(len(labels)) + 2 * labels) - 2
    for scale in (1, 0.5):
        stated, observed = figures.observed_ratios(scale * llr, labels)
        assert len(stated) == figures.RELIABILITY_BINS and np.all(np.diff(stated) > 0)
        np.testing.assert_allclose(observed[1:-1] * scale, stated[1:-1], atol=0.25)


def test_dev_eers_of_several_conditions_share_a_figure(report):
    figures = re.findall(r"<svg.*?</svg>", report.read_text(), re.DOTALL)
    panels = [svg for svg in figures if 'aria-label="dev_eer"' in svg]
    assert [re.findall(r">(clean|noise|reverb|mean)</text>", svg) for svg in panels] == [
        [], ["clean", "noise", "reverb", "mean"]]
    assert "dev eer " not in report.read_text()


def test_runs_nothing_and_fetches_nothing(report):
    page = Page(report.read_text())
    assert not {"script", "img", "iframe", "object", "embed"} & set(page.elements)
    assert not [a for a in page.attributes if a[1].startswith("on")]
    addresses = [value for tag, name, value in page.attributes if name in ("href", "src", "xlink:href")]
    assert addresses and all(a.startswith(("#", "file:///wavs/a%20b/s", "data:")) for a in addresses), addresses


def test_differences_and_worst_errors(experiment):
    data, exp = experiment
    (scored,) = scored_lists(exp, data, PHASES)
    system = scored.systems[-1]
    assert (system.phase, system.backend) == ("triplet", "plda")
    rows = differences(scored)
    assert [(row["first"], row["second"]) for row in rows] == [
        ("untrained, cosine", "softmax, cosine"), ("softmax, cosine", "triplet, cosine"),
        ("triplet, cosine", "triplet, plda")]
    for row, (before, after) in zip(rows, ((0, 1), (1, 2), (2, 3)), strict=True):
        assert row.keys() == {"first", "second", "eer", "min_dcf_0.01"}
        values = [scored.systems[n].metrics["eer"] for n in (before, after)]
        assert [row["eer"]["a"], row["eer"]["b"]] == values and row["eer"]["difference"] == values[1] - values[0]
    assert -50 < rows[0]["eer"]["low"] < rows[0]["eer"]["difference"] < rows[0]["eer"]["high"] < 0
    assert rows[2]["eer"]["low"] == rows[2]["eer"]["high"] == 0  # the two back-ends have the same scores here
    worst = worst_errors(scored, system)
    assert worst["false accepts"][0]["score"] == system.scores[~scored.labels].max()
    assert worst["false rejects"][0]["score"] == system.scores[scored.labels].min()
    errors = system.metrics["eer"] / 100 * scored.labels.sum()
    assert (len(worst["false accepts"]), len(worst["false rejects"])) == (10, round(errors))
    side = worst["false accepts"][0]["sides"][0]
    assert side.recordings == [(f"/wavs/a b/{side.name}.wav", "")] and side.seconds > 2
    with (data / "test/segments").open("w") as file:
        file.writelines(f"{u} {u} 1.5 {3 if n % 2 else -1}\n" for n, u in enumerate(sorted(scored.sides.utt2spk)))
    (data / "test/augment").write_text("".join(f"{u} speed 0.9\n" for u in scored.sides.utt2spk))
    parts = {s.recordings[0][1] for each in worst_errors(scored, system).values() for t in each for s in t["sides"]}
    for name in ("segments", "augment"):
        (data / "test" / name).unlink()
    assert parts == {"from 1.5 s speed 0.9", "from 1.5 s to 3 s speed 0.9"}


def test_without_what_is_optional(experiment, tmp_path, conf):
    """Scores alone: no likelihood ratios, embeddings, durations, training curves, or times of stages."""
    from deepspeaker.config import load_config

    data, exp = tmp_path / "data", tmp_path / "exp"
    _, pairs = write_data(data / "test", speakers=3)
    write_scores(exp, "triplet", pairs, 2.0, np.random.default_rng(0))
    for name in ("wav.scp", "utt2dur", "spk2gender"):
        (data / "test" / name).unlink()
    (exp / "triplet/llr/test/trials.cosine").unlink()
    (exp / "triplet/scores/test/trials.cosine.json").write_text(json.dumps({
        "eer": 12.5, "min_dcf_0.01": 0.5, "min_dcf_0.001": 0.75, "miss_at_fa_0.01": 3.0, "n_lost": 7}))
    page = Page(make_report(data, exp, load_config(conf()), [*PHASES]))
    text = re.sub(r"\s+", " ", page.text)
    assert "12.50" in text and "7 trials lost" in text and "No train.jsonl" in text and "Not recorded" in text
    assert page.elements.count("svg") == 2


def test_what_other_phases_left_is_not_reported(experiment, tmp_path, conf):
    """An earlier run of this experiment trained the softmax phase; this one starts the triplet phase from elsewhere."""
    from deepspeaker.config import load_config

    data, exp = experiment
    shutil.copytree(exp, tmp_path / "exp")
    (tmp_path / "exp/untrained").rename(tmp_path / "exp/init")
    record = json.loads((exp / ".stages/6.a.json").read_text())
    for part, command in (("3", "softmax"), ("4", "triplet"), ("5.softmax.test", "softmax"), ("5.init.test", "init")):
        (tmp_path / f"exp/.stages/{part}.json").write_text(json.dumps(record | {"command": f"run.sh of {command}"}))
    text = Page(make_report(data, tmp_path / "exp", load_config(conf()), ["init", "triplet"])).text
    assert "initcosine" in text and "run.sh of triplet" in text and "run.sh of init" in text
    assert "softmaxcosine" not in text and "run.sh of softmax" not in text
    assert [*facts.training_logs(tmp_path / "exp", ["init", "triplet"])] == ["triplet"]
    assert len({*figures.PHASE_COLOURS.values()}) == 4


def test_a_damaged_train_jsonl_is_named(tmp_path):
    (tmp_path / "softmax").mkdir()
    (tmp_path / "softmax/train.jsonl").write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(Exception, match="train.jsonl:2: expected an epoch's numbers as JSON"):
        facts.training_logs(tmp_path, PHASES)


@pytest.mark.skipif(missing() is not None, reason=f"{missing()} is not installed")
@pytest.mark.parametrize("width", [390, 1200])
def test_in_a_browser(report, width):
    with browser(width) as window:
        window.open(report)
        assert window.console() == []
        assert window.run("return document.title") == "my <i>exp – speaker verification report"
        assert window.run("return document.documentElement.scrollWidth") <= width
        assert window.run("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
        shown = window.run("return [...document.querySelectorAll('svg')].map(e => {"
                           "let box = e.getBoundingClientRect(); return [box.width, box.height, box.right]})")
        assert len(shown) == 30 and all(w > 100 and h > 60 and right <= width for w, h, right in shown)
        heights = window.run("return [...document.querySelectorAll('svg text')].map("
                             "e => e.getBoundingClientRect().height)")
        assert min(heights) > 7  # pixels: can be read
        assert window.print().startswith(b"%PDF")
