"""`python -m tests.differential`: cases on standard input, answers on standard output."""

from __future__ import annotations

import logging
import sys

from tests.differential.answers import main

logging.disable()
main(lambda: list(sys.stdin), sys.stdout.write)
