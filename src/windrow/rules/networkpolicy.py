"""MultiNetworkPolicy: the networks that it names."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model.objects import NetworkAttachmentDefinition
from windrow.model.policies import ANNOTATION_POLICY_FOR, MultiNetworkPolicy
from windrow.model.problems import Problem
from windrow.model.values import Ref
from windrow.rules.review import Review, warning

_PATH = f"metadata.annotations[{ANNOTATION_POLICY_FOR}]"


def its_networks_are_there(policy: MultiNetworkPolicy, review: Review) -> Iterator[Problem]:
    """A warning: a container runtime may have a network of that name in its own directory."""
    for network in policy.networks:
        namespace, _, name = network.partition("/")
        ref = Ref(NetworkAttachmentDefinition.KIND, name, namespace)
        if ref not in review.after.objects and ref not in review.unread:
            there = ", ".join(f"{n.meta.namespace}/{n.name}" for n in review.after.all(NetworkAttachmentDefinition))
            message = f"there is no NetworkAttachmentDefinition {network}"
            yield warning(policy, "nad-missing", _PATH, message, f"there are: {there or 'none'}")


ON_PUT = (its_networks_are_there,)
