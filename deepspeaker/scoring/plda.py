"""Probabilistic linear discriminant analysis with two covariances, exact for models of any number of utterances.

An embedding is centred, projected to D dimensions and brought to length sqrt(D); then x = y + e, where a speaker's
y ~ N(mean, B) and each utterance's e ~ N(0, W). (Brummer & de Villiers, The speaker partitioning problem, Odyssey
2010; the length: Garcia-Romero & Espy-Wilson, Interspeech 2011.) `transform` makes W the identity and B the diagonal
`psi`, so that scoring and training go dimension by dimension.
"""

import warnings
from typing import Literal, NamedTuple

import numpy as np

from deepspeaker.errors import UserError
from deepspeaker.scoring.enrolment import Models, averaged, unit
from deepspeaker.scoring.scorer import Scorer

ITERATIONS = 20  # of EM
DIMENSIONS = 200  # after the transform, default of the step


class Plda(NamedTuple):
    """A trained PLDA, in double precision."""

    centre: np.ndarray  # (E,) of the embeddings
    projection: np.ndarray  # (D, E), or (D, E + 1) with an offset in the last column, as Kaldi's transform.mat
    mean: np.ndarray  # (D,) of the projected embeddings
    transform: np.ndarray  # (D, D)
    psi: np.ndarray  # (D,) descending
    normalize_length: bool = False  # score as Kaldi does by default; model.pt of earlier versions lacks this field


class Covariances(NamedTuple):
    """The two-covariance model as formulas have it."""

    mean: np.ndarray  # (D,)
    within: np.ndarray  # (D, D) W
    between: np.ndarray  # (D, D) B


def plda(embeddings: np.ndarray, models: Models, *, plda: Plda) -> Scorer:
    """Log-likelihood ratios, natural, of "the same speaker" against "two speakers".

    With n utterances of mean m, a speaker's next one has mean n psi / (n psi + 1) m and variance
    v = 1 + psi / (n psi + 1); a stranger's has mean 0 and variance t = 1 + psi. The ratio of the two densities is
    linear in x and x^2; its weights of x^2 depend on n alone, so each different n adds one dimension to the inner
    product.

    With plda.normalize_length, x and m are what Kaldi's recipes make of them: n embeddings are averaged before all
    else, and the lengths of x and m are normalised a second time, as `standardised` says.
    """
    utterances = standardised(plda, embeddings)
    if plda.normalize_length:
        enrolled = standardised(plda, averaged(embeddings, models), models.counts)
    else:
        enrolled = averaged(utterances, models)
    sizes, which = np.unique(models.counts, return_inverse=True)
    spread = sizes[:, None] * plda.psi + 1  # (sizes, D), as all that follow
    variance, total = 1 + plda.psi / spread, 1 + plda.psi
    weights, constant = (1 / total - 1 / variance) / 2, np.log(total / variance).sum(1) / 2
    expected = enrolled * (1 - 1 / spread)[which]
    first = np.hstack([expected / variance[which], np.eye(len(sizes))[which]])
    second = np.hstack([utterances, utterances**2 @ weights.T])
    own = constant[which] - (expected**2 / variance[which]).sum(1) / 2
    kind = embeddings.dtype
    return Scorer(first.astype(kind), second.astype(kind), lambda dots, i, j: dots + own[i])


def projected(plda: Plda, embeddings: np.ndarray) -> np.ndarray:
    """(n, E) -> (n, D) of length sqrt(D). UserError for another dimension."""
    refuse_other_dimensions(plda, embeddings)
    size = len(plda.centre)
    linear, offset = plda.projection[:, :size], plda.projection[:, size:].sum(1)  # 0 without that column
    found: np.ndarray = unit((embeddings - plda.centre) @ linear.T + offset) * np.sqrt(len(linear))
    return found


def refuse_other_dimensions(plda: Plda, embeddings: np.ndarray) -> None:
    """UserError for embeddings (n, E) of another dimension than those that the PLDA was trained on."""
    if embeddings.shape[1] != len(plda.centre):
        raise UserError(f"embeddings of {embeddings.shape[1]} dimensions, but the PLDA was trained on "
                        f"{len(plda.centre)}")


