"""A cluster's API, as the many-NIC plugin needs it: which networks a pod asks for, what these are, and whom to tell.

Only the server has it (`windrow --kubeconfig FILE cni serve`). Networks come from what it follows, and are read where
that does not know them, so that one that was applied a moment ago is there; a pod is read for each ADD. Every wait is
bounded: a kubelet gives up after minutes, and its next try must not find us still asking. Nothing here is needed to
undo anything: a DEL goes by its record.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from windrow.apps.cni.podinfo import CONFIG_SOURCE, PodInfo, RuntimeArguments, named_pod, texts
from windrow.apps.cni.telling import Asked, Failures, Say, Teller
from windrow.kube.api import NOT_FOUND
from windrow.kube.errors import KubeError
from windrow.kube.resources import RESOURCES
from windrow.model.names import MGMT
from windrow.model.objects import ClusterNetwork, NetworkAttachmentDefinition, Node
from windrow.model.overlay import tunnels
from windrow.model.problems import Severity
from windrow.model.spelling import is_label, is_subdomain
from windrow.model.values import Ref
from windrow.model.wire import Loaded, load_value
from windrow.port.errors import INVALID_CONFIG, INVALID_ENVIRONMENT, MISSING, TRY_AGAIN, CniError
from windrow.port.request import Request

if TYPE_CHECKING:
    from windrow.kube.access import Access
    from windrow.store.paths import Paths

KINDS = (Node.KIND, NetworkAttachmentDefinition.KIND, ClusterNetwork.KIND)
"""What is followed: the pod addresses of this node, the networks, and the overlay, which `mgmt` has."""
OPTIONAL = dict.fromkeys((NetworkAttachmentDefinition.KIND, ClusterNetwork.KIND), 10.0)
"""Before a cluster has the kinds, no pod can name one, and whatever installs them may be a pod; they are asked for
again after so many seconds."""
CALL_S, LISTED_S = 10.0, 5.0
"""For all that one ADD asks; of it, for the first list of the networks."""
POD_S, NETWORK_S, SILENT_S = 3.0, 2.0, 1.0
"""For one answer; the last one from an API that is known not to answer."""
AGAIN_S, LOOK_S = 0.2, 0.05
_TOLD = 3


class ClusterApi:
    """For as long as the server runs; all threads share it. `teller` and `failures` tell, `call` asks."""

    def __init__(self, mirror: Asked, teller: Teller, failures: Failures) -> None:
        self._mirror, self.teller, self.failures = mirror, teller, failures

    @property
    def listed(self) -> bool:
        """Whether the networks are known."""
        return self._mirror.cache.complete

    def words(self) -> str:
        """How things are with it, for whoever asks the server."""
        known = "its networks are known" if self.listed else "its networks are not known yet"
        trouble = self._mirror.cache.trouble
        return f"{known}, and may be out of date: {trouble}" if trouble and self.listed else trouble or known

    def call(self) -> ClusterCall:
        """For one ADD. Raises CniError where the networks are not listed in time."""
        end = time.monotonic() + LISTED_S
        while not self.listed and time.monotonic() < end:
            time.sleep(LOOK_S)
        return self._call(CALL_S)

    def at_hand(self) -> ClusterCall:
        """What is known without asking anybody. Raises CniError where the networks were never listed."""
        return self._call(0.0)

    def _call(self, within_s: float) -> ClusterCall:
        if not self.listed:
            why = self._mirror.cache.trouble or "they are being listed"
            raise CniError(TRY_AGAIN, "the networks of the cluster are not known yet", why)
        self._mirror.cache.name_node()  # it may have registered after this server began
        return ClusterCall(self._mirror, within_s)


@contextmanager
def opened(access: Access, paths: Paths, node: str, say: Say) -> Iterator[ClusterApi]:
    """Followed within the block. Raises KubeError without the client library."""
    from windrow.kube.mirror import Mirror

    def troubled(what: str, why: str) -> None:
        say(f"cluster, {what}: {why or 'well again'}")

    mirror = Mirror(access, node, troubled, KINDS, OPTIONAL)
    mirror.start()
    teller = Teller(mirror, paths, say)
    teller.start()
    try:
        yield ClusterApi(mirror, teller, Failures(mirror))
    finally:
        teller.close()
        mirror.close()


class ClusterCall:
    """What one call asks of the API: the source of its pod (`podinfo.PodSource`) and of its networks
    (`definitions.Known`)."""

    place = "the cluster"
    services = True

    def __init__(self, mirror: Asked, within_s: float) -> None:
        self._mirror, self._end = mirror, time.monotonic() + within_s
        self._silent = ""
        """Why it is not asked any more; what it has not said within a call it will not say a moment later."""

    # The pod --------------------------------------------------------------------------------------

    def find(self, request: Request) -> PodInfo | None:
        """Its annotations as they are now. None where they are the runtime's to say: of a static pod before the API
        has its mirror, and of any pod while the API does not answer. Raises CniError."""
        named = named_pod(request.args)
        if not named.name:
            return None
        if not (is_label(named.namespace) and is_subdomain(named.name)):
            message = f"CNI_ARGS: {str(named)!r} is not a pod's name"
            raise CniError(INVALID_ENVIRONMENT, message, "K8S_POD_NAMESPACE and K8S_POD_NAME are a pod's of Kubernetes")
        sent = RuntimeArguments().find(request)
        try:
            document = self._read(f"/api/v1/namespaces/{named.namespace}/pods/{named.name}", POD_S)
        except KubeError as error:
            if sent is not None:
                return None
            hint = "the runtime has not sent its annotations either, so nobody knows its networks"
            raise CniError(TRY_AGAIN, f"pod {named} cannot be read: {error.message}", error.hint or hint) from error
        if document is not None:
            meta = document.get("metadata") or {}
            annotations = texts(meta.get("annotations") or {}, f"pod {named}: metadata.annotations")
            uid = str(meta.get("uid") or "")
            return PodInfo(namespace=named.namespace, name=named.name, uid=uid, annotations=annotations, known=True)
        if sent is not None and sent.annotations.get(CONFIG_SOURCE, "api") != "api":
            return None
        raise CniError(MISSING, f"pod {named} is not there any more", "its kubelet hears of that in a moment")

    # Networks -------------------------------------------------------------------------------------

    def has(self, reference: str) -> bool:
        return self._mirror.cache.one(_ref(reference)) is not None

    def network(self, reference: str, wanted_by: str = "") -> Mapping[str, Any]:
        by = f", which {wanted_by} asks for," if wanted_by else ""
        about = f"{NetworkAttachmentDefinition.KIND} {reference}{by}"
        loaded = self._loaded(_ref(reference), about)
        if loaded is None:
            hint = f"kubectl get net-attach-def -n {_ref(reference).namespace} shows those of its namespace"
            raise CniError(MISSING, f"{about} is not there", hint)
        if wrong := _wrong(loaded):
            raise CniError(INVALID_CONFIG, f"{about} is wrong: {wrong}")
        return next(obj.config for obj in loaded.objects if isinstance(obj, NetworkAttachmentDefinition))

    def _loaded(self, ref: Ref, about: str) -> Loaded | None:
        """From what is followed; read where that does not know it, or may be out of date."""
        cache = self._mirror.cache
        known = cache.one(ref)
        if (known is not None and not cache.trouble) or not (is_label(ref.namespace) and is_subdomain(ref.name)):
            return known
        try:
            document = self._read(RESOURCES[ref.kind].one(ref), NETWORK_S)
        except KubeError as error:
            if known is not None:
                return known
            raise CniError(TRY_AGAIN, f"{about} cannot be read: {error.message}", error.hint) from error
        return load_value(document) if document is not None else None

    # This node ------------------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[str, ...]:
        return (self._mirror.cache.node,) if self._node is not None else ()

    @property
    def pod_cidrs(self) -> Mapping[str, tuple[str, ...]]:
        objects = self._node.objects if self._node is not None else ()
        return {obj.name: tuple(obj.pod_cidrs) for obj in objects if isinstance(obj, Node) and obj.pod_cidrs}

    @property
    def unread_nodes(self) -> Mapping[str, str]:
        wrong = _wrong(self._node) if self._node is not None else ""
        return {self._mirror.cache.node: wrong} if wrong else {}

    @property
    def tunnels(self) -> Mapping[str, str]:
        management = self._mirror.cache.one(Ref(ClusterNetwork.KIND, MGMT))
        objects = management.objects if management is not None else ()
        return tunnels(next((obj for obj in objects if isinstance(obj, ClusterNetwork)), None))

    @property
    def _node(self) -> Loaded | None:
        return self._mirror.cache.one(Ref(Node.KIND, self._mirror.cache.node))

    # Asking ---------------------------------------------------------------------------------------

    def _read(self, path: str, within_s: float) -> dict[str, Any] | None:
        """None: it is not there. Raises KubeError. A server that is just started anew is asked again."""
        if self._silent or time.monotonic() >= self._end:
            raise KubeError(self._silent or "there is no time left to ask the API server")
        end = min(self._end, time.monotonic() + (SILENT_S if self._mirror.cache.trouble else within_s))
        while True:
            try:
                return self._mirror.ask("GET", path, within_s=max(0.0, end - time.monotonic()))
            except KubeError as error:
                if error.code == NOT_FOUND:
                    return None
                if not error.passes or self._mirror.cache.trouble or time.monotonic() + AGAIN_S >= end:
                    self._silent = error.message
                    raise
            time.sleep(AGAIN_S)


def _ref(reference: str) -> Ref:
    namespace, _, name = reference.partition("/")
    return Ref(NetworkAttachmentDefinition.KIND, name, namespace)


def _wrong(loaded: Loaded) -> str:
    """Empty: nothing is."""
    messages = [problem.message for problem in loaded.problems if problem.severity is Severity.ERROR]
    return "; ".join(messages[:_TOLD])
