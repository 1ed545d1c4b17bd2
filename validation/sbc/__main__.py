"""``python -m validation.sbc``: draw, sample, rank, write ``validation/sbc/report.md``."""

import sys

from validation.sbc.run import main

if __name__ == "__main__":  # worker processes import this module again
    sys.exit(main())
