"""Files and folders that are either whole or not there."""

import pytest

from deepspeaker.atomic import atomic, replacing


@pytest.mark.parametrize("mode, content, stored", [("w", "é\n", b"\xc3\xa9\n"), ("wb", b"\xff", b"\xff")])
def test_a_file_that_is_written_whole_or_not_at_all(tmp_path, mode, content, stored):
    path = tmp_path / "table"
    path.write_text("old")
    with pytest.raises(OSError), atomic(path, mode) as file:
        file.write(content)
        raise OSError("the disk is full")
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]
    with atomic(path, mode) as file:
        file.write(content)
        file.flush()
        assert path.read_text() == "old"
    assert path.read_bytes() == stored and [*tmp_path.iterdir()] == [path]


def test_a_folder_that_takes_the_place_of_another(tmp_path):
    folder = tmp_path / "some/set"
    for name in ("first", "second"):
        with replacing(folder) as new:
            (new / name).touch()
        assert [path.name for path in folder.iterdir()] == [name]
    with pytest.raises(OSError), replacing(folder) as new:
        (new / "third").touch()
        raise OSError("the disk is full")
    assert [path.name for path in folder.iterdir()] == ["second"] and [*folder.parent.iterdir()] == [folder]


def test_what_a_killed_run_left_of_a_folder(tmp_path):
    folder = tmp_path / "set"
    for leftover, name in ((".set.old", "a"), (".set.new", "b")):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / name).touch()
    with pytest.raises(OSError), replacing(folder) as new:
        assert [path.name for path in folder.iterdir()] == ["a"] and not [*new.iterdir()]
        raise OSError("the disk is full")
    assert [path.name for path in folder.iterdir()] == ["a"] and [*tmp_path.iterdir()] == [folder]
    (tmp_path / ".set.old").mkdir()
    folder.rename(tmp_path / "elsewhere")
    (tmp_path / ".set.new").symlink_to(tmp_path / "elsewhere")
    with replacing(folder) as new:
        (new / "c").touch()
    assert [path.name for path in folder.iterdir()] == ["c"]
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "set"]
