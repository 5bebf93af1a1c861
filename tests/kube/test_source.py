"""A cluster as a source of objects: listed, watched, resumed, listed anew; and what is so without the API."""

from __future__ import annotations

import json
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kube.cluster import ACCOUNTS, OOB, PATHS, Api, account, document, followed, is_served, nad, uplink, wait
from tests.kube.line import Line

from windrow.kube.access import Access
from windrow.kube.errors import KubeError
from windrow.services.kubernetes.controlplane import ControlPlane

RIGHTS = {
    "": ["nodes"],
    "network.harvesterhci.io": ["*"],
    "k8s.cni.cncf.io": ["network-attachment-definitions", "multi-networkpolicies"],
    "networking.k8s.io": ["networkpolicies"],
}


def test_objects_come_change_and_go(api: ControlPlane) -> None:
    cluster = Api(api)
    cluster.make(document("ClusterNetwork", "oob"))
    with followed(api) as seen:
        seen.there("ClusterNetwork", "oob")
        cluster.make(uplink(), nad("v100", 100))
        seen.there("VlanConfig", "oob")
        seen.there("NetworkAttachmentDefinition", "v100")
        cluster.merge("VlanConfig", "oob", {"spec": {"uplink": {"nics": ["eth3"]}}})
        wait(lambda: _nics(seen.mirror.found().loaded.objects) == ["eth3"], seen.said)
        cluster.delete("NetworkAttachmentDefinition", "v100")
        seen.there("NetworkAttachmentDefinition")
        assert seen.mirror.found().lost is None and seen.troubles == []


def _nics(objects: Any) -> list[str]:
    return [str(nic) for o in objects if o.KIND == "VlanConfig" for nic in o.uplink.nics]


def test_a_status_of_somebody_is_no_news(api: ControlPlane) -> None:
    cluster = Api(api)
    cluster.make(*OOB)
    with followed(api) as seen:
        seen.there("VlanConfig", "oob")
        seen.mirror.take()
        before = seen.mirror.found()
        ready = {"status": {"conditions": [{"type": "ready", "status": "True"}]}}
        cluster.merge("ClusterNetwork", "oob", ready)
        cluster.make(document("ClusterNetwork", "later"))  # what comes after it has come: so it has come, too
        seen.there("ClusterNetwork", "later", "oob")
        kept = {o.ref: o for o in before.loaded.objects}
        assert all(o is kept[o.ref] for o in seen.mirror.found().loaded.objects if o.name != "later")


