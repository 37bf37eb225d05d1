"""What every command of the recipe shares: how it fails."""

import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

EXAMPLES = 5  # named in a message


class UserError(Exception):
    """A failure whose message is all the user needs: where, what was found, what was expected, what to do."""


def one_line(message: object) -> str:
    """A message whose names may hold line ends and control characters, which are then escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(message))


def examples(names: Iterable[str]) -> str:
    """The first few names, for a message; no more than these are looked at."""
    first = list(islice(names, EXAMPLES + 1))
    return ", ".join(first[:EXAMPLES]) + (", ..." if len(first) > EXAMPLES else "")


def run(main: Callable[[], int | None]) -> None:
    """Run a command's main function and leave with its exit status.

    UserError and OSError (a full disk, a missing file) become one line on standard error and status 1, Ctrl-C
    becomes status 130; any other exception is a defect of ours and keeps its traceback.
    """
    name = Path(sys.argv[0]).name
    try:
        sys.exit(main())
    except BrokenPipeError:
        sys.exit(1)
    except (UserError, OSError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)
