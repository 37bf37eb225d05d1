"""PLDA against slow second opinions: joint Gaussians, a model that made the data, Kaldi's files byte by byte."""

import struct
from math import log, sqrt

import kaldiio
import numpy as np
import pytest
import scipy.linalg

from deepspeaker.datadir.archive import write_vectors
from deepspeaker.errors import UserError
from deepspeaker.metrics.describe import eer
from deepspeaker.scoring.cosine import cosine
from deepspeaker.scoring.enrolment import Models
from deepspeaker.scoring.plda import (
    Covariances,
    Plda,
    adapt,
    covariances,
    expectation_maximisation,
    plda,
    projected,
    train,
    with_covariances,
)
from deepspeaker.scoring.plda_files import read_plda, write_plda
from deepspeaker.scoring.scorer import best_models, score_pairs

RNG = np.random.default_rng(0)


def covariance(size, rng=RNG):
    root = rng.standard_normal((size, size))
    return root @ root.T / size + 0.1 * np.eye(size)


def model(size=4, dimensions=6):
    """A PLDA of `dimensions` projected to `size`, from drawn covariances."""
    start = Plda(RNG.standard_normal(dimensions), RNG.standard_normal((size, dimensions)), *[np.zeros(0)] * 3)
    return with_covariances(start, Covariances(RNG.standard_normal(size), covariance(size), covariance(size)))


def log_density(x, mean, cov):
    rest = x - mean
    return -(rest @ np.linalg.solve(cov, rest) + np.linalg.slogdet(cov)[1] + len(x) * np.log(2 * np.pi)) / 2


def likelihood_ratio(enrolled, test, found):
    """From the joint Gaussian of all utterances, stacked: together of one speaker, or the last of another."""
    mean, within, between = found
    n = len(enrolled)

    def joint(x):
        together = np.kron(np.ones((len(x), len(x))), between) + np.kron(np.eye(len(x)), within)
        return log_density(np.concatenate(x), np.tile(mean, len(x)), together)

    return joint([*enrolled, test]) - joint(enrolled) - joint([test]) if n else 0.0


@pytest.mark.parametrize("counts", [[1, 1, 1], [3, 3], [1, 2, 5, 2]])
def test_scores_are_the_joint_gaussians_likelihood_ratios(counts):
    trained = model()
    embeddings = RNG.standard_normal((12, 6))
    models = Models(RNG.integers(0, 12, sum(counts)), np.array(counts))
    scorer = plda(embeddings, models, plda=trained)
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(len(counts)), np.arange(12), indexing="ij"))
    x, found = projected(trained, embeddings), covariances(trained)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 2)  # the root of 4 dimensions
    rows = np.split(models.rows, np.cumsum(counts)[:-1])
    expected = [likelihood_ratio(x[rows[a]], x[b], found) for a, b in zip(i, j, strict=True)]
    np.testing.assert_allclose(score_pairs(scorer, i, j), expected, rtol=1e-9, atol=1e-9)
    _, best, scores = next(best_models(scorer, np.arange(12), len(counts)))
    every = np.reshape(expected, (len(counts), 12)).T
    np.testing.assert_allclose(scores, np.take_along_axis(every, best, 1), rtol=1e-9)


def test_length_normalised_scores_by_hand():
    """Where u = (2, 1) for (2, 2) more than the centre: u' (psi + 1/n)^-1 u is 4/4 + 1/2 for n = 1, 4/3.5 + 1/1.5 for
    n = 2. The embeddings (5, 1) and (-1, 3) have the mean (2, 2) if they are averaged before anything else."""
    trained = Plda(np.array([7.0, -2]), np.eye(2), np.zeros(2), np.diag([2.0, 1]), np.array([3.0, 1]), True)
    embeddings = trained.centre + np.array([[2.0, 2], [5, 1], [-1, 3], [9, -9]])
    scorer = plda(embeddings, Models(np.array([0, 1, 2]), np.array([1, 2])), plda=trained)
    same, other = np.array([4, 2]) / sqrt(3), np.array([4, -2]) / sqrt(3)  # (2, 1), (2, -1) times the root of 2 / 1.5
    one = (log(4) + log(2) + 2 - log(7 / 4) - log(3 / 2) - (other[0] - 3 / 4 * same[0])**2 * 4 / 7
           - (other[1] - 1 / 2 * same[1])**2 * 2 / 3) / 2
    assert one == pytest.approx((log(64 / 21) - 4 / 21) / 2)
    mean = np.array([2, 1]) * sqrt(2 / (38 / 21))
    two = (log(4) + log(2) + 2 - log(10 / 7) - log(4 / 3) - (same[0] - 6 / 7 * mean[0])**2 * 7 / 10
           - (same[1] - 2 / 3 * mean[1])**2 * 3 / 4) / 2
    np.testing.assert_allclose(score_pairs(scorer, np.array([0, 1]), np.array([3, 0])), [one, two])


