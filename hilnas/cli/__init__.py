"""The command line."""

import time

STARTED_S = time.monotonic()
"""When the command began: this is loaded before everything else of it."""
