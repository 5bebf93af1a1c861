"""Network policies -> what they say of a packet, and the rules by which a node's packet filter says the same. Nothing
here touches a kernel or runs a program.

`verdict` reads the objects as Kubernetes' specification does, one packet at a time; `compiler` makes a rule set of
them, and knows nothing of `verdict`: tests hold the two together.
"""

from windrow.policy.compiler import Endpoint, compile_policies
from windrow.policy.verdict import Packet, Verdict, allows

__all__ = ["Endpoint", "Packet", "Verdict", "allows", "compile_policies"]
