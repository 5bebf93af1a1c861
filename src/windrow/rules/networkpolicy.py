"""MultiNetworkPolicy: the networks that it names."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.compile.policies import missing_networks
from windrow.model.objects import NetworkAttachmentDefinition
from windrow.model.policies import MultiNetworkPolicy
from windrow.model.problems import Problem
from windrow.model.values import Ref
from windrow.rules.review import Review


def its_networks_are_there(policy: MultiNetworkPolicy, review: Review) -> Iterator[Problem]:
    """A warning: a container runtime may have a network of that name in its own directory."""
    for network, problem in missing_networks(policy, review.after):
        namespace, _, name = network.partition("/")
        if Ref(NetworkAttachmentDefinition.KIND, name, namespace) not in review.unread:
            yield problem


ON_PUT = (its_networks_are_there,)