def scored_slowly(kaldi, enrolled, test):
    """As Kaldi's SRE16 recipe, vector by vector: ivector-mean, ivector-subtract-global-mean, transform-vec,
    ivector-normalize-length, ivector-plda-scoring --num-utts."""
    def transformed(vectors):
        affine = kaldi.projection
        vector = sum(vectors) / len(vectors) - kaldi.centre
        y = affine @ (np.append(vector, 1) if affine.shape[1] > len(vector) else vector)
        u = kaldi.transform @ (y * sqrt(len(y)) / sqrt(y @ y) - kaldi.mean)
        return u * sqrt(len(u) / sum(u[d]**2 / (kaldi.psi[d] + 1 / len(vectors)) for d in range(len(u))))

    n, u, probe = len(enrolled), transformed(enrolled), transformed([test])
    ratio = 0.0
    for psi, a, b in zip(kaldi.psi, u, probe, strict=True):
        mean, variance = n * psi / (n * psi + 1) * a, 1 + psi / (n * psi + 1)
        ratio += (log(1 + psi) + b**2 / (1 + psi) - log(variance) - (b - mean)**2 / variance) / 2
    return ratio


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("counts", [[1, 1], [3, 3], [1, 2, 5, 2]])
def test_length_normalised_scores_are_kaldis(counts, offset):
    trained = model()._replace(normalize_length=True)
    if offset:
        trained = trained._replace(projection=np.hstack([trained.projection, RNG.standard_normal((4, 1))]))
    embeddings = RNG.standard_normal((12, 6))
    models = Models(RNG.integers(0, 12, sum(counts)), np.array(counts))
    scorer = plda(embeddings, models, plda=trained)
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(len(counts)), np.arange(12), indexing="ij"))
    rows = np.split(models.rows, np.cumsum(counts)[:-1])
    expected = [scored_slowly(trained, embeddings[rows[a]], embeddings[b]) for a, b in zip(i, j, strict=True)]
    np.testing.assert_allclose(score_pairs(scorer, i, j), expected, rtol=1e-9, atol=1e-9)


def drawn(found, speakers, counts, rng):
    """Utterances of speakers as the model makes them."""
    labels = np.repeat(np.arange(speakers), counts)
    y = rng.multivariate_normal(found.mean, found.between, speakers)
    return y[labels] + rng.multivariate_normal(np.zeros(len(found.mean)), found.within, len(labels)), labels


def test_em_climbs_and_finds_the_model_that_made_the_data():
    rng = np.random.default_rng(1)
    truth = Covariances(np.array([1.0, -2, 0]), covariance(3, rng), 2 * covariance(3, rng))
    x, labels = drawn(truth, 3000, rng.integers(1, 9, 3000), rng)
    found, likelihoods = expectation_maximisation(x, labels, 20)
    assert (np.diff(likelihoods) > -1e-6).all() and likelihoods[-1] > likelihoods[0]
    for name, value in zip(truth._fields, truth, strict=True):
        np.testing.assert_allclose(getattr(found, name), value, atol=0.1, err_msg=name)


