"""The ground of these tests: a real API server, and the kinds that Windrow reads."""

from __future__ import annotations

import time
import urllib.error

import pytest
from tests.kube.conftest import PLURALS

from windrow.services.kubernetes import parts
from windrow.services.kubernetes.controlplane import ControlPlane


def test_it_is_the_version_that_was_asked_for(plane: ControlPlane) -> None:
    assert plane.request("GET", "/version")["gitVersion"] == parts.version()


def test_an_object_is_stored_and_found(api: ControlPlane) -> None:
    network = {"apiVersion": "network.harvesterhci.io/v1beta1", "kind": "ClusterNetwork", "metadata": {"name": "oob"}}
    api.request("POST", PLURALS[0], network)
    assert [item["metadata"]["name"] for item in api.request("GET", PLURALS[0])["items"]] == ["oob"]


def test_a_stranger_is_refused(plane: ControlPlane) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        plane.seen_by("0" * 32).request("GET", PLURALS[0])


def test_it_comes_back_with_its_objects_and_forgets_what_was_compacted(new_plane: ControlPlane) -> None:
    network = {"apiVersion": "network.harvesterhci.io/v1beta1", "kind": "ClusterNetwork", "metadata": {"name": "oob"}}
    old = new_plane.request("GET", PLURALS[0])["metadata"]["resourceVersion"]
    new_plane.request("POST", PLURALS[0], network)
    new_plane.stop_server()
    with pytest.raises(OSError):
        new_plane.request("GET", PLURALS[0])
    new_plane.compact()
    began = time.monotonic()
    new_plane.start()
    new_plane.wait_for(PLURALS[0])
    assert time.monotonic() - began < 60
    assert [item["metadata"]["name"] for item in new_plane.request("GET", PLURALS[0])["items"]] == ["oob"]
    with pytest.raises(urllib.error.HTTPError, match="410"):
        new_plane.request("GET", f"{PLURALS[0]}?resourceVersion={old}&resourceVersionMatch=Exact")
