"""``python -m benchmarks.tables [--check]``."""

import sys

from benchmarks.tables import main

sys.exit(main())