def test_em_gives_the_likelihood_of_the_joint_gaussian():
    rng = np.random.default_rng(2)
    x, labels = drawn(Covariances(np.ones(2), covariance(2, rng), covariance(2, rng)), 6, [1, 2, 3, 4, 2, 2], rng)
    start, _ = expectation_maximisation(x, labels, 3)
    _, likelihoods = expectation_maximisation(x, labels, 4)
    expected = 0.0
    for speaker in range(6):
        own = x[labels == speaker]
        n = len(own)
        expected += log_density(own.ravel(), np.tile(start.mean, n),
                                np.kron(np.ones((n, n)), start.between) + np.kron(np.eye(n), start.within))
    assert likelihoods[3] == pytest.approx(expected)


@pytest.mark.parametrize("transform, dim", [("lda", 5), ("whiten", 10)])
def test_training_tells_speakers_apart_where_cosine_cannot(transform, dim):
    """Speakers differ in three directions of ten; the other seven are louder."""
    rng = np.random.default_rng(3)
    scale = np.diag([0.2, 0.2, 0.2, *[2.0] * 7])
    labels = np.repeat(np.arange(100), 8)
    x = (np.pad(rng.standard_normal((100, 3)), ((0, 0), (0, 7)))[labels] + rng.standard_normal((800, 10)) @ scale + 5)
    trained = train(x.astype(np.float32), labels, transform, dim)
    singles = Models(np.arange(800), np.ones(800, int))
    i, j = np.triu_indices(800, 1)
    scores, same = score_pairs(plda(x, singles, plda=trained), i, j), labels[i] == labels[j]
    assert scores[same].mean() > 0 > scores[~same].mean()
    cosines = score_pairs(cosine(x, singles), i, j)
    assert eer(scores, same) < 0.1 < 0.3 < eer(cosines, same)
    if transform == "whiten":
        z = (x - trained.centre) @ trained.projection.T
        np.testing.assert_allclose(z.T @ z / len(z), np.eye(10), atol=0.01)


def test_adaptation_takes_the_domains_mean_and_its_excess_variance():
    rng = np.random.default_rng(4)
    trained = model(3, 3)
    before = covariances(trained)
    total = before.within + before.between
    x = rng.multivariate_normal([9, 9, 9], np.diag([30.0, 1, 0.01]), 4000)
    adapted = adapt(trained, x, 0.75, 0.25, 0)
    after = covariances(adapted)
    np.testing.assert_allclose(adapted.centre, x.mean(0))
    domain = np.cov(projected(adapted, x), rowvar=False, bias=True)
    np.testing.assert_allclose(after.within - before.within, 3 * (after.between - before.between), atol=1e-9)
    root = np.linalg.inv(np.linalg.cholesky(total))
    variances, directions = np.linalg.eigh(root @ domain @ root.T)
    new = directions.T @ root @ (after.within + after.between) @ root.T @ directions
    np.testing.assert_allclose(new, np.diag(np.maximum(variances, 1)), atol=1e-8)
    assert variances[0] < 1 < variances[-1]


@pytest.mark.parametrize("scale", [0, 1, 2.5])
def test_adaptation_is_kaldis(scale):
    """Direction by direction: where the domain's variance, with that of the shifted mean, is larger, W and B grow."""
    rng = np.random.default_rng(8)
    trained = model(3, 5)._replace(mean=np.array([1.0, -1, 1]))
    within, between = 0.3, 0.7
    before = covariances(trained)
    vectors = 2 + rng.standard_normal((400, 5)) @ np.diag([1, 2, 3, 0.1, 0.1])
    found = adapt(trained, vectors, within, between, scale)
    x = lengthened((vectors - vectors.mean(0)) @ trained.projection.T)
    change = x.mean(0) - before.mean
    assert change @ change > 0.5
    variance = sum(np.outer(row - x.mean(0), row - x.mean(0)) for row in x) / len(x) + scale * np.outer(change, change)
    values, directions = scipy.linalg.eigh(variance, before.within + before.between)
    new_within, new_between = before.within.copy(), before.between.copy()
    for value, direction in zip(values, ((before.within + before.between) @ directions).T, strict=True):
        if value > 1:
            new_within += within * (value - 1) * np.outer(direction, direction)
            new_between += between * (value - 1) * np.outer(direction, direction)
    for one, expected in zip(covariances(found), (x.mean(0), new_within, new_between), strict=True):
        np.testing.assert_allclose(one, expected, atol=1e-9)
    assert values[-1] > 1
    with pytest.raises(UserError, match="expected at least 0, found within 0.3, between 0.7, mean_diff_scale -1"):
        adapt(trained, vectors, within, between, -1)


