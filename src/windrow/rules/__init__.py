"""Admission: may these objects change so? Nothing is changed here, and nothing looked up: problems come out.

`model.wire` says what is wrong with one document by itself; the rules say what is wrong with it beside the
others. They are Harvester's, with its limits, and some that it lacks (a NIC used twice, an address used twice, a
reserved name). One file per kind, each rule a function `(changed object, Review) -> problems`. `start` judges no
change: whether a machine can start on this node. `admit` puts it together for whoever carries something out.
"""

from windrow.rules.admission import check
from windrow.rules.admit import Admitted, admit
from windrow.rules.planning import Fit, Planned, Sight, as_it_is, plan_node
from windrow.rules.review import Change, changes_to
from windrow.rules.wish import AS_STORED, OUTDATED, Wish

__all__ = [
    "AS_STORED",
    "OUTDATED",
    "Admitted",
    "Change",
    "Fit",
    "Planned",
    "Sight",
    "Wish",
    "admit",
    "as_it_is",
    "changes_to",
    "check",
    "plan_node",
]
