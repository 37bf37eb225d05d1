"""`python -m deepspeaker`: the command `deepspeaker`, where it is not on the PATH."""

import sys

from deepspeaker.inference.cli import main

if __name__ == "__main__":
    sys.exit(main())
