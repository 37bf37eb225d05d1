"""PLDA against slow second opinions: joint Gaussians, a model that made the data, Kaldi's files byte by byte."""

import struct

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
    adapted = adapt(trained, x, 0.75, 0.25)
    after = covariances(adapted)
    np.testing.assert_allclose(adapted.centre, x.mean(0))
    domain = np.cov(projected(adapted, x), rowvar=False, bias=True)
    np.testing.assert_allclose(after.within - before.within, 3 * (after.between - before.between), atol=1e-9)
    root = np.linalg.inv(np.linalg.cholesky(total))
    variances, directions = np.linalg.eigh(root @ domain @ root.T)
    new = directions.T @ root @ (after.within + after.between) @ root.T @ directions
    np.testing.assert_allclose(new, np.diag(np.maximum(variances, 1)), atol=1e-8)
    assert variances[0] < 1 < variances[-1]


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
    (tmp_path / "plda/transform.mat").write_bytes(  # as Kaldi's ivector-compute-lda leaves it
        b"\0BFM \x04\x02\0\0\0\x04\x03\0\0\0" + np.array([[1, 2, 3], [4, 5, 6]], "<f4").tobytes())
    np.testing.assert_array_equal(read_plda(tmp_path / "plda").projection, trained.projection)
    (tmp_path / "plda/mean.vec").write_bytes(b"\0BFV \x04\x03\0\0\0" + np.array([0.5, -1, 2], "<f4").tobytes())
    np.testing.assert_array_equal(read_plda(tmp_path / "plda").centre, trained.centre)


def test_other_programs_read_the_files(tmp_path):
    import kaldiio

    trained = model()
    write_plda(tmp_path / "plda", trained)
    np.testing.assert_array_equal(kaldiio.load_mat(str(tmp_path / "plda/mean.vec")), trained.centre)
    np.testing.assert_array_equal(kaldiio.load_mat(str(tmp_path / "plda/transform.mat")), trained.projection)


@pytest.mark.parametrize("name, content, message", [
    ("plda", b"\0B<Plda> DV \x04\x09\0\0\0", "plda: not a binary Kaldi file"), ("plda", b"", "at its start, found b''"),
    ("plda", b"<Plda> [ 1 2 ]", "not a binary Kaldi file"), ("mean.vec", b"\0BDV \x04\x01\0\0\0" + bytes(8), "shapes"),
    ("mean.vec", b"\0BDV \x04\x01\0\0\0" + bytes(12), "at its end"), ("mean.vec", None, "no such file"),
    ("transform.mat", b"\0BCM2 ", "expected a vector or a matrix at byte 2")])
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
    ("lda", 5, 1, "within speakers of 20 utterances is singular, of rank 0 in 8 dimensions"),
    ("whiten", 5, 1, "within speakers is singular, of rank 0 in 5 dimensions"), ("whiten", 0, 4, "found 0")])
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
        adapt(model(), np.ones((2, 5)), 0.75, 0.25)


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
    variances, directions = scipy.linalg.eigh(np.cov(x.T, bias=True), within + between)
    assert variances[0] < 1 < variances[-1]
    back = (within + between) @ directions
    excess = back @ np.diag(np.maximum(variances - 1, 0)) @ back.T
    adapted = Covariances(x.mean(0), within + 0.75 * excess, between + 0.25 * excess)
    expected = [likelihood_ratio(x[m:m + 2], x[test], adapted) for m in range(0, 50, 5) for test in range(3, 50, 5)]
    written = [float(line.split()[2]) for line in (tmp_path / "scores").open()]
    np.testing.assert_allclose(written, expected, atol=1e-4)
    done = call("steps/score_trials.py", "--backend", "plda", "--plda", tmp_path, tmp_path / "trials",
                tmp_path / "test.scp", tmp_path / "scores")
    assert done.returncode == 1 and "mean.vec: train the PLDA first" in done.stderr
