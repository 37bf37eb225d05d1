"""Archives: ours read by others, others' read by us, malformed ones refused."""

import os
import resource

import kaldi_native_io
import kaldiio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepspeaker.datadir import write_table
from deepspeaker.datadir.archive import (
    MatrixTable,
    append,
    map_file,
    open_matrix,
    open_vector,
    read_vectors,
    write_vectors,
)
from deepspeaker.errors import UserError

MATRIX = np.random.default_rng(0).standard_normal((50, 7)).astype(np.float32)


@pytest.mark.parametrize("method, tolerance", [(None, 0), (1, 0.05), (2, 0.05), (3, 1e-4), (5, 0.03)])
def test_reads_what_kaldiio_writes(tmp_path, method, tolerance):
    scp = tmp_path / "a.scp"
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/a.ark,{scp}", compression_method=method) as writer:
        writer("one", MATRIX)
        writer("two", MATRIX[:3] * 2)
    expected = kaldiio.load_scp(str(scp))
    for line in scp.read_text().splitlines():
        key, specifier = line.split()
        matrix = open_matrix(specifier, key)
        np.testing.assert_allclose(matrix.rows(), expected[key], atol=1e-5)
        np.testing.assert_array_equal(matrix.rows([2, 0]), matrix.rows()[[2, 0]])
    specifier = scp.read_text().split()[1]
    np.testing.assert_allclose(open_matrix(specifier, "one").rows(), MATRIX, atol=tolerance)


def test_double_precision(tmp_path):
    kaldiio.save_ark(str(tmp_path / "d.ark"), {"d": MATRIX.astype(np.float64)})
    np.testing.assert_array_equal(open_matrix(f"{tmp_path}/d.ark:2", "d").rows(), MATRIX)


@pytest.mark.parametrize("compress", [True, False])
def test_others_read_what_we_write(tmp_path, compress):
    path = tmp_path / "a.ark"
    with path.open("wb") as file:
        offsets = {key: append(file, key, MATRIX + n, compress) for n, key in enumerate(["b", "a-longer-key", "ä-李"])}
    (tmp_path / "a.scp").write_text("".join(f"{key} {path}:{offset}\n" for key, offset in offsets.items()))
    assert open_matrix(f"{path}:{offsets['b']}", "b").stored.dtype == (np.uint16 if compress else np.float32)
    ours = {key: open_matrix(f"{path}:{offset}", key).rows() for key, offset in offsets.items()}
    theirs = kaldiio.load_scp(str(tmp_path / "a.scp"))
    for key, value in kaldi_native_io.SequentialFloatMatrixReader(f"scp:{tmp_path}/a.scp"):
        np.testing.assert_allclose(ours[key], value, atol=1e-5)
        np.testing.assert_allclose(ours[key], theirs[key], atol=1e-5)
    np.testing.assert_allclose(ours["b"], MATRIX, atol=1e-4 if compress else 0)


@pytest.mark.parametrize("method", ["kSpeechFeature", "kTwoByteAuto", "kTwoByteSignedInteger", "kOneByteAuto", None])
def test_reads_what_another_writer_makes(tmp_path, method):
    """kaldi_native_io is Kaldi's own code: what it writes and how it reads it back."""
    path, key = tmp_path / "k.ark", "key"
    if method:
        with kaldi_native_io.CompressedMatrixWriter(f"ark,scp:{path},{tmp_path}/k.scp") as writer:
            writer.write(key, MATRIX, getattr(kaldi_native_io.CompressionMethod, method))
    else:
        with kaldi_native_io.FloatMatrixWriter(f"ark,scp:{path},{tmp_path}/k.scp") as writer:
            writer.write(key, MATRIX)
    reader = kaldi_native_io.SequentialFloatMatrixReader(f"scp:{tmp_path}/k.scp")
    np.testing.assert_allclose(MatrixTable(tmp_path / "k.scp").rows(0), reader.value, atol=1e-5)


def test_table_gathers_windows_of_any_kind(tmp_path):
    """One batch of windows is what the matrices' rows are one by one, whatever the archive holds."""
    long = np.random.default_rng(1).standard_normal((300, 7))
    for name, method, kind in (("a", 3, "f4"), ("b", 3, "f4"), ("c", 5, "f4"), ("d", None, "f4"), ("e", None, "f8"),
                               ("f", 1, "f4")):
        with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/{name}.ark,{tmp_path}/{name}.scp",
                                 compression_method=method) as writer:
            for n in range(3):
                writer(f"{name}{n}", (long * (n + 1)).astype(kind))
    lines = "".join((tmp_path / f"{name}.scp").read_text() for name in "abcdef")
    (tmp_path / "all.scp").write_text(lines)
    table = MatrixTable(tmp_path / "all.scp")
    slices, voiced = slice(120, 150), np.arange(0, 90, 3)
    for which in (range(0, 6), range(6, 9), range(9, 12), range(12, 15), range(15, 18), range(18)):
        which = np.array([*which, which[0]])
        index = [slices if i % 2 else voiced for i in which]
        expected = np.stack([table.rows(i, rows) for i, rows in zip(which, index, strict=True)])
        np.testing.assert_array_equal(table.gather(which, index), expected)
        assert (table.layout(which)["rows"] == 300).all() and (table.layout(which)["cols"] == 7).all()
    assert len(table.files) == 6


