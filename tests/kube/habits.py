"""What people of kubectl type without thinking, sixty times: what comes of it on an API server, and on a host.

The two have the same objects. Where they differ, `differs` names why that is wanted; docs/user/kubectl.md lists each.
"""

from __future__ import annotations

from dataclasses import dataclass

KEPT = "A host's objects have what Windrow derives"
COLUMNS = "Columns are Harvester's, without AGE"
NAMED = "The word after `error:` is plain English"
EXPLAINED = "`describe` and `explain` say what Windrow knows"
ALL_NAMESPACES = "Without `-n` all namespaces"
PLANNED = "A change tells its plan"
NOT_HERE = "Verbs that a host has no use for"
STRICT = "A field that there is not is an error"
DIFF = "`diff` is against the kernel"


@dataclass(frozen=True)
class Habit:
    words: str
    """After `kubectl`, and after `windrow`. NEW, MORE, SAME, WRONG, EMPTY, BUILD are places of manifests."""
    differs: str = ""
    ends: int | None = None
    """With another exit code than kubectl's, which is wanted too: windrow's."""
    stdin: str = ""


LOOKS = (
    Habit("get vc", COLUMNS),
    Habit("get vlanconfigs -o name"),
    Habit("get vlanconfig.network.harvesterhci.io -o name"),
    Habit("get vc oob -o name"),
    Habit("get vc/oob -o name"),
    Habit("get vc,cn -o name"),
    Habit("get vc/oob cn/oob -o name"),
    Habit("get vc -o wide", COLUMNS),
    Habit("get vc --no-headers", COLUMNS),
    Habit("get vc oob -o yaml", KEPT),
    Habit("get vc oob -o json", KEPT),
    Habit("get vc -o jsonpath={.items[*].metadata.name}"),
    Habit("get vc oob -o jsonpath={.spec.clusterNetwork}"),
    Habit("get vc oob -o jsonpath={.spec.uplink.nics[1]}"),
    Habit("get vc oob -o jsonpath={.spec.uplink.nics[*]}"),
    Habit("get network-attachment-definitions -n default -o custom-columns=NAME:.metadata.name,CONFIG:.kind"),
    Habit("get network-attachment-definitions -n default --sort-by=.metadata.name -o name"),
    Habit("get network-attachment-definitions -A -o name"),
    Habit("get network-attachment-definitions -o name", ALL_NAMESPACES),
    Habit("get network-attachment-definitions -n default -o name"),
    Habit("get network-attachment-definitions -n nosuch -o name"),
    Habit("get network-attachment-definitions -n nosuch", NAMED),
    Habit("get network-attachment-definitions -n default -l team=a -o name"),
    Habit("get network-attachment-definitions -n default -l team!=a -o name"),
    Habit("get network-attachment-definitions -n default -l team -o name"),
    Habit("get network-attachment-definitions -n default -l !team -o name"),
    Habit("get network-attachment-definitions -n default --show-labels", COLUMNS),
    Habit("get nodes -o name"),
    Habit("get no n1 -o jsonpath={.metadata.labels.rack}"),
    Habit("get vc nosuch", NAMED),
    Habit("get vc nosuch --ignore-not-found"),
    Habit("get nosuch", NAMED, ends=2),
    Habit("get", NAMED, ends=2),
    Habit("get vc -o nosuch", NAMED, ends=2),
    Habit("describe vc oob", EXPLAINED),
    Habit("describe vc nosuch", NAMED),
    Habit("explain vc.spec.clusterNetwork", EXPLAINED, ends=0),
    Habit("explain vc.spec.nosuch", NAMED),
    Habit("wait vc/oob --for=jsonpath={.spec.clusterNetwork}=oob --timeout=1s"),
    Habit("wait vc/oob --for=condition=nosuch --timeout=1s", NAMED),
    Habit("wait vc/nosuch --for=delete --timeout=1s", NAMED),
    Habit("get events -n nosuch", NOT_HERE, ends=2),
    Habit("api-resources --no-headers", NOT_HERE, ends=2),
    Habit("logs x", NOT_HERE, ends=2),
    Habit("diff -f SAME"),
    Habit("diff -f MORE", DIFF, ends=0),
)
CHANGES = (
    Habit("apply -f nosuch.yaml", NAMED),
    Habit("apply -f EMPTY", NAMED),
    Habit("apply -f WRONG", STRICT, 1),
    Habit("apply -f NEW --dry-run=client", PLANNED),
    Habit("apply -f NEW --dry-run=server", PLANNED),
    Habit("apply -f NEW", PLANNED),
    Habit("apply -f NEW", PLANNED),
    Habit("apply -f -", PLANNED, stdin="NEW"),
    Habit("apply -k BUILD", PLANNED),
    Habit("create -f NEW", NOT_HERE, ends=2),
    Habit("label network-attachment-definitions v100 -n default a=b", PLANNED),
    Habit("label network-attachment-definitions v100 -n default a=c", NAMED),
    Habit("label network-attachment-definitions v100 -n default a=c --overwrite", PLANNED),
    Habit("label network-attachment-definitions v100 -n default a-", PLANNED),
    Habit("label network-attachment-definitions v100 -n default -bad-/x=y", NAMED, ends=2),
    Habit("label network-attachment-definitions nosuch -n default a=b", NAMED),
    Habit("annotate network-attachment-definitions v100 -n default note=hello", PLANNED),
    Habit('patch vc oob --type merge -p {"spec":{"description":"new"}}', PLANNED),
    Habit('patch vc oob -p {"spec":{"description":"newer"}}', PLANNED, ends=0),
    Habit("delete network-attachment-definitions nosuch -n default", NAMED),
    Habit("delete network-attachment-definitions nosuch -n default --ignore-not-found"),
    Habit("delete network-attachment-definitions -n default -l team=a", PLANNED),
    Habit("delete -f NEW", PLANNED),
    Habit("delete network-attachment-definitions --all -n default", PLANNED),
    Habit("rollout history", NOT_HERE, ends=2),
)
HABITS = (*LOOKS, *CHANGES)
