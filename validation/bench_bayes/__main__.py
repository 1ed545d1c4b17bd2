"""``python -m validation.bench_bayes``: sample with every program, write ``validation/bench_bayes/report.md``."""

import sys

from validation.bench_bayes.run import main

if __name__ == "__main__":
    sys.exit(main())