def test_a_list_in_many_pieces_is_whole(api: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windrow.kube.api.PIECE", 3)
    cluster = Api(api)
    cluster.make(*(document("ClusterNetwork", f"cn{n}") for n in range(10)))
    with followed(api) as seen:
        seen.there("ClusterNetwork", *(f"cn{n}" for n in range(10)))


@pytest.fixture
def line(api: ControlPlane) -> Iterator[Line]:
    with Line(api.port) as found:
        yield found


def test_a_broken_watch_is_resumed_where_it_was(api: ControlPlane, line: Line) -> None:
    """The objects stay as they were meanwhile, and what was missed is caught up with."""
    cluster = Api(api)
    cluster.make(*OOB)
    with followed(api, by(api, line)) as seen:
        seen.there("VlanConfig", "oob")
        before = seen.mirror.found()
        line.cut()
        wait(lambda: seen.mirror.cache.trouble, seen.said)
        assert seen.mirror.found() is before, "nothing is torn down by absence"
        cluster.make(document("ClusterNetwork", "lab"))
        cluster.delete("NetworkAttachmentDefinition", "v100")
        line.mend()
        seen.there("ClusterNetwork", "lab", "oob")
        seen.there("NetworkAttachmentDefinition")
        wait(lambda: not seen.mirror.cache.trouble, seen.said)
        kept = {o.ref: o for o in before.loaded.objects}
        assert all(o is kept[o.ref] for o in seen.mirror.found().loaded.objects if o.ref in kept), "only news is new"


def test_what_was_deleted_while_the_server_forgot_is_gone(new_plane: ControlPlane) -> None:
    """410: the version that we know was compacted away, so all is listed anew, and what is not in it was deleted."""
    cluster = Api(new_plane)
    cluster.make(*OOB, document("ClusterNetwork", "lab"))
    with Line(new_plane.port) as line, followed(new_plane, by(new_plane, line)) as seen:
        seen.there("ClusterNetwork", "lab", "oob")
        old = new_plane.request("GET", PATHS["ClusterNetwork"])["metadata"]["resourceVersion"]
        line.cut()
        wait(lambda: seen.mirror.cache.trouble, seen.said)
        cluster.delete("ClusterNetwork", "lab")
        cluster.make(document("ClusterNetwork", "new"))
        new_plane.stop_server()  # it remembers more than etcd does
        new_plane.compact()
        new_plane.start()
        new_plane.wait_for(PATHS["ClusterNetwork"])
        gone = new_plane.request("GET", f"{PATHS['ClusterNetwork']}?watch=1&timeoutSeconds=1&resourceVersion={old}")
        assert gone["object"]["code"] == 410, gone
        line.mend()
        seen.there("ClusterNetwork", "new", "oob")
        wait(lambda: not seen.mirror.cache.trouble, seen.said)


def by(plane: ControlPlane, line: Line) -> Access:
    return Access(kubeconfig=str(plane.kubeconfig(name="by-line", port=line.port)))


def test_nothing_is_known_until_it_answers(new_plane: ControlPlane) -> None:
    Api(new_plane).make(*OOB)
    new_plane.stop_server()
    with followed(new_plane) as seen:
        wait(lambda: seen.mirror.cache.trouble, seen.said)
        lost = seen.mirror.found().lost
        assert lost is not None and "does not answer" in lost.message
        new_plane.start()
        seen.there("VlanConfig", "oob")
        assert seen.mirror.found().lost is None


def test_an_account_that_may_not_read_one_kind_knows_nothing(api: ControlPlane) -> None:
    """Without its NADs a cluster network would lose all its VLANs."""
    Api(api).make(*OOB)
    rights = RIGHTS | {"k8s.cni.cncf.io": ["multi-networkpolicies"]}
    with followed(api, Access(kubeconfig=str(account(api, "half", rights)))) as seen:
        wait(lambda: seen.mirror.cache.trouble, seen.said)
        lost = seen.mirror.found().lost
        assert lost is not None and "network-attachment-definitions" in lost.message and "[403]" in lost.message


def test_a_token_that_is_no_longer_good_is_read_anew(api: ControlPlane, line: Line) -> None:
    """The objects stay meanwhile, and why is said."""
    cluster = Api(api)
    cluster.make(*OOB)
    config = account(api, "agent", RIGHTS, line.port)
    with followed(api, Access(kubeconfig=str(config))) as seen:
        seen.there("VlanConfig", "oob")
        _forget(api, config)  # a token is one of an account that is there
        line.cut()  # a watch that stands is not asked for its token again
        line.mend()
        wait(lambda: "[401]" in seen.mirror.cache.trouble, seen.said)
        assert seen.names("VlanConfig") == ["oob"]
        account(api, "agent", RIGHTS, line.port)
        cluster.make(document("ClusterNetwork", "lab"))
        seen.there("ClusterNetwork", "lab", "oob")
        wait(lambda: not seen.mirror.cache.trouble, seen.said)


def test_a_kind_that_is_not_served_is_no_empty_kind(new_plane: ControlPlane) -> None:
    Api(new_plane).make(*OOB)
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    new_plane.request("DELETE", f"{crds}/network-attachment-definitions.k8s.cni.cncf.io")
    wait(lambda: not is_served(new_plane, PATHS["NetworkAttachmentDefinition"]))
    with followed(new_plane) as seen:
        wait(lambda: "[404]" in seen.mirror.cache.trouble, seen.said)
        assert seen.mirror.found().lost is not None


def test_no_kubeconfig_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(KubeError, match="cannot use the kubeconfig"):
        Access(kubeconfig=str(tmp_path / "none")).client()


def test_a_burst_is_heard_at_once(api: ControlPlane) -> None:
    cluster = Api(api)
    with followed(api) as seen:
        seen.there("ClusterNetwork")
        began = time.monotonic()
        cluster.make(*(document("ClusterNetwork", f"cn{n}") for n in range(50)))
        made = time.monotonic() - began
        assert seen.there("ClusterNetwork", *(f"cn{n}" for n in range(50))) < made + 5.0


def _forget(plane: ControlPlane, config: Path) -> None:
    """Until the server has noticed: it believes a token that it has seen for ten seconds more."""
    (user,) = json.loads(config.read_text())["users"]
    plane.request("DELETE", f"{ACCOUNTS}/{user['name']}")
    stranger = plane.seen_by(user["user"]["token"])
    wait(lambda: _unknown(stranger))


def _unknown(stranger: ControlPlane) -> bool:
    try:
        stranger.request("GET", "/api/v1/nodes")
    except urllib.error.HTTPError as error:
        return error.code == 401
    return False
