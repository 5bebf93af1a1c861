"""Admission: may these objects change so? Nothing is changed here, and nothing looked up: problems come out.

`model.wire` says what is wrong with one document by itself; the rules say what is wrong with it beside the
others. They are Harvester's, with its limits, and some that it lacks (a NIC used twice, an address used twice, a
reserved name). One file per kind, each rule a function `(changed object, Review) -> problems`. `start` judges no
change: whether a machine can start on this node.
"""

from windrow.rules.admission import check
from windrow.rules.review import Change, changes_to

__all__ = ["Change", "changes_to", "check"]