def test_table_of_more_archives_than_files_may_be_open_at_first(tmp_path):
    table = {}
    for n in range(20):
        with (tmp_path / f"{n}.ark").open("wb") as file:
            table[f"u{n:02d}"] = f"{tmp_path}/{n}.ark:{append(file, f'u{n:02d}', MATRIX)}"
    write_table(tmp_path / "a.scp", table)
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 10, most))
    try:
        counts = MatrixTable(tmp_path / "a.scp").layout(np.arange(20))["rows"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    assert (counts == len(MATRIX)).all()


def test_table_names_the_malformed_matrix(tmp_path):
    path = written(tmp_path, 3)
    (tmp_path / "a.scp").write_text(f"good {path}:4\nlost {path}:99\n")
    table = MatrixTable(tmp_path / "a.scp")
    assert table.layout(np.array([0]))["rows"] == 50
    with pytest.raises(UserError, match=f"^lost: malformed archive {path}:99: no binary entry"):
        table.layout(np.array([0, 1]))


def test_vectors(tmp_path):
    vectors = {"b": MATRIX[0], "a": MATRIX[1]}
    write_vectors(tmp_path / "v.x", vectors)
    assert [line.split()[0] for line in (tmp_path / "v.x.scp").open()] == ["a", "b"]
    assert [key for key, _ in kaldiio.load_ark(str(tmp_path / "v.x.ark"))] == ["a", "b"]
    for key, value in read_vectors(tmp_path / "v.x.scp").items():
        np.testing.assert_array_equal(value, vectors[key])
    assert {key: value.tolist() for key, value in kaldiio.load_scp(str(tmp_path / "v.x.scp")).items()} == {
        key: value.tolist() for key, value in vectors.items()}
    write_vectors(tmp_path / "v", {"a": MATRIX[0], "b": MATRIX[0, :3]})
    with pytest.raises(UserError, match=r"different dimensions: 7 \(a\), 3 \(b\)"):
        read_vectors(tmp_path / "v.scp")


def written(tmp_path, method):
    path = tmp_path / f"{method}.ark"
    kaldiio.save_ark(str(path), {"utt": MATRIX}, compression_method=method)
    return path


def test_wrong_specifiers(tmp_path):
    path = written(tmp_path, 3)
    for specifier, message in ((str(path), "expected 'file:offset'"), (f"{path}:x", "expected 'file:offset'"),
                               (f"{path}:1", "no binary entry"), (f"{path}:99999999", "no binary entry"),
                               (f"{tmp_path}/none.ark:4", "cannot read")):
        with pytest.raises(UserError, match=f"^utt: .*{message}"):
            open_matrix(specifier, "utt")
    with pytest.raises(UserError, match="expected a vector"):
        open_vector(f"{path}:4", "utt")


@pytest.mark.parametrize("method", [None, 1, 3, 5])
def test_a_matrix_that_lacks_its_last_byte(tmp_path, method):
    path = written(tmp_path, method)
    assert open_matrix(f"{path}:4", "utt").rows().shape == (50, 7)
    cut = tmp_path / "cut.ark"
    cut.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"^utt: malformed archive .*cut.ark:4: its header announces shape"):
        open_matrix(f"{cut}:4", "utt")


@pytest.mark.parametrize("kind, size", [("f4", 28), ("f8", 56)])
def test_a_vector_that_lacks_its_last_byte(tmp_path, kind, size):
    whole, cut = tmp_path / "whole.ark", tmp_path / "cut.ark"
    kaldiio.save_ark(str(whole), {"utt": MATRIX[0].astype(kind)})
    np.testing.assert_array_equal(open_vector(f"{whole}:4", "utt"), MATRIX[0])
    cut.write_bytes(whole.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"announces shape \(7,\), {size} bytes; the file has {size - 1} from there"):
        open_vector(f"{cut}:4", "utt")


def test_a_matrix_whose_sizes_have_8_bytes(tmp_path):
    content = written(tmp_path, None).read_bytes()
    for place in (9, 14):  # behind "utt ", 0, "BFM "
        path = tmp_path / f"{place}.ark"
        assert content[place] == 4
        path.write_bytes(content[:place] + b"\x08" + content[place + 1:])
        with pytest.raises(UserError, match="its sizes are not 4-byte integers"):
            open_matrix(f"{path}:4", "utt")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_archives_raise_or_read(tmp_path_factory, data):
    """Cut anywhere, or with any bytes of the header changed: an error that names key and file, or some matrix."""
    method = data.draw(st.sampled_from([None, 1, 3, 5]))
    path = written(tmp_path_factory.mktemp("ark"), method)
    raw = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        raw = raw[:data.draw(st.integers(1, len(raw) - 1))]
    for place in data.draw(st.lists(st.integers(4, 30), max_size=4)):
        if place < len(raw):
            raw[place] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    map_file.cache_clear()
    try:
        assert open_matrix(f"{path}:4", "utt").rows().size <= len(raw)
    except UserError as error:
        assert str(error).startswith("utt: ") and str(path) in str(error)
