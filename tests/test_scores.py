"""Trial lists and score files by index: read as they were written, in any order, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepspeaker.datadir import text_columns
from deepspeaker.datadir.text_columns import Numbering, read_blocks
from deepspeaker.datadir.trials import read_trial_list
from deepspeaker.errors import UserError
from deepspeaker.scoring.score_files import read_scored, read_scores, write_scores


@given(st.text(alphabet="ab \t\r\n\f\v\x01\x1c\u00a0ä", max_size=60), st.integers(1, 9))
def test_columns_are_those_of_python(tmp_path_factory, text, size):
    """Fields end at ASCII blanks alone, whatever the size of the blocks."""
    path = tmp_path_factory.mktemp("columns") / "file"
    path.write_bytes(text.encode())
    lines = text.split("\n")[:-1] if text.endswith("\n") else text.split("\n") if text else []
    rows = [line.encode().split() for line in lines]
    while rows and not rows[-1]:
        rows.pop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_columns, "BYTES_AT_ONCE", size)
        wrong = [number for number, row in enumerate(rows, 1) if len(row) != 2]
        if wrong:
            with pytest.raises(UserError, match=rf"file:{wrong[0]}: expected 'x y', found"):
                list(read_blocks(path, 2, "x y"))
            return
        numbering, found = Numbering(), []
        for block in read_blocks(path, 2, "x y"):
            assert block.number == len(found) + 1
            numbers = [numbering.numbers(block, column) for column in (0, 1)]
            texts = [block.texts(column) for column in (0, 1)]
            found += zip(*texts, strict=True)
            assert [[numbering.ids[n].encode() for n in column] for column in numbers] == texts
        assert found == [tuple(row) for row in rows]
    assert len(set(numbering.ids)) == len(numbering.ids)


def test_numbers_of_ids_that_are_known(tmp_path):
    """Ids that differ in their last byte, in their length, by a zero byte, in the first of several words of eight."""
    ids = ["a", "b", "a\0", "abcdefgh", "abcdefg", "abcdefgh-abcdefgh", "Abcdefgh-abcdefgh", "ä" * 50]
    (tmp_path / "ids").write_text("\n".join([*ids, "nobody", "c", *ids]), encoding="utf-8")
    numbering = Numbering(ids)
    (block,) = read_blocks(tmp_path / "ids", 1, "x")
    assert numbering.known(block, 0).tolist() == [*range(8), -1, -1, *range(8)] and numbering.ids == ids
    assert numbering.numbers(block, 0).tolist() == [*range(8), 8, 9, *range(8)]
    (tmp_path / "short").write_text("b\nabcdefgh\n")  # beside no longer ids
    (block,) = read_blocks(tmp_path / "short", 1, "x")
    assert numbering.known(block, 0).tolist() == [1, 3]


def test_text_that_is_not_utf_8_names_its_line(tmp_path):
    (tmp_path / "t").write_bytes(b"a b\nz\xe4 b\n")
    with pytest.raises(UserError, match="t:2: not UTF-8 text"):
        list(read_blocks(tmp_path / "t", 2, "x y"))


@pytest.fixture
def files(tmp_path):
    trials, scores = tmp_path / "trials", tmp_path / "scores"
    trials.write_text("a b target\na c nontarget\nb c nontarget\nb a target\n")
    return trials, scores


def test_scores_come_back_in_the_trials_order(files):
    trials, scores = files
    listed = read_trial_list(trials)
    write_scores(scores, listed, np.array([1, -2.5, np.inf, 1e-7]))
    assert scores.read_text() == "a b 1.000000\na c -2.500000\nb c inf\nb a 0.000000\n"
    kept, values, lost = read_scored(scores, trials)
    assert values.tolist() == [1, -2.5, np.inf, 0] and kept.targets.tolist() == [1, 0, 0, 1] and lost == 0
    scores.write_text("b c 3\na b 1.5\n")
    kept, values, lost = read_scored(scores, trials)
    assert values.tolist() == [1.5, 3] and kept.targets.tolist() == [1, 0] and lost == 2
    np.testing.assert_array_equal(read_scores(scores, listed, trials), [1.5, np.nan, 3, np.nan])


@pytest.mark.parametrize("text, message", [
    ("a b 1\nc b 2\nb b 3\n", "2 scored pairs are not trials of .*trials, the first in line 2"),
    ("a b 1\nx y 2\n", "1 scored pairs are not"), ("a b nan\n", "scores:1: expected 'id1 id2 score', found 'a b nan'"),
    ("a b 1\na c high\n", "scores:2: expected 'id1 id2 score', found 'a c high'"),
    ("a b 1\na c 1\na b 1\n", "1 pairs have a second score, the first in line 3"), ("a b\n", "scores:1: expected")])
def test_scores_that_are_refused(files, text, message):
    trials, scores = files
    scores.write_text(text)
    with pytest.raises(UserError, match=message):
        read_scored(scores, trials)


def test_scores_that_are_not_numbers_are_not_written(files):
    trials, scores = files
    with pytest.raises(UserError, match="1 scores are not numbers: a c"):
        write_scores(scores, read_trial_list(trials), np.array([1, np.nan, 2, 3]))
    assert not scores.exists()
