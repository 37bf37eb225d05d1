"""The report's figures, each as the text of an SVG element that stands in the page."""

import io
import re
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from deepspeaker.metrics.rates import error_rates, rank
from deepspeaker.report.systems import ScoredList, System

INK, FAINT, TARGET, NONTARGET = "#222222", "#bbb5a8", "#1f6f8b", "#b4552d"
PHASE_COLOURS = {"untrained": "#9a948a", "softmax": "#1f6f8b", "triplet": "#8c1c13"}
STYLES = ("-", "--", ":", "-.")  # of back-ends
STYLE = {"font.family": "sans-serif", "font.size": 8.5, "axes.spines.top": False, "axes.spines.right": False,
         "axes.edgecolor": "#777777", "axes.linewidth": 0.6, "axes.labelcolor": INK, "text.color": INK,
         "xtick.color": "#555555", "ytick.color": "#555555", "xtick.labelsize": 7.5, "ytick.labelsize": 7.5,
         "xtick.major.width": 0.6, "ytick.major.width": 0.6, "legend.frameon": False, "legend.fontsize": 7.5,
         "grid.color": "#e4e0d8", "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.linewidth": 1.4,
         "svg.fonttype": "none", "svg.hashsalt": "deepspeaker", "text.parse_math": False, "figure.dpi": 72}
WIDE, NARROW = (6.4, 3.2), (4.8, 3.9)  # inches
DET_TICKS = (0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 40, 60)  # percent
DET_POINTS = 400  # of a curve, evenly along its length
DCF_MARKS = {0.01: "o", 0.001: "s"}  # priors whose minDCF points are drawn
GAUGES = ("dev_eer", "loss", "accuracy", "active", "same", "different", "effective_rank", "gradient_norm",
          "learning_rate", "utterances_per_second", "waiting")  # shown first, in this order
NOT_GAUGES = ("epoch", "step", "seconds")
RASTER = 1000  # points from which a scatter is drawn as pixels


