"""The node agent: it keeps this host's network as its manifests want it. Nothing else depends on it.

`loop` hears (ears) and works (worker), in one thread that waits for file descriptors and deadlines, never for a clock
that ticks; `face` answers in a thread of its own, from values alone.
"""
