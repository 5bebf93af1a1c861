"""What others made on this host, said in Harvester's objects. Nothing here reads a kernel or a file: links come as
`Observed`, the files of other programs as texts, and what no object can say is named, never dropped.

    Observed, NodeFacts, Cluster -> design() -> Adoption: objects, the links to be marked, what cannot be said
    NetConf, Observed                -> tunnels  -> which of flannel's devices can be Windrow's, there and back
    the texts of a program       -> claims   -> which lines speak of these links, and what they say beside that
    wanted, Observed             -> standing() -> the links that stored objects speak of already
"""

from windrow.adopt.assumed import as_adopted
from windrow.adopt.design import design
from windrow.adopt.programs import PROGRAMS, read_claims
from windrow.adopt.standing import standing, unmarked
from windrow.adopt.values import Adoption, Ask, Claim, Text

__all__ = [
    "PROGRAMS",
    "Adoption",
    "Ask",
    "Claim",
    "Text",
    "as_adopted",
    "design",
    "read_claims",
    "standing",
    "unmarked",
]
