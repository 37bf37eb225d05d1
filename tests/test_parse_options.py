"""utils/parse_options.sh, sourced by a script under `set -euo pipefail`."""

import subprocess
from pathlib import Path

import pytest

OPTIONS = Path(__file__).resolve().parent.parent / "utils" / "parse_options.sh"
SCRIPT = """#!/bin/bash
set -euo pipefail
foo_bar=1
name=none
flag=false
cmd=run.pl
empty=
help_message="Usage: x [options]\\n 100% of it"
. "{options}"
echo "$foo_bar|$name|$flag|$cmd|$empty|$#|$*"
"""


@pytest.fixture
def call(tmp_path):
    script = tmp_path / "x.sh"
    script.write_text(SCRIPT.format(options=OPTIONS))

    def call(*args):
        return subprocess.run(["bash", script, *args], capture_output=True, text=True, cwd=tmp_path)

    return call


@pytest.mark.parametrize(
    "args, out",
    [
        ([], "1|none|false|run.pl||0|"),
        (["--foo-bar", "2", "--flag", "true", "a", "--name", "b"], "2|none|true|run.pl||3|a --name b"),
        (["--name", "x", "--foo_bar", "y", "a b"], "y|x|false|run.pl||1|a b"),
        (
            ["--cmd", "queue.pl --mem 4G", "--empty", "$HOME `ls` \"'"],
            "1|none|false|queue.pl --mem 4G|$HOME `ls` \"'|0|",
        ),
        (["--foo-bar", "-5", "-x"], "-5|none|false|run.pl||1|-x"),
        (["--foo-bar", ""], "|none|false|run.pl||0|"),
    ],
)
def test_values(call, args, out):
    done = call(*args)
    assert (done.returncode, done.stdout, done.stderr) == (0, out + "\n", "")


@pytest.mark.parametrize(
    "args, message",
    [
        (["--x", "1"], "invalid option --x"),
        (["--x=1"], "options to scripts must be of the form --name value, got '--x=1'"),
        (["--flag", "yes"], 'expected "true" or "false": --flag yes'),
        (["--cmd", ""], "empty argument to --cmd option"),
        (["--foo-bar"], "option --foo-bar needs a value"),
        (["--"], "invalid option --"),
        (["--foo.bar", "1"], "invalid option --foo.bar"),
        (["--config", "none.conf"], "missing config 'none.conf'"),
    ],
)
def test_errors(call, args, message, tmp_path):
    done = call(*args)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{tmp_path}/x.sh: {message}\n"


def test_help(call):
    done = call("--help")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "Usage: x [options]\n 100% of it\n"


def test_config_is_read_first(call, tmp_path):
    (tmp_path / "my.conf").write_text("foo_bar=conf\nname=conf\n")
    done = call("--name", "line", "--config", "my.conf", "rest")
    assert (done.returncode, done.stdout) == (0, "conf|line|false|run.pl||1|rest\n"), done.stderr


def test_a_config_of_another_command_is_left_alone(call):
    assert call("x", "--config", "none.conf").stdout.endswith("|3|x --config none.conf\n")
