"""``python -m validation.crosscheck``."""

import sys

from validation.crosscheck.runner import main

sys.exit(main())
