"""python -m deepspeaker"""

import sys

from deepspeaker.tool import main

if __name__ == "__main__":
    sys.exit(main())
