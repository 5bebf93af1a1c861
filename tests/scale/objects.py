"""The objects of a large cluster: one cluster network on all nodes, the others on a tenth of them each."""

from __future__ import annotations

import http.client
import json
import os
import ssl
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from tests.kube import cluster
from tests.kube.cluster import PATHS, document
from tests.kube.test_crds import DEFINITIONS, settled

from windrow.kube.crds import crds
from windrow.model.names import LABEL_CLUSTERNETWORK, LABEL_READY, LABEL_TYPE, LABEL_VLAN_ID
from windrow.services.kubernetes.controlplane import ControlPlane

NODES = int(os.environ.get("WINDROW_NODES", "1000"))
NADS = int(os.environ.get("WINDROW_NADS", "5000"))
NETWORKS, GROUPS = 50, 10
EVERYWHERE = "c0"
REAL = "n1"
"""The node whose agent is a process of its own: it has the one cluster network of all."""
Document = dict[str, Any]


def names() -> list[str]:
    return [f"n{number}" for number in range(1, NODES + 1)]


def nad(name: str, vid: int, network: str = EVERYWHERE) -> Document:
    """As a webhook and a manager leave it."""
    found = cluster.nad(name, vid, network)
    found["metadata"]["labels"] = {
        LABEL_CLUSTERNETWORK: network,
        LABEL_TYPE: "L2VlanNetwork",
        LABEL_VLAN_ID: str(vid),
        LABEL_READY: "true",
    }
    return found


def nodes() -> Iterator[Document]:
    for number, name in enumerate(names()):
        labels = {"kubernetes.io/hostname": name, **({} if name == REAL else {"group": str(number % GROUPS)})}
        yield document("Node", name, labels=labels)


def networks() -> Iterator[Document]:
    """A NIC for each: `eth1` of the one that is everywhere, then one more for each round of the groups."""
    for number in range(NETWORKS):
        name = f"c{number}"
        nics, where = [f"eth{2 + number // GROUPS}"], {"group": str(number % GROUPS)}
        spec = {"clusterNetwork": name, "uplink": {"nics": nics}, "nodeSelector": where}
        if name == EVERYWHERE:
            spec = {"clusterNetwork": name, "uplink": {"nics": ["eth1"]}}
        yield document("ClusterNetwork", name)
        yield document("VlanConfig", name, spec)


def nads() -> Iterator[Document]:
    for number in range(NADS):
        yield nad(f"v{number}", 2 + number // NETWORKS, f"c{number % NETWORKS}")


class Client:
    """One account, on a connection that stays open: thousands of requests. To be closed."""

    def __init__(self, plane: ControlPlane, token: str = "") -> None:
        context = ssl.create_default_context(cafile=str(plane.certificate))
        self._line = http.client.HTTPSConnection("127.0.0.1", plane.port, context=context)
        self._headers = {"Authorization": f"Bearer {token or plane._token}", "Content-Type": "application/json"}

    def close(self) -> None:
        self._line.close()

    def create(self, one: Document, query: str = "") -> None:
        self._line.request("POST", f"{PATHS[one['kind']]}{query}", json.dumps(one), self._headers)
        answer = self._line.getresponse()
        data = answer.read()
        assert answer.status == 201, data


def fill(plane: ControlPlane) -> None:
    """The kinds, and all objects."""
    for one in crds():
        plane.request("POST", DEFINITIONS, one)
    for one in crds():
        settled(plane, one["metadata"]["name"])
    every = [*nodes(), *networks(), *nads()]

    def create(some: Iterable[Document]) -> None:
        with closing(Client(plane)) as client:
            for one in some:
                client.create(one)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, (every[number::8] for number in range(8))))
