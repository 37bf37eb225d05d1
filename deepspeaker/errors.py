"""How every command of the recipe fails: one sentence on standard error, and an exit status."""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path

EXAMPLES = 5  # names that a message lists
MOST_QUOTED = 60  # characters of a name that a message shows


class UserError(Exception):
    """A failure that the user can act on: the message says where, what was found, what was expected, what to do."""


class AllFailed(UserError):
    """None of several files or utterances could be used.

    failed: name of each -> its reason.
    """

    def __init__(self, message: str, failed: Mapping[str, str]) -> None:
        super().__init__(message)
        self.failed = failed


def one_line(message: object) -> str:
    """The message with line ends and control characters escaped, which file names may contain."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(message))


def quoted(name: str) -> str:
    """A name that a user gave, in quotation marks, cut to MOST_QUOTED characters."""
    return repr(name if len(name) <= MOST_QUOTED else f"{name[:MOST_QUOTED]}...")


def first_line(message: object) -> str:
    """The first line of a message, such as another library's error, which may have many."""
    return str(message).strip().partition("\n")[0]


def examples(names: Iterable[str]) -> str:
    """The first EXAMPLES names, for a message; the iterable is read no further than needed."""
    first = list(islice(names, EXAMPLES + 1))
    return ", ".join(first[:EXAMPLES]) + (", ..." if len(first) > EXAMPLES else "")


def need(packages: Iterable[str], what: str) -> None:
    """UserError, with the command that installs them, for optional packages that `what` needs and that are missing."""
    missing = []
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            missing.append(package.replace("_", "-"))
    if missing:
        raise UserError(f"{what} needs {', '.join(missing)}: pip install {' '.join(missing)}")


def run(main: Callable[[], int | None]) -> None:
    """Run a command's main function and leave with its exit status.

    UserError and OSError (a full disk, a missing file) become one line on standard error and status 1, Ctrl-C
    becomes status 130; any other exception is a bug and keeps its traceback.
    """
    try:
        sys.exit(main())
    except BrokenPipeError:
        sys.exit(1)
    except (UserError, OSError) as error:
        sys.exit(f"{_program()}: {one_line(error)}")
    except KeyboardInterrupt:
        print(f"{_program()}: interrupted", file=sys.stderr)
        sys.exit(130)


def _program() -> str:
    return Path(sys.argv[0]).name
