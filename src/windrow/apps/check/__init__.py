"""VLAN probes as an application: what is probed (`intent`), when and how (`prober`, which has no socket and no clock),
what came in (`tally`), and the two that carry it out: a thread of the agent, and `windrow check` alone. Nothing here
judges: that is `diagnose`."""
