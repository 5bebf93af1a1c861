"""ValidatingWebhookConfiguration and MutatingWebhookConfiguration: what the API server is told to ask, and how.

Harvester's kinds, operations and failure policies. Whoever writes to other objects, or to a subresource, is not asked
about, so that a cluster whose webhook is gone still starts, and its nodes still report.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from windrow.model.lazy import dataclass

NAME = "windrow-network-webhook"
VALIDATE, MUTATE = "/v1/validate", "/v1/mutate"
TIMEOUT_S = 5
"""Harvester's is 10, and one object may wait for two of them. A verdict takes milliseconds; a read from the API server
on a miss, tens of them."""
_OURS = {"apiGroups": ["network.harvesterhci.io"], "apiVersions": ["v1beta1"], "scope": "Cluster"}
_NETWORKS = {"apiGroups": ["k8s.cni.cncf.io"], "apiVersions": ["v1"], "scope": "Namespaced"}
_OVERLAYS = {"apiGroups": ["kubeovn.io"], "apiVersions": ["v1"], "scope": "Cluster"}
"""A server takes rules for kinds that it does not have (yet)."""
_NADS = ["network-attachment-definitions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the API server finds the webhook: a Service of the cluster, or a URL without its path."""

    url: str = ""
    namespace: str = ""
    service: str = ""
    port: int = 443

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names and addresses that its certificate is for."""
        if self.url:
            host = self.url.partition("://")[2].partition("/")[0]
            return (host.rpartition(":")[0].strip("[]") if ":" in host else host,)
        return (f"{self.service}.{self.namespace}.svc",)

    def client_config(self, path: str, bundle: bytes) -> dict[str, Any]:
        trust = {"caBundle": base64.b64encode(bundle).decode()}
        if self.url:
            return {"url": f"{self.url.rstrip('/')}{path}", **trust}
        there = {"namespace": self.namespace, "name": self.service, "port": self.port, "path": path}
        return {"service": there, **trust}


def documents(address: Address, bundle: bytes) -> tuple[dict[str, Any], ...]:
    """`bundle`: the certificates (PEM) that the API server is to trust."""
    validated = [
        _rule(_OURS, ["clusternetworks", "vlanconfigs", "hostnetworkconfigs"], "CREATE", "UPDATE", "DELETE"),
        _rule(_NETWORKS, _NADS, "CREATE", "UPDATE", "DELETE"),
    ]
    mutated = [_rule(_OURS, ["vlanconfigs"], "CREATE", "UPDATE"), _rule(_NETWORKS, _NADS, "CREATE", "UPDATE")]
    # What is not judged is not stored. What is not mended is completed by the manager.
    asks = _webhook("validate.windrow.io", validated, address.client_config(VALIDATE, bundle), "Fail")
    # Not ours, and kube-ovn's controllers write them to bring up the network that a webhook's pod may need.
    overlays = [_rule(_OVERLAYS, ["subnets"], "CREATE", "UPDATE"), _rule(_OVERLAYS, ["vpcs"], "DELETE")]
    asks_too = _webhook("validate-overlays.windrow.io", overlays, address.client_config(VALIDATE, bundle), "Ignore")
    mends = _webhook("mutate.windrow.io", mutated, address.client_config(MUTATE, bundle), "Ignore")
    mends["reinvocationPolicy"] = "IfNeeded"
    return (
        _document("ValidatingWebhookConfiguration", asks, asks_too),
        _document("MutatingWebhookConfiguration", mends),
    )


def _rule(where: Mapping[str, Any], resources: list[str], *operations: str) -> dict[str, Any]:
    return {**where, "resources": resources, "operations": list(operations)}


def _webhook(name: str, rules: list[dict[str, Any]], client: Mapping[str, Any], policy: str) -> dict[str, Any]:
    return {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "matchPolicy": "Equivalent",
        "failurePolicy": policy,
        "timeoutSeconds": TIMEOUT_S,
        "clientConfig": dict(client),
        "rules": rules,
    }


def _document(kind: str, *webhooks: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "windrow"}},
        "webhooks": [dict(one) for one in webhooks],
    }
