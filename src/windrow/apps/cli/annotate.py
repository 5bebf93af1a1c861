"""`windrow annotate`: annotations of stored objects."""

from __future__ import annotations

from windrow.apps.cli.relabelling import relabelling

MEANING = "Some change a network (its MTU): the plan is checked and carried out as by `windrow apply`."

EXAMPLES = """\b
Examples:
  windrow annotate cn oob network.harvesterhci.io/uplink-mtu=9000
  windrow annotate nad v100 note-
  windrow annotate vc oob --list"""

annotate = relabelling("annotate", "annotations", MEANING, EXAMPLES)
