"""Evidence of all nodes x what is wanted -> findings: one per cause, with how sure it is, the evidence and the fix.

Pure: nothing here listens or asks, so each case of a broken network is a value in a test.

diagnosis   the order of the questions        situation   intent and evidence side by side
probes      what came, added up by pairs      matrix      which ways were tried, and which passed
blame       the smallest set of places that explains what failed
turned      frames that change their VLAN     vlans       VLANs that do not pass
paths       what passes badly: MTU, broadcasts, loss, loops
bonds       link aggregation                  nics        carrier, speed, cables in the wrong place
services    DHCP, gateways, routers, duplicate addresses
"""

from windrow.diagnose.diagnosis import diagnose

__all__ = ["diagnose"]
