"""The worker: tasks, their life, the commit loop, and the two threads that run them."""

from streamkit.common.compiled import check_whole

check_whole()