def test_kaldis_file_byte_by_byte(tmp_path):
    """The bytes stand here, not taken from the writer."""
    trained = Plda(np.array([0.5, -1, 2]), np.array([[1.0, 2, 3], [4, 5, 6]]), np.array([7.0, 8]),
                   np.array([[1.0, 0.5], [0.25, 2]]), np.array([3.0, 0.125]))
    vector = b"DV \x04" + struct.pack("<i", 2)
    matrix = b"DM \x04" + struct.pack("<i", 2) + b"\x04" + struct.pack("<i", 2)
    expected = (b"\0B<Plda> " + vector + struct.pack("<2d", 7, 8) + matrix + struct.pack("<4d", 1, 0.5, 0.25, 2)
                + vector + struct.pack("<2d", 3, 0.125) + b"</Plda> ")
    write_plda(tmp_path / "plda", trained)
    assert (tmp_path / "plda/plda").read_bytes() == expected
    assert (tmp_path / "plda/mean.vec").read_bytes() == (
        b"\0BDV \x04\x03\0\0\0" + np.array([0.5, -1, 2], "<f8").tobytes())
    for written, read in zip(trained, read_plda(tmp_path / "plda"), strict=True):
        np.testing.assert_array_equal(written, read)


def as_text(array, digits):
    """A vector or matrix as Kaldi writes it without --binary."""
    rows = [" ".join(f"{value:.{digits}g}" for value in row) for row in np.atleast_2d(array)]
    return f" [ {rows[0]} ]\n" if array.ndim == 1 else " [" + "".join(f"\n  {row} " for row in rows) + "]\n"


def as_binary(array):
    token = {"f": "F", "d": "D"}[array.dtype.char] + "VM"[array.ndim - 1] + " "
    return token.encode() + b"".join(b"\x04" + struct.pack("<i", size) for size in array.shape) + array.tobytes()


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("form", ["text", "binary"])
def test_what_kaldis_recipes_leave(tmp_path, form, kind, offset):
    """mean.vec and transform.mat of float or double, `plda` always double, each as text or binary."""
    trained = model()._replace(normalize_length=True)
    if offset:
        trained = trained._replace(projection=np.hstack([trained.projection, RNG.standard_normal((4, 1))]))
    trained = trained._replace(centre=trained.centre.astype(kind), projection=trained.projection.astype(kind))
    if form == "text":
        digits = {"float32": 9, "float64": 17}[kind]
        (tmp_path / "mean.vec").write_text(as_text(trained.centre, digits))
        (tmp_path / "transform.mat").write_text(as_text(trained.projection, digits))
        (tmp_path / "plda").write_text(f"<Plda> {as_text(trained.mean, 17)}{as_text(trained.transform, 17)}"
                                       f"{as_text(trained.psi, 17)}</Plda> ")
    else:
        kaldiio.save_mat(str(tmp_path / "mean.vec"), trained.centre)
        kaldiio.save_mat(str(tmp_path / "transform.mat"), trained.projection)
        (tmp_path / "plda").write_bytes(b"\0B<Plda> " + b"".join(map(as_binary, trained[2:5])) + b"</Plda> ")
    for read, expected in zip(read_plda(tmp_path), trained, strict=True):
        np.testing.assert_allclose(read, expected, rtol=1e-7)
    embeddings = RNG.standard_normal((5, 6))
    scorer = plda(embeddings, Models(np.arange(5), np.array([2, 3])), plda=read_plda(tmp_path))
    expected = [scored_slowly(trained, enrolled, embeddings[4]) for enrolled in (embeddings[:2], embeddings[2:])]
    np.testing.assert_allclose(score_pairs(scorer, np.arange(2), np.array([4, 4])), expected, rtol=1e-5)


