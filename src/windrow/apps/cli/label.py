"""`windrow label`: labels of stored objects."""

from __future__ import annotations

from windrow.apps.cli.relabelling import relabelling

MEANING = (
    "Nodes are chosen by their labels (`nodeSelector` of a VlanConfig), so this may change a network: the plan is "
    "checked and carried out as by `windrow apply`."
)

EXAMPLES = """\b
Examples:
  windrow label node node-1 rack=b
  windrow label nad v100 v200 team=a --overwrite
  windrow label nad --all -n team-a old-
  windrow label vc oob --list"""

label = relabelling("label", "labels", MEANING, EXAMPLES)
