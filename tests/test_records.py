"""Records of what each part of a stage was made from: what makes it stale, and what does not."""

import json
import os
from pathlib import Path

import pytest

from deepspeaker.errors import UserError
from deepspeaker.recipe import records
from deepspeaker.recipe.records import NOT_RUN, Part, begin, end, why


@pytest.fixture
def part(tmp_path):
    """A part that has been made, of two files."""
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / "in" / name).write_text(f"{name}\n")
    (tmp_path / "out.scp").write_text("one\ntwo\n")
    made = Part("2/train", tmp_path / ".stages", tmp_path, [tmp_path / "in/a", tmp_path / "in/b"],
                {"features": {"num_mel_bins": 40}, "seed": 0}, [tmp_path / "out.scp"])
    assert why(made, False) == NOT_RUN
    begin(made)
    assert why(made, False).text == "it did not end"
    end(made, 3.6, "run.sh --nj 2")
    return made


def test_a_record_tells_what_was_made_of_what(part, tmp_path):
    record = json.loads((tmp_path / ".stages/2.train.json").read_text())
    assert record["settings"] == part.settings and sorted(record["inputs"]) == ["in/a", "in/b"]
    assert record["outputs"] == {"out.scp": {"bytes": 8, "lines": 2}} and record["seconds"] == 4
    assert record["command"] == "run.sh --nj 2" and record["versions"]["torch"] and record["revision"]
    assert not part.begun.exists()


def test_what_changes_nothing(part, tmp_path):
    assert why(part, True) is None
    os.utime(tmp_path / "in/a", (1, 1))  # as by a clock that went back
    (tmp_path / "out.scp").write_text("edited by hand\n")
    assert why(part, True) is None


def test_what_makes_it_stale(part, tmp_path, monkeypatch):
    other = part._replace(settings={"features": {"num_mel_bins": 64}, "seed": 0})
    assert why(other, False).text == "num_mel_bins 40 -> 64"
    (tmp_path / "in/a").write_text("c\n")
    assert why(part, False).text == "in/a changed"
    (tmp_path / "in/b").unlink()
    assert why(part, False).text == "in/a changed, in/b changed"
    assert why(part._replace(inputs=[]), False).text == "in/a is gone, in/b is gone"
    (tmp_path / "in/a").write_text("a\n")
    (tmp_path / "in/b").write_text("b\n")
    assert why(part._replace(inputs=[*part.inputs, tmp_path / "out.scp"]), False).text == "out.scp is new"
    (tmp_path / "out.scp").unlink()
    assert why(part, False).text == "out.scp is missing"


def test_large_files_are_told_apart_by_size_and_time(part, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "SMALL", 0)
    begin(part)
    end(part, 0, "")
    assert why(part, False) is None
    os.utime(tmp_path / "in/b", (1, 1))
    assert why(part, False).text == "in/b changed"


def test_the_names_in_a_folder(part, tmp_path, monkeypatch):
    whole, listed = part._replace(inputs=[tmp_path / "in"]), Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: sorted(listed(path)))
    begin(whole)
    end(whole, 0, "")
    (tmp_path / "in/a").write_text("changed, and no name with it\n")
    assert why(whole, False) is None
    monkeypatch.setattr(Path, "iterdir", lambda path: sorted(listed(path), reverse=True))  # as another disk lists them
    assert why(whole, False) is None
    (tmp_path / "in/c").write_text("")
    assert why(whole, False).text == "in changed"


def test_another_program_is_stale_only_if_that_is_asked_for(part, monkeypatch):
    monkeypatch.setattr(records, "program", lambda: "other")
    assert why(part, False) is None and records.made_by_another_program(part)
    assert why(part, True).text.startswith("the program changed since")


def test_the_program_is_all_of_the_recipe(tmp_path, monkeypatch):
    for name in ("deepspeaker/losses/a.py", "steps/b.sh", "egs/voxceleb/run.sh"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n")
    monkeypatch.setattr(records, "ROOT", tmp_path)
    seen = {records.program()}
    for name in ("deepspeaker/losses/a.py", "steps/b.sh", "egs/voxceleb/run.sh"):
        (tmp_path / name).write_text("2\n")
        seen.add(records.program())
    assert len(seen) == 4


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, '{"format": 1}',
                                     '{"format": 99, "settings": {}, "inputs": {}}'])
def test_a_record_that_cannot_be_read_is_said(part, content):
    part.record.write_text(content)
    assert "cannot be read as a record" in why(part, False).text
    begin(part)
    end(part, 0, "")
    assert why(part, False) is None


def test_a_file_edited_while_the_stage_runs(part, tmp_path):
    begin(part)
    assert not part.record.exists()
    (tmp_path / "in/a").write_text("edited\n")
    with pytest.raises(UserError, match="in/a changed while stage 2/train ran: run the stage again"):
        end(part, 0, "")
    assert why(part, False).text == "it did not end"
    part.begun.write_text("")
    with pytest.raises(UserError, match="expected the inputs that stage 2/train began with"):
        end(part, 0, "")