def test_the_file_that_kaldi_lacks(tmp_path):
    """Kaldi's directories are scored with the length normalised, unless this file says otherwise."""
    folder = tmp_path / "plda"
    for value in (True, False):
        write_plda(folder, model()._replace(normalize_length=value))
        assert read_plda(folder).normalize_length is value
    (folder / "normalize_length").unlink()
    assert read_plda(folder).normalize_length
    (folder / "normalize_length").write_text("no\n")
    with pytest.raises(UserError, match="plda/normalize_length: expected true or false, found 'no'"):
        read_plda(folder)


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    write_plda(tmp_path / "xvectors", model())
    write_plda(tmp_path / "xvectors", model())
    (tmp_path / "xvectors/xvector.1.ark").touch()
    with pytest.raises(UserError, match=r"xvectors holds more than a PLDA: xvector.1.ark; .* choose another"):
        write_plda(tmp_path / "xvectors", model())
    assert (tmp_path / "xvectors/xvector.1.ark").exists()


def test_other_programs_read_the_files(tmp_path):
    trained = model()
    write_plda(tmp_path / "plda", trained)
    np.testing.assert_array_equal(kaldiio.load_mat(str(tmp_path / "plda/mean.vec")), trained.centre)
    np.testing.assert_array_equal(kaldiio.load_mat(str(tmp_path / "plda/transform.mat")), trained.projection)


TWO = b"\0BDV \x04\x02\0\0\0" + struct.pack("<2d", 1, 2)
EYE = b"DM \x04\x04\0\0\0\x04\x04\0\0\0" + np.eye(4).tobytes()
FOUR = b"DV \x04\x04\0\0\0" + struct.pack("<4d", 4, 3, 2, 1)


@pytest.mark.parametrize("name, content, message", [
    ("plda", b"\0B<Plda> DV \x04\x09\0\0\0", "plda: not a Kaldi file of the expected kind: "
     "expected 9 numbers of 8 bytes from byte 17 on, found 0 bytes"),
    ("plda", b"", r"expected <Plda> \[ numbers \] .* </Plda>, found ''"),
    ("plda", b"<Plda> [ 1 2 ]", r"expected <Plda> .* </Plda>, found '<Plda> \[ 1 2 \]'"),
    ("plda", TWO, "expected b'<Plda> ' at its start, found b'DV "),
    ("plda", b"\0B<Plda> " + FOUR + FOUR, "expected a matrix, b'FM ' or b'DM ', at byte 49, found b'DV '"),
    ("plda", b"\0B<Plda> " + FOUR + EYE + FOUR, "expected </Plda> at its end, found b''"),
    ("plda", b"\0B<Plda> " + TWO[2:] + EYE + FOUR + b"</Plda> ", "transform.mat has 4 rows, so plda must hold "
     "a mean of 4 values, a transform of 4 x 4 and a psi of 4; found 2, 4 x 4 and 4"),
    ("plda", b"\0B<Plda> " + FOUR + EYE + FOUR[:-1] + b"\xbf</Plda> ", "its psi are variances: .*, found -1"),
    ("plda", b"\0B<Plda> " + FOUR + EYE[:-8] + bytes(8) + FOUR + b"</Plda> ", "singular: expected rank 4, found 3"),
    ("mean.vec", TWO, "mean.vec has 2 values, so transform.mat must have 2 columns, or 3 with an offset; found 6"),
    ("mean.vec", TWO + b"x", "mean.vec: .* expected nothing more at its end, found b'x'"),
    ("mean.vec", TWO[:5] + b"\x08" + TWO[6:], "mean.vec: .* expected 4 before each size"),
    ("mean.vec", b"\0BDV \x04\xff\xff\xff\xff", "expected sizes of at least 1, found -1"),
    ("mean.vec", b" [ 1 2\n 3 4 ]\n", "expected a vector, on one line, found a matrix of 2 rows"),
    ("mean.vec", b" [ 1 zwei ]\n", "expected a number, found 'zwei'"),
    ("mean.vec", b" [ 1 nan ]\n", "expected finite numbers, found nan"), ("mean.vec", b" [ ]\n", "found none"),
    ("mean.vec", b" [ 1 2 \n", r"expected \[ numbers \], found '\[ 1 2'"), ("mean.vec", None, "no such file"),
    ("transform.mat", b" [\n 1 2\n 3 ]\n", "transform.mat: .* expected rows of 2 numbers, found one of 1"),
    ("transform.mat", b"\x89PNG\r\n", r"expected \[ numbers \], found '.PNG'"),
    ("transform.mat", b"\0BCM2 ", "expected a matrix, b'FM ' or b'DM ', at byte 2, found b'CM2'")])
