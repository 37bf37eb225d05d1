"""python -m deepspeaker"""

import sys

from deepspeaker.inference.cli import main

if __name__ == "__main__":
    sys.exit(main())
