"""`windrow crds` and `windrow webhook`, as far as no API server is needed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from windrow.apps.cli.main import cli
from windrow.kube.crds import crds
from windrow.model.wire.text import plain, trees


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def test_the_definitions_as_yaml_and_as_json() -> None:
    found, complaints = trees(run("crds").output)
    assert complaints == [] and tuple(plain(tree.root, []).value for tree in found) == crds()
    assert tuple(json.loads(run("crds", "-o", "json").output)["items"]) == crds()


def test_one_kind_by_any_of_its_names() -> None:
    assert run("crds", "hnc").output == run("crds", "HostNetworkConfig").output != run("crds").output
    wrong = run("crds", "vm")
    assert wrong.exit_code == 2 and "there is no definition of vm here" in wrong.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "either --service or --url"),
        (("--service", "a/b", "--url", "https://x"), "either --service or --url"),
        (("--service", "hook"), "is not NAMESPACE/NAME"),
        (("--url", "https://x", "--secret", "a/b/c"), "is not NAMESPACE/NAME"),
        (("--url", "https://x", "--listen", "127.0.0.1:https"), "is not ADDRESS:PORT"),
    ],
)
def test_how_a_webhook_is_not_started(words: tuple[str, ...], said: str) -> None:
    found = run("webhook", *words)
    assert (found.exit_code, said in found.output) == (2, True), found.output


def test_a_webhook_without_a_cluster() -> None:
    found = run("--kubeconfig", "/nonexistent", "webhook", "--url", "https://127.0.0.1:1")
    assert found.exit_code == 1 and "/nonexistent" in found.output


def test_how_a_manager_is_not_started() -> None:
    wrong = run("manager", "--lease", "manager")
    assert wrong.exit_code == 2 and "is not NAMESPACE/NAME" in wrong.output
    nowhere = run("--kubeconfig", "/nonexistent", "manager")
    assert nowhere.exit_code == 1 and "/nonexistent" in nowhere.output
