"""``python -m validation.shelf``."""

import sys

from validation.shelf.table import main

sys.exit(main())
