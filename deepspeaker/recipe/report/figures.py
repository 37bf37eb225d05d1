"""The report's figures. Each function returns the text of an SVG element for the page."""

import io
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.special import ndtri

from deepspeaker.metrics.rates import act_dcf, error_rates, min_dcf, rank
from deepspeaker.recipe.phases import PHASES
from deepspeaker.recipe.report.systems import ScoredList, System
from deepspeaker.scoring.calibration import logit
from deepspeaker.training.dev_set import CONDITION

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType  # no such name at run time in older matplotlib

INK, FAINT, TARGET, NONTARGET = "#222222", "#bbb5a8", "#1f6f8b", "#b4552d"
PHASE_COLOURS = dict(zip(PHASES, ("#6b7f3a", "#9a948a", "#1f6f8b", "#8c1c13"), strict=True))
LINES = ("-", "--", ":", "-.")  # line styles of back-ends
STYLE: "dict[RcKeyType, Any]" = {
    "font.family": "sans-serif", "font.size": 8.5, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": "#777777", "axes.linewidth": 0.6, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": "#555555", "ytick.color": "#555555", "xtick.labelsize": 7.5, "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "legend.frameon": False, "legend.fontsize": 7.5,
    "grid.color": "#e4e0d8", "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.linewidth": 1.4,
    "svg.fonttype": "none", "svg.hashsalt": "deepspeaker", "text.parse_math": False, "figure.dpi": 72}
SQUARE, FLAT, SMALL, HIGHER = (4.6, 4.9), (4.6, 2.8), (2.3, 1.5), (2.3, 1.85)  # inches
DET_TICKS = (0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 40, 60, 80)  # percent
DET_LIMITS = 1e-4, 0.9  # error rates at the ends of the axes
DET_POINTS = 400  # points of a curve at most, evenly spaced along it
DCF_MARKS = {0.01: "o", 0.001: "s"}  # target prior -> mark of its minDCF point
MARK: dict[str, Any] = {"markersize": 4, "markerfacecolor": "white"}
GAUGES = ("dev_eer", "loss", "accuracy", "active", "same", "different", "effective_rank", "gradient_norm",
          "learning_rate", "utterances_per_second", "waiting")  # shown first, in this order
NOT_GAUGES = ("epoch", "step", "seconds")
BAYES_PRIORS, BAYES_POINTS, BAYES_TICKS = (0.001, 0.5), 40, (0.001, 0.003, 0.01, 0.03, 0.1, 0.5)
MOST_COST = 1.5  # normalised; decisions that cost more leave the figure
RELIABILITY_BINS = 15
RASTER = 1000  # scatter plots of more points are drawn as pixels


def det(scored: ScoredList) -> str:
    """Detection error trade-off of all systems; normally distributed scores give straight lines."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(SQUARE)
        backends = list(dict.fromkeys(system.backend for system in scored.systems))
        lowest = max(DET_LIMITS[0], 0.5 / min(scored.labels.sum(), (~scored.labels).sum()))
        for system in scored.systems:
            style = LINES[backends.index(system.backend) % len(LINES)]
            _det_curve(axes, system, scored.labels, style, system.name if len(backends) > 1 else system.phase)
        for prior, mark in DCF_MARKS.items():
            axes.plot([], [], mark, color="#555555", label=f"minDCF, prior {prior:g}", **MARK)
        ticks = [tick for tick in DET_TICKS if lowest <= tick / 100 <= DET_LIMITS[1]]
        places, ends = _probit(np.array(ticks) / 100), _probit(np.array([lowest, DET_LIMITS[1]]))
        names = [f"{tick:g}" for tick in ticks]
        axes.set(xticks=places, xticklabels=names, yticks=places, yticklabels=names, xlim=ends, ylim=ends,
                 xlabel="false accepts, %", ylabel="misses, %", aspect="equal")
        axes.plot(ends, ends, color=FAINT, linewidth=0.6, zorder=0)
        axes.grid(True)
        figure.legend(loc="outside upper center", ncols=3 if len(backends) == 1 else 2)
        return _svg(figure, f"DET curves of {scored.set} {scored.name}")


def _det_curve(axes: Axes, system: System, labels: np.ndarray, style: str, name: str) -> None:
    colour = PHASE_COLOURS.get(system.phase, INK)
    miss, false_accept = error_rates(rank(system.scores, labels))
    x, y = _probit(false_accept), _probit(miss)
    keep = _evenly(x, y)
    axes.plot(x[keep], y[keep], style, color=colour, label=name)
    for prior, mark in DCF_MARKS.items():
        best = np.argmin(prior * miss + (1 - prior) * false_accept)
        axes.plot(x[best], y[best], mark, color=colour, zorder=3, **MARK)


def histogram(values: np.ndarray, labels: np.ndarray, name: str, zero: bool = False) -> str:
    """Densities of the values (n,) of target and of nontarget trials. zero: draw a line at 0."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(FLAT)
        bins = np.linspace(*_span(values), 61).tolist()
        for which, colour, title in ((labels, TARGET, "target"), (~labels, NONTARGET, "nontarget")):
            axes.hist(values[which], bins, density=True, histtype="stepfilled", color=colour, alpha=0.35)
            axes.hist(values[which], bins, density=True, histtype="step", color=colour, label=title)
        if zero:
            axes.axvline(0, color=INK, linewidth=0.6)
        axes.set(xlabel=name, yticks=[])
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside upper center", ncols=2)
        return _svg(figure, name)