def det(scored: ScoredList) -> str:
    """Detection error trade-off of all systems: straight lines where scores are normally distributed."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(NARROW)
        backends = list(dict.fromkeys(system.backend for system in scored.systems))
        counts = scored.labels.sum(), (~scored.labels).sum()
        lowest = min(0.01, max(1e-4, 0.5 / max(counts)))
        for system in scored.systems:
            miss, false_accept = error_rates(rank(system.scores, scored.labels))
            colour = PHASE_COLOURS.get(system.phase, INK)
            x, y = (_probit(rates, lowest / 2) for rates in (false_accept, miss))
            keep = _evenly(x, y)
            axes.plot(x[keep], y[keep], STYLES[backends.index(system.backend) % len(STYLES)], color=colour,
                      label=system.name if len(backends) > 1 else system.phase)
            for prior, mark in DCF_MARKS.items():
                best = np.argmin(prior * miss + (1 - prior) * false_accept)
                axes.plot(x[best], y[best], mark, color=colour, markersize=4, markerfacecolor="white", zorder=3)
        ticks = [tick for tick in DET_TICKS if tick / 100 >= lowest]
        places = _probit(np.array(ticks) / 100, lowest)
        ends = _probit(np.array([lowest, 0.65]), lowest)
        names = [f"{tick:g}" for tick in ticks]
        axes.set(xticks=places, xticklabels=names, yticks=places, yticklabels=names, xlim=ends, ylim=ends,
                 xlabel="false accepts, %", ylabel="misses, %", aspect="equal")
        axes.plot(ends, ends, color=FAINT, linewidth=0.6, zorder=0)
        axes.grid(True)
        for prior, mark in DCF_MARKS.items():
            axes.plot([], [], mark, color="#555555", markersize=4, markerfacecolor="white", label=f"minDCF, {prior:g}")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
        return _svg(figure, f"DET curves of {scored.set} {scored.name}")


def histograms(scored: ScoredList, system: System) -> str:
    """Scores of target and nontarget trials and, where there are any, their log likelihood ratios."""
    panels = {f"score, {system.backend}": system.scores}
    if system.llr is not None:
        panels["log likelihood ratio (natural), calibrated on dev"] = system.llr
    with matplotlib.rc_context(STYLE):
        figure, *rows = _figure(WIDE if len(panels) > 1 else NARROW, 1, len(panels))
        for axes, (name, values) in zip(rows, panels.items(), strict=True):
            bins = np.linspace(*_span(values), 61)
            for labels, colour, title in ((scored.labels, TARGET, "target"), (~scored.labels, NONTARGET, "nontarget")):
                axes.hist(values[labels], bins, density=True, histtype="stepfilled", color=colour, alpha=0.35)
                axes.hist(values[labels], bins, density=True, histtype="step", color=colour, label=title)
            axes.set(xlabel=name, yticks=[])
            axes.spines["left"].set_visible(False)
        if system.llr is not None:
            rows[-1].axvline(0, color=INK, linewidth=0.6)
        rows[0].legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=2)
        return _svg(figure, f"scores of {system.name}")


def training(phase: str, epochs: Sequence[Mapping]) -> str:
    """Every number that train.jsonl has of the phase, an epoch a point."""
    known = [name for name in dict.fromkeys(name for entry in epochs for name, value in entry.items()
                                            if isinstance(value, int | float)) if name not in NOT_GAUGES]
    names = [n for n in GAUGES if n in known] + [n for n in known if n not in GAUGES]
    columns = 3
    rows = -(-len(names) // columns)
    with matplotlib.rc_context(STYLE):
        figure, *panels = _figure((6.4, 1.45 * rows), rows, columns)
        for axes, name in zip(panels, names, strict=False):
            points = [(entry["epoch"], entry[name]) for entry in epochs if isinstance(entry.get(name), int | float)]
            axes.plot(*zip(*points, strict=True), ".-", color=PHASE_COLOURS.get(phase, INK), markersize=4,
                      linewidth=1.1)
            axes.set_title(_readable(name), fontsize=8, loc="left", pad=3)
            axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4, integer=True))
            axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(3))
            axes.grid(True, axis="y")
            if name == "dev_eer":
                best = min(points, key=lambda point: point[1])
                axes.plot(*best, "o", color=INK, markersize=5, markerfacecolor="none")
        for axes in panels[len(names):]:
            axes.set_visible(False)
        return _svg(figure, f"training, {phase}")


def speaker_map(embeddings: np.ndarray, speakers: Sequence[str], title: str) -> str:
    """Embeddings (n, E) on their two principal components, coloured by speaker; few speakers are named."""
    from sklearn.decomposition import PCA

    if min(embeddings.shape) < 2:
        return ""
    pca = PCA(2, random_state=0)
    places = pca.fit_transform(embeddings)
    names, number = np.unique(np.array(speakers), return_inverse=True)
    colours = matplotlib.colormaps["hsv"](np.random.default_rng(0).permutation(len(names)) / len(names)) * 0.82
    colours[:, 3] = 1
    with matplotlib.rc_context(STYLE):
        figure, axes = _figure(NARROW)
        axes.scatter(*places.T, s=9, c=colours[number], alpha=0.75, linewidths=0, rasterized=len(places) > RASTER)
        share = 100 * pca.explained_variance_ratio_
        axes.set(xlabel=f"first component, {share[0]:.0f} % of the variance",
                 ylabel=f"second, {share[1]:.0f} %", xticks=[], yticks=[])
        axes.set_aspect("equal", "datalim")
        return _svg(figure, title)


def _figure(size: tuple[float, float], rows: int = 1, columns: int = 1) -> list:
    """The figure and its axes."""
    figure = Figure(size, layout="constrained")
    return [figure, *np.ravel(figure.subplots(rows, columns))]


def _svg(figure: Figure, title: str) -> str:
    """An SVG element without ids of its own, but those its clip paths need; matplotlib escapes the texts in it."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, dpi=150, metadata={"Date": None, "Title": title})
    text = file.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    width, height = (round(float(n)) for n in re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups())
    return re.sub(r'<svg [^>]*>', f'<svg role="img" viewBox="0 0 {width} {height}" style="max-width: {width * 1.4:.0f}px" '
                  'xmlns:xlink="http://www.w3.org/1999/xlink">', text, count=1)


def _probit(rates: np.ndarray, least: float) -> np.ndarray:
    """Standard normal quantiles of rates, those of 0 and 1 moved inwards to `least`."""
    inverse = NormalDist().inv_cdf
    return np.array([inverse(rate) for rate in np.clip(rates, least, 1 - least).tolist()])


def _evenly(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Indices of at most DET_POINTS points of a curve, evenly spaced along it."""
    length = np.append(0.0, np.cumsum(np.hypot(np.diff(x), np.diff(y))))
    return np.unique(np.searchsorted(length, np.linspace(0, length[-1], DET_POINTS)).clip(max=len(x) - 1))


def _span(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _readable(name: str) -> str:
    return {"dev_eer": "dev EER, %"}.get(name, name.replace("_", " "))
