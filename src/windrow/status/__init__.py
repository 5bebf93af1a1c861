"""What became of the objects, as values. Nothing here writes it anywhere: no manifest is changed, no API is called.

The documents are Harvester's (VlanStatus, LinkMonitor, conditions, labels and annotations), derived from the
cluster and from what was seen on its nodes.
"""

from windrow.status.derive import derive
from windrow.status.overview import overview
from windrow.status.report import NodeReport

__all__ = ["NodeReport", "derive", "overview"]
