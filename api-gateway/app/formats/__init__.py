"""From the worker's events to what clients read: pure functions, no framework and no I/O."""
