"""Cluster + NodeFacts -> the wanted HostState of one node, and what is wrong. Pure: no I/O, no clock.

`compile_node` runs a flat list of passes, each in the file named after what it decides.
"""

from windrow.compile.facts import node_facts
from windrow.compile.node import Compiled, compile_node

__all__ = ["Compiled", "compile_node", "node_facts"]
