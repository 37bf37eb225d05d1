"""Configuration files as plain tables. Imports neither torch nor pydantic, so that steps start fast.

`base = "small.toml"` at the top of a file names another file, which supplies all values that this one does not set.
Its path is relative to this file's folder, and it may have a base of its own. Sections are merged key by key, except
[model]: if `name` differs from the base's, the whole section is replaced, since each network has its own keys.
"""

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepspeaker.errors import UserError

Tables = dict[str, dict[str, Any]]  # section -> key -> value


def read_tables(path: str | os.PathLike[str]) -> Tables:
    """The sections of a TOML file and of its bases, merged; UserError names the file at fault."""
    return _merged_with_base(Path(path), [])


def value(tables: Tables, path: str | os.PathLike[str], section: str, key: str) -> Any:
    """A value of the tables that were read from `path`; UserError where it is missing."""
    if section not in tables:
        raise UserError(f"{path}: section {section} is missing")
    if key not in tables[section]:
        raise UserError(f"{path}: [{section}] key {key} is missing")
    return tables[section][key]


def names(tables: Tables, path: str | os.PathLike[str], section: str, key: str) -> list[str]:
    """A value that is a list of names; UserError where it is missing or anything else."""
    found = value(tables, path, section, key)
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise UserError(f"{path}: [{section}] {key}: expected a list of names, found {found!r}")
    return found


def _merged_with_base(path: Path, chain: Sequence[Path]) -> Tables:
    """chain: the files whose `base` lines led to this one."""
    chain = [*chain, path]
    if os.path.realpath(path) in map(os.path.realpath, chain[:-1]):
        raise UserError(f"{chain[0]}: base: the files form a circle, {' -> '.join(map(str, chain))}: "
                        "remove one of these base lines")
    tables = _parse(path)
    base = tables.pop("base", None)
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UserError(f"{path}: {name} must be a section, found {table!r}; base is the only key outside sections")
    if base is None:
        return tables
    if not isinstance(base, str):
        raise UserError(f"{path}: base: found {base!r}, expected the name of a file")
    if not (path.parent / base).is_file():
        raise UserError(f"{path}: base: no such file: {path.parent / base}; its path is relative to {path.parent}")
    return _merge(_merged_with_base(path.parent / base, chain), tables)


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"no such configuration file: {path}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also of numbers with thousands of digits, and of deep nesting
        raise UserError(f"{path}: not TOML: {error}") from None


def _merge(base: Tables, own: Tables) -> Tables:
    """Sections in the order of `base`."""
    merged = base | {name: base.get(name, {}) | table for name, table in own.items()}
    network, base_network = own.get("model", {}), base.get("model", {}).get("name")
    if network.get("name", base_network) != base_network:
        merged["model"] = network
    return merged
