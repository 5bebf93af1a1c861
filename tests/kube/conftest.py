"""A real API server on loopback, one for all tests of a run. The first run builds it, which takes minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kube import crds

from windrow.services.kubernetes.controlplane import ControlPlane

PLURALS = [f"/apis/{crds.GROUP}/v1beta1/{plural}" for plural, _ in crds.NAMES.values()]
NADS = "/apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The client library leaves a connection open that is cancelled in its TLS handshake (httpcore2 2.16.2, `start_tls`
    closes it for an Exception, and a CancelledError is none). The collector closes it, and asyncio says so in whichever
    test runs then. Only these two texts pass; others of their kind still fail a test."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for what in ("_SelectorTransport.__del__", r"<socket\.socket fd="):
                mark = rf"ignore:Exception ignored in. .*{what}:pytest.PytestUnraisableExceptionWarning"
                item.add_marker(pytest.mark.filterwarnings(mark))


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """With the kinds that Windrow reads. Whoever stops it or breaks it makes one of his own (`new_plane`)."""
    with ControlPlane(tmp_path_factory.mktemp("plane"), _sayer(request.config)) as found:
        serve_kinds(found)
        yield found


@pytest.fixture
def new_plane(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """One that a test may stop, for two seconds more."""
    with ControlPlane(tmp_path / "plane", _sayer(request.config)) as found:
        serve_kinds(found)
        yield found


@pytest.fixture
def api(plane: ControlPlane) -> ControlPlane:
    """The shared one, without the objects of the test before."""
    for path in (*PLURALS, *_places_of_nads(plane), "/api/v1/nodes", "/api/v1/namespaces/default/events"):
        plane.request("DELETE", path)
    return plane


def _places_of_nads(plane: ControlPlane) -> set[str]:
    """A collection is deleted in one namespace at a time."""
    every = plane.request("GET", "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions")["items"]
    return {NADS.replace("/default/", f"/{one['metadata']['namespace']}/") for one in every}


def _sayer(config: pytest.Config) -> Callable[[str], None]:
    """To the terminal, whatever pytest captures: a build takes minutes."""
    terminal = config.pluginmanager.getplugin("terminalreporter")
    return terminal.write_line if terminal is not None else print


def serve_kinds(plane: ControlPlane) -> None:
    for document in crds.ALL:
        plane.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", document)
    for path in (*PLURALS, NADS):
        plane.wait_for(path)