def standardised(plda: Plda, embeddings: np.ndarray, counts: np.ndarray | int = 1) -> np.ndarray:
    """(n, E) -> (n, D) with covariance 1 within and psi between speakers.

    counts (n,): of how many utterances each embedding is the mean. It matters only with plda.normalize_length: each u
    is then scaled so that u' (psi + 1 / count)^-1 u = D, its expected value: the length normalisation of Kaldi's
    ivector-plda-scoring.
    """
    found: np.ndarray = (projected(plda, embeddings) - plda.mean) @ plda.transform.T
    if plda.normalize_length:
        deviation = np.sqrt(plda.psi + 1 / np.reshape(counts, (-1, 1)))
        found = unit(found / deviation) * deviation * np.sqrt(len(plda.psi))
    return found


def train(embeddings: np.ndarray, speakers: np.ndarray, transform: Literal["lda", "whiten"], dim: int,
          iterations: int = ITERATIONS) -> Plda:
    """Centre embeddings (n, E), project them to `dim` dimensions and fit a PLDA by EM. speakers (n,): numbered from 0.

    UserError where there are too few utterances or speakers for that many dimensions.
    """
    embeddings = embeddings.astype(np.float64)
    centre = embeddings.mean(0)
    check_counts(transform, dim, embeddings.shape[1], len(embeddings), speakers.max() + 1)
    find = {"lda": _discriminant, "whiten": _whitening}[transform]
    projection = find(embeddings - centre, speakers, dim)
    start = Plda(centre, projection, np.zeros(dim), np.eye(dim), np.ones(dim))
    found, _ = expectation_maximisation(projected(start, embeddings), speakers, iterations)
    return with_covariances(start, found)


def check_counts(transform: Literal["lda", "whiten"], dim: int, size: int, utterances: int, speakers: int) -> None:
    """UserError where embeddings of `size` dimensions, of so many utterances and speakers, cannot be projected to
    `dim`, or have no covariance within speakers that can be inverted: its rank is utterances - speakers at most."""
    what = f"PLDA after {transform}, of {size} dimensions, {utterances} utterances and {speakers} speakers"
    largest = min(size, speakers - 1) if transform == "lda" else size
    if largest < 1:
        raise UserError(f"{what}: needs at least 2 speakers")
    if not 1 <= dim <= largest:
        raise UserError(f"{what}: [scoring] plda_dim must lie in 1..{largest}, found {dim}")
    if utterances - speakers < (inverted := size if transform == "lda" else dim):
        raise UserError(f"{what}: the covariance within speakers has a rank of {utterances - speakers} at most, "
                        f"expected {inverted}: it needs more utterances of each speaker, or [scoring] plda_transform = "
                        "\"whiten\" with a smaller plda_dim")


def _discriminant(x: np.ndarray, speakers: np.ndarray, dim: int) -> np.ndarray:
    """(dim, E): the directions in which speakers differ most."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    refuse_singular(_scatter(x, speakers)[0] / len(x), f"within speakers of {len(x)} utterances")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Only one sample")  # of some speakers
        analysis = LinearDiscriminantAnalysis(solver="eigen", n_components=dim).fit(x, speakers)
    directions: np.ndarray = analysis.scalings_[:, :dim].T
    return directions


def _whitening(x: np.ndarray, speakers: np.ndarray, dim: int) -> np.ndarray:
    """(dim, E): the directions of largest variance, each scaled to variance 1."""
    from sklearn.decomposition import PCA

    analysis = PCA(dim, svd_solver="covariance_eigh").fit(x)
    refuse_singular(np.diag(analysis.explained_variance_), f"of {len(x)} utterances in {dim} dimensions")
    directions: np.ndarray = analysis.components_ / np.sqrt(analysis.explained_variance_)[:, None]
    return directions


def _covariance(x: np.ndarray) -> np.ndarray:
    """(n, D) -> (D, D), divided by n."""
    rest = x - x.mean(0)
    found: np.ndarray = rest.T @ rest / len(x)
    return found


def _scatter(x: np.ndarray, speakers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(sum of (x - m)(x - m)' about each speaker's mean m (D, D), the means (S, D), utterances each (S,))."""
    order = np.argsort(speakers, kind="stable")
    counts = np.bincount(speakers)
    means = averaged(x, Models(order, counts))
    rest = x - means[speakers]
    return rest.T @ rest, means, counts