def bayes_error(scored: ScoredList, llrs: Mapping[str, np.ndarray]) -> str:
    """Detection costs of log-likelihood ratios at the Bayes threshold, and the least possible, over target priors; 1:
    no better than deciding without the recordings. llrs: back-end -> log-likelihood ratios (n,). Brummer & du Preez,
    Computer Speech and Language 20 (2006)."""
    odds = np.linspace(logit(BAYES_PRIORS[0]), logit(BAYES_PRIORS[1]), BAYES_POINTS)
    priors = 1 / (1 + np.exp(-odds))
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(FLAT)
        for (backend, llr), style in zip(llrs.items(), itertools.cycle(LINES), strict=False):
            ranking = rank(llr, scored.labels)
            actual, least = ([cost(ranking, prior) for prior in priors] for cost in (act_dcf, min_dcf))
            axes.plot(odds, actual, style, color=TARGET, label=f"actDCF, {backend}")
            axes.plot(odds, least, style, color=FAINT, label=f"minDCF, {backend}")
        axes.axhline(1, color=INK, linewidth=0.6)
        axes.set(xticks=[logit(prior) for prior in BAYES_TICKS], xticklabels=[f"{prior:g}" for prior in BAYES_TICKS],
                 ylim=(0, MOST_COST), xlabel="target prior", ylabel="normalised cost")
        axes.grid(True)
        figure.legend(loc="outside upper center", ncols=2)
        return _svg(figure, f"Costs over priors, {scored.set} {scored.name}")