def test_files_that_are_not_a_plda(tmp_path, name, content, message):
    write_plda(tmp_path / "plda", model())
    if content is None:
        (tmp_path / "plda" / name).unlink()
    else:
        (tmp_path / "plda" / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_plda(tmp_path / "plda")


@pytest.mark.parametrize("transform, dim, utterances, message", [
    ("lda", 9, 4, "plda_dim must lie in 1..8, found 9"), ("lda", 20, 4, "plda_dim must lie in 1..19, found 20"),
    ("lda", 5, 1, "covariance within speakers has a rank of 0 at most, expected 8"),
    ("whiten", 5, 1, "covariance within speakers has a rank of 0 at most, expected 5"), ("whiten", 0, 4, "found 0")])
def test_too_little_to_train_on(transform, dim, utterances, message):
    rng = np.random.default_rng(5)
    size = 30 if dim == 20 else 8
    x = rng.standard_normal((20 * utterances, size))
    with pytest.raises(UserError, match=message):
        train(x, np.repeat(np.arange(20), utterances), transform, dim)


def test_a_singular_covariance_is_an_error():
    rng = np.random.default_rng(6)
    x = rng.standard_normal((80, 6)) @ np.diag([1, 1, 1, 1, 1, 0])
    for transform in ("lda", "whiten"):
        with pytest.raises(UserError, match="covariance .* is singular, of rank 5 in 6 dimensions"):
            train(x, np.repeat(np.arange(20), 4), transform, 6)


def test_embeddings_of_another_dimension():
    with pytest.raises(UserError, match="embeddings of 5 dimensions, but the PLDA was trained on 6"):
        plda(np.ones((2, 5)), Models(np.arange(2), np.ones(2, int)), plda=model())
    with pytest.raises(UserError, match="embeddings of 5 dimensions, but the PLDA was trained on 6"):
        adapt(model(), np.ones((2, 5)), 0.75, 0.25, 1)


def trained_slowly(vectors, labels, dim):
    """(centre, projection, Covariances) by LDA and 20 iterations of EM, speaker by speaker, with full covariances."""
    centre = vectors.mean(0)
    own = [vectors[labels == speaker] - centre for speaker in range(labels.max() + 1)]
    within = sum((x - x.mean(0)).T @ (x - x.mean(0)) for x in own) / len(vectors)
    _, directions = scipy.linalg.eigh(np.cov(vectors.T, bias=True), within)
    projection = directions[:, ::-1][:, :dim].T
    own = [lengthened(x @ projection.T) for x in own]
    means = np.array([x.mean(0) for x in own])
    mean, between = np.concatenate(own).mean(0), np.cov(means.T, bias=True)
    within = sum((x - x.mean(0)).T @ (x - x.mean(0)) for x in own) / len(vectors)
    for _ in range(20):
        precisions = np.linalg.inv(between), np.linalg.inv(within)
        unsure = np.array([np.linalg.inv(precisions[0] + len(x) * precisions[1]) for x in own])
        y = np.array([u @ (precisions[0] @ mean + precisions[1] @ x.sum(0)) for u, x in zip(unsure, own, strict=True)])
        mean, between = y.mean(0), unsure.mean(0) + np.cov(y.T, bias=True)
        within = sum((x - of).T @ (x - of) + len(x) * u for x, of, u in zip(own, y, unsure, strict=True)) / len(vectors)
    return centre, projection, Covariances(mean, within, between)


def lengthened(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True) * np.sqrt(x.shape[1])


def test_the_programs(tmp_path, call):
    """Trained, adapted to the test set and scored as the formulas say, of which nothing is taken from the package."""
    rng = np.random.default_rng(7)
    vectors, labels = drawn(Covariances(np.ones(4), covariance(4, rng), covariance(4, rng)), 30, 5, rng)
    names = [f"s{label:02d}-{n:03d}" for n, label in enumerate(labels)]
    vectors = vectors.astype(np.float32)
    write_vectors(tmp_path / "train", dict(zip(names[:100], vectors[:100], strict=True)))
    write_vectors(tmp_path / "test", dict(zip(names[100:], vectors[100:], strict=True)))
    (tmp_path / "utt2spk").write_text("".join(f"{name} {name[:3]}\n" for name in names))
    (tmp_path / "enroll").write_text("".join(f"m{s} s{s}-{5 * s:03d} s{s}-{5 * s + 1:03d}\n" for s in range(20, 30)))
    (tmp_path / "trials").write_text("".join(
        f"m{s} {name} nontarget\n" for s in range(20, 30) for name in names[103::5]))
    for words in (("train_plda.py", "--dim", 3, tmp_path / "train.scp", tmp_path / "utt2spk", tmp_path / "plda"),
                  ("adapt_plda.py", tmp_path / "plda", tmp_path / "test.scp", tmp_path / "adapted"),
                  ("score_trials.py", "--backend", "plda", "--plda", tmp_path / "adapted", "--enroll",
                   tmp_path / "enroll", tmp_path / "trials", tmp_path / "test.scp", tmp_path / "scores")):
        done = call(f"steps/{words[0]}", *words[1:])
        assert done.returncode == 0, done.stderr
    centre, projection, truth = trained_slowly(vectors[:100].astype(float), labels[:100], 3)
    trained = read_plda(tmp_path / "plda")
    for found, expected in zip((trained.centre, trained.projection, *covariances(trained)),
                               (centre, projection, *truth), strict=True):
        np.testing.assert_allclose(np.abs(found), np.abs(expected))  # the signs of the directions are arbitrary
    _, within, between = truth
    x = lengthened((vectors[100:] - vectors[100:].mean(0, dtype=float)) @ projection.T)
    change = x.mean(0) - truth.mean
    variances, directions = scipy.linalg.eigh(np.cov(x.T, bias=True) + np.outer(change, change), within + between)
    assert variances[0] < 1 < variances[-1]
    back = (within + between) @ directions
    excess = back @ np.diag(np.maximum(variances - 1, 0)) @ back.T
    adapted = Covariances(x.mean(0), within + 0.75 * excess, between + 0.25 * excess)
    expected = [likelihood_ratio(x[m:m + 2], x[test], adapted) for m in range(0, 50, 5) for test in range(3, 50, 5)]
    written = [float(line.split()[2]) for line in (tmp_path / "scores").open()]
    np.testing.assert_allclose(written, expected, atol=1e-4)
    assert f"{tmp_path}/adapted: normalize_length false\n" in done.stdout
    score = ("steps/score_trials.py", "--backend", "plda", "--plda", tmp_path / "plda", "--enroll", tmp_path / "enroll",
             tmp_path / "trials", tmp_path / "test.scp", tmp_path / "scores")
    done = call("steps/train_plda.py", "--dim", 3, "--normalize-length", "true", tmp_path / "train.scp",
                tmp_path / "utt2spk", tmp_path / "plda")
    assert done.returncode == 0 and done.stdout.endswith(" normalize_length true\n"), done.stderr
    assert call(*score).returncode == 0
    rows, trained = vectors[100:].astype(float), read_plda(tmp_path / "plda")
    expected = [scored_slowly(trained, rows[m:m + 2], rows[test]) for m in range(0, 50, 5) for test in range(3, 50, 5)]
    written = [float(line.split()[2]) for line in (tmp_path / "scores").open()]
    np.testing.assert_allclose(written, expected, atol=1e-4)
    (tmp_path / "plda/normalize_length").unlink()
    assert f"{tmp_path}/plda: normalize_length true\n" in call(*score).stdout
    done = call("steps/score_trials.py", "--backend", "plda", "--plda", tmp_path, tmp_path / "trials",
                tmp_path / "test.scp", tmp_path / "scores")
    assert done.returncode == 1 and "mean.vec: train the PLDA first" in done.stderr
