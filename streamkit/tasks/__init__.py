"""The worker: tasks, their life, the commit loop, and the two threads that run them."""