def expectation_maximisation(x: np.ndarray, speakers: np.ndarray, iterations: int) -> tuple[Covariances, list[float]]:
    """Fit x (n, D) of speakers (n,); also the log-likelihood of x before each iteration, which never falls.

    Each iteration works where W is the identity and B = diag(psi): a speaker's y, given its n utterances of mean m, has
    mean n psi / (n psi + 1) m and variance psi / (n psi + 1). The new mean, B and W are then transformed back.
    """
    scatter, means, counts = _scatter(x, speakers)
    n, counts = len(x), counts[:, None]
    model = Covariances(x.mean(0), scatter / n, _covariance(means))
    likelihoods = []
    for _ in range(iterations):
        transform, psi = diagonalised(model.within, model.between)
        back = np.linalg.inv(transform)
        m, scattered = (means - model.mean) @ transform.T, transform @ scatter @ transform.T
        spread = counts * psi + 1
        y, variance = counts * psi / spread * m, psi / spread
        likelihoods.append(-(np.log(spread) + counts * m**2 / spread).sum() / 2 - np.trace(scattered) / 2
                           + n * np.linalg.slogdet(transform)[1] - x.size * np.log(2 * np.pi) / 2)
        rest = m - y
        between = np.diag(variance.mean(0)) + _covariance(y)
        within = (scattered + np.diag((counts * variance).sum(0)) + (counts * rest).T @ rest) / n
        model = Covariances(model.mean + back @ y.mean(0), back @ within @ back.T, back @ between @ back.T)
    return model, likelihoods


def diagonalised(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T (D, D), d (D,) descending) with T one T' the identity and T other T' = diag(d).

    Raises UserError when `one` is singular.
    """
    refuse_singular(one, "within speakers")
    root = np.linalg.inv(np.linalg.cholesky(one))
    values, vectors = np.linalg.eigh(root @ other @ root.T)
    return vectors[:, ::-1].T @ root, values[::-1].clip(min=0)


def refuse_singular(covariance: np.ndarray, of: str) -> None:
    """UserError for a covariance (D, D) that has no inverse."""
    values = np.linalg.eigvalsh(covariance)
    rank = int((values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0)).sum())
    if rank < len(values):
        raise UserError(f"PLDA: the covariance {of} is singular, of rank {rank} in {len(values)} dimensions: it needs "
                        f"more utterances of each speaker, or [scoring] plda_transform = \"whiten\" with a smaller "
                        f"plda_dim")


def covariances(plda: Plda) -> Covariances:
    """The model's mean, W and B."""
    back = np.linalg.inv(plda.transform)
    return Covariances(plda.mean, back @ back.T, back * plda.psi @ back.T)


def with_covariances(plda: Plda, model: Covariances) -> Plda:
    """The same projection, followed by another two-covariance model."""
    transform, psi = diagonalised(model.within, model.between)
    return plda._replace(mean=model.mean, transform=transform, psi=psi)


def adapt(plda: Plda, embeddings: np.ndarray, within: float, between: float, mean_diff_scale: float) -> Plda:
    """A model for another domain, from embeddings (n, E) of unknown speakers there, as Kaldi's ivector-adapt-plda.

    The domain's mean replaces the centre. The model's mean changes, too: `mean_diff_scale` times the outer product of
    this change with itself is added to the domain's variance. Where the sum exceeds the model's variance, W + B,
    fractions of the excess are added: `within` to W, `between` to B. This is done in the directions that diagonalise
    both covariances; in directions where the domain's variance is smaller, the model stays as it is. UserError for a
    scale or fraction below 0.
    """
    if not min(within, between, mean_diff_scale) >= 0:
        raise UserError(f"adapting a PLDA: expected at least 0, found within {within}, between {between}, "
                        f"mean_diff_scale {mean_diff_scale}")
    refuse_other_dimensions(plda, embeddings)
    plda = plda._replace(centre=embeddings.mean(0, dtype=np.float64))
    x, model = projected(plda, embeddings), covariances(plda)
    change = x.mean(0) - model.mean
    domain = _covariance(x) + mean_diff_scale * np.outer(change, change)
    transform, variance = diagonalised(model.within + model.between, domain)
    back = np.linalg.inv(transform)
    excess = back * (variance - 1).clip(min=0) @ back.T
    return with_covariances(plda, Covariances(x.mean(0), model.within + within * excess,
                                              model.between + between * excess))
