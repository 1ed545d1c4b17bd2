"""``python -m validation``: compare with published figures, write ``validation/report.md``."""

import sys

from validation.runner import main

sys.exit(main())
