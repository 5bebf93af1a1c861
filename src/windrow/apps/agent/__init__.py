"""The node agent: it keeps this host's network as its manifests want it. Nothing else depends on it; one thread.

`loop` joins everything; what it waits for are file descriptors and deadlines, never a clock that ticks.
"""
