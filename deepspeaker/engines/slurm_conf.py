"""conf/slurm.conf, which translates options of slurm.pl into options of sbatch."""

import shlex
from pathlib import Path
from typing import NamedTuple

from deepspeaker.errors import UserError


class Conf(NamedTuple):
    """A conf/slurm.conf, parsed."""

    path: Path
    command: list[str]
    options: dict[tuple[str, str], list[str]]  # (name, value or *) -> words for sbatch, with $0 for the value
    defaults: dict[str, str]

    def sbatch(self, options: dict[str, str]) -> list[str]:
        """sbatch's command line. Raises UserError for an option that the file does not have."""
        words = list(self.command)
        for name, value in {**self.defaults, **options}.items():
            if (name, value) in self.options:
                words += self.options[name, value]
            elif (name, "*") in self.options:
                words += [word.replace("$0", value) for word in self.options[name, "*"]]
            else:
                known = " ".join(sorted({f"--{known}".replace("_", "-") for known, _ in self.options}))
                raise UserError(f"{self.path} does not say what --{name.replace('_', '-')} {value} means to sbatch; it "
                                f"knows: {known}")
        return words


def read_conf(path: Path) -> Conf:
    """Read Kaldi's format: lines `command ...`, `option NAME=VALUE ...` (VALUE may be *), `default NAME=VALUE`.

    UserError for a line of another form.
    """
    conf = Conf(path, [], {}, {})
    for number, line in enumerate(path.read_text().splitlines(), 1):
        kind, *words = shlex.split(line, comments=True) or [""]
        name, equals, value = (words[0] if words else "").partition("=")
        name = name.replace("-", "_")
        if kind == "command" and words:
            conf.command[:] = words
        elif kind == "option" and equals:
            conf.options[name, value] = words[1:]
        elif kind == "default" and equals and len(words) == 1:
            conf.defaults[name] = value
        elif kind:
            raise UserError(f"{path}:{number}: expected 'command ...', 'option NAME=VALUE ...' or 'default "
                            f"NAME=VALUE', found {line!r}")
    if not conf.command:
        raise UserError(f"{path}: no line 'command sbatch ...'")
    return conf
