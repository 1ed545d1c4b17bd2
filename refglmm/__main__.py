"""``python -m refglmm`` is the command ``refglmm``.

Place in the reading order: last.
"""

import sys

from refglmm.cli import main

if __name__ == "__main__":
    sys.exit(main())
