"""Properties are tried with the same examples each time; others are drawn by choice.

HYPOTHESIS_PROFILE=many python -m pytest tests/rebalance
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("many", max_examples=2_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
