"""The report of an experiment: one HTML page with its figures, which a browser shows offline.

systems   what is compared: trial lists and the systems that scored them
figures   figures as SVG
facts     data, training, stages and versions
page.html the template
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from deepspeaker.audio.content import is_file
from deepspeaker.config import Config
from deepspeaker.datadir import read_table
from deepspeaker.datadir.archive import read_vectors
from deepspeaker.recipe.report import facts, figures
from deepspeaker.recipe.report.systems import ScoredList, System, differences, scored_lists, worst_errors


def make_report(data: Path, exp: Path, config: Config, phases: Sequence[str]) -> str:
    """The HTML page on what stages 1 to 6 left in `data` and, of these phases, in `exp`. All text from files is
    escaped."""
    lists = scored_lists(exp, data, phases)
    page = _environment().get_template("page.html")
    return page.render(
        name=exp.name, date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", lists=[_section(each, exp) for each in lists],
        training={phase: [Markup(svg) for svg in figures.training(phase, epochs)]
                  for phase, epochs in facts.training_logs(exp, phases).items()},
        calibrations=facts.calibrations(exp / phases[-1]), data=facts.data_sets(data),
        stages=facts.stages(data, exp, phases),
        config=config.as_tables(), versions=facts.versions())


def _section(scored: ScoredList, exp: Path) -> dict[str, object]:
    """What the page shows about one trial list."""
    latest = scored.latest()
    return {"title": f"{scored.set} / {scored.name}", "systems": scored.systems, "latest": latest,
            "differences": differences(scored), "det": Markup(figures.det(scored)),
            "histograms": [Markup(svg) for system in latest for svg in _histograms(scored, system)],
            "decisions": [Markup(svg) for svg in _decisions(scored, latest)],
            "map": Markup(_map(scored, exp)),
            "worst": worst_errors(scored, latest[0]), "n_speakers": len(scored.sides.names),
            "n_target": int(scored.labels.sum()), "n_nontarget": int((~scored.labels).sum())}


def _histograms(scored: ScoredList, system: System) -> list[str]:
    """The system's scores and, if it is calibrated, its log-likelihood ratios."""
    found = [figures.histogram(system.scores, scored.labels, f"score, {system.backend}")]
    if system.llr is not None:
        name = f"log-likelihood ratio, {system.backend}, calibrated on dev"
        found.append(figures.histogram(system.llr, scored.labels, name, zero=True))
    return found


def _decisions(scored: ScoredList, systems: Sequence[System]) -> list[str]:
    """How far the calibrated systems' log-likelihood ratios can be trusted."""
    llrs = {system.backend: system.llr for system in systems if system.llr is not None}
    return [figures.bayes_error(scored, llrs), figures.reliability(scored, llrs)] if llrs else []


def _map(scored: ScoredList, exp: Path) -> str:
    """A map of the embeddings, by the last phase, of all utterances in the list; "" where there are none."""
    phase = scored.latest()[0].phase
    scp = exp / phase / "embeddings" / scored.set / "embedding.scp"
    if not scp.exists():
        return ""
    speaker, vectors = read_table(scored.directory / "utt2spk"), read_vectors(scp)
    used = sorted({u for side in (*scored.sides.first, *scored.sides.second) for u in side} & vectors.keys())
    return figures.speaker_map(np.stack([vectors[u] for u in used]), [speaker[u] for u in used],
                               f"embeddings of {scored.set}")


def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    filters: dict[str, Callable[..., str]] = {"number": _number, "count": lambda n: f"{n:,}", "minutes": _minutes,
                                              "json": json.dumps, "link": _link}
    environment.filters |= filters
    return environment


def _number(value: float | None, digits: int = 2, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _minutes(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _link(recording: str) -> str:
    """The file:// address of a recording; "" if it is no file or its path is relative."""
    return f"file://{quote(recording)}" if recording.startswith("/") and is_file(recording) else ""
