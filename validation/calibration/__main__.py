"""``python -m validation.calibration``: simulate, count, write ``validation/calibration/report.md``."""

import sys

from validation.calibration.run import main

if __name__ == "__main__":  # worker processes import this module again
    sys.exit(main())
