"""``python -m metaembed_rag.cli``, which ``accelerate launch -m`` needs."""

import sys

from metaembed_rag.cli import main

sys.exit(main())