def reliability(scored: ScoredList, llrs: Mapping[str, np.ndarray]) -> str:
    """Log-likelihood ratios in bins of equally many trials: stated ones (means) against those observed, the logarithm
    of the bin's share of the targets over its share of the nontargets."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(FLAT)
        for (backend, llr), style in zip(llrs.items(), itertools.cycle(LINES), strict=False):
            axes.plot(*observed_ratios(llr, scored.labels), f".{style}", color=TARGET, label=backend)
        ends = (max(axes.get_xlim()[0], axes.get_ylim()[0]), min(axes.get_xlim()[1], axes.get_ylim()[1]))
        axes.plot(ends, ends, color=FAINT, linewidth=0.6, zorder=0, label="as stated")
        axes.set(xlabel="log-likelihood ratio, stated", ylabel="observed")
        axes.grid(True)
        figure.legend(loc="outside upper center", ncols=3)
        return _svg(figure, f"Reliability, {scored.set} {scored.name}")


def observed_ratios(llr: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(stated, observed) log-likelihood ratios of the bins that have targets and nontargets; targets and nontargets
    weigh the same in all."""
    order = np.argsort(llr)
    weights = np.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum())[order]
    bins = np.minimum((weights.cumsum() * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    of_targets, of_nontargets = (np.bincount(bins, weights * which, RELIABILITY_BINS)
                                 for which in (labels[order], ~labels[order]))
    stated = np.bincount(bins, weights * llr[order], RELIABILITY_BINS)
    both = (of_targets > 0) & (of_nontargets > 0)
    return stated[both] / (of_targets + of_nontargets)[both], np.log(of_targets[both] / of_nontargets[both])


def training(phase: str, epochs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A figure for every quantity in the phase's train.jsonl, with a point per epoch; dev EERs share one."""
    known = dict.fromkeys(name for entry in epochs for name, value in entry.items() if _is_number(value))
    points = {name: [(entry["epoch"], entry[name]) for entry in epochs if _is_number(entry.get(name))]
              for name in known}
    each = {name.removeprefix(CONDITION): points.pop(name) for name in known if name.startswith(CONDITION)}
    names = [n for n in GAUGES if n in points] + [n for n in points if n not in (*GAUGES, *NOT_GAUGES)]
    return [_gauge(name, points[name], PHASE_COLOURS[phase], each if name == "dev_eer" else {}) for name in names]


def _gauge(name: str, points: list[tuple[int, float]], colour: str,
           conditions: Mapping[str, list[tuple[int, float]]]) -> str:
    """The points, (epoch, value), as a line; one more for each of the conditions of which it is the mean."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(HIGHER if conditions else SMALL)
        for (condition, own), style in zip(conditions.items(), itertools.cycle(LINES[1:]), strict=False):
            axes.plot(*zip(*own, strict=True), f".{style}", color=INK, markersize=2, linewidth=0.8, label=condition)
        axes.plot(*zip(*points, strict=True), ".-", color=colour, markersize=4, linewidth=1.1, label="mean")
        axes.set_title({"dev_eer": "dev EER, %"}.get(name, name.replace("_", " ")), fontsize=8, loc="left", pad=3)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.grid(True, axis="y")
        if name == "dev_eer":
            axes.plot(*min(points, key=lambda point: point[1]), "o", color=INK, markersize=6, markerfacecolor="none")
        if conditions:
            figure.legend(loc="outside lower center", ncols=2)
        return _svg(figure, name)


def speaker_map(embeddings: np.ndarray, speakers: Sequence[str], title: str) -> str:
    """Embeddings (n, E) on their first two principal components, coloured by speaker; "" if there are not two."""
    from sklearn.decomposition import PCA

    if min(embeddings.shape) < 2:
        return ""
    pca = PCA(2, random_state=0)
    places = pca.fit_transform(embeddings)
    names, number = np.unique(np.array(speakers), return_inverse=True)
    colours = matplotlib.colormaps["hsv"](np.random.default_rng(0).permutation(len(names)) / len(names)) * 0.82
    colours[:, 3] = 1
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(SQUARE)
        axes.scatter(places[:, 0], places[:, 1], s=9, c=colours[number], alpha=0.75, linewidths=0,
                     rasterized=len(places) > RASTER)
        share = 100 * pca.explained_variance_ratio_
        axes.set(xlabel=f"first component, {share[0]:.0f} % of the variance",
                 ylabel=f"second, {share[1]:.0f} %", xticks=[], yticks=[])
        axes.set_aspect("equal", "datalim")
        return _svg(figure, title)


def _figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(size, layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure, title: str) -> str:
    """The figure as an SVG element without ids, except those of clip paths. matplotlib escapes its text."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, dpi=150, bbox_inches="tight", pad_inches=0.03)
    text = re.sub(r"<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg"):])
    box = text.partition('viewBox="')[2].partition('"')[0]
    return re.sub(r"<svg [^>]*>", f'<svg role="img" aria-label="{escape(title)}" viewBox="{box}" '
                  f'xmlns:xlink="http://www.w3.org/1999/xlink">', text, count=1)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _probit(rates: np.ndarray) -> np.ndarray:
    """Standard normal quantiles (n,) of rates (n,); those of 0 and 1, infinite, are put just beyond the axes."""
    least = DET_LIMITS[0] / 10
    quantiles: np.ndarray = ndtri(np.clip(rates, least, 1 - least))
    return quantiles


def _evenly(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Indices of at most DET_POINTS points of a curve, evenly spaced along it."""
    length = np.append(0.0, np.cumsum(np.hypot(np.diff(x), np.diff(y))))
    return np.unique(np.searchsorted(length, np.linspace(0, length[-1], DET_POINTS)).clip(max=len(x) - 1))


def _span(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)
