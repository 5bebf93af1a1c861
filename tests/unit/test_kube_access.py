"""A kubeconfig that cannot be used is told as that, whatever is wrong with it: an agent reads it again and goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner

from windrow.apps.cli.main import cli
from windrow.kube.access import Access
from windrow.kube.api import Api
from windrow.kube.errors import KubeError

FILE = """\
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "{server}"}}}}]
users: [{{name: u, user: {{{user}}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""
NOBODY = "http://127.0.0.1:9"


def access(tmp_path: Path, text: str) -> Access:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    return Access(kubeconfig=str(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is no kubeconfig"),
        ("[1]", "it is no kubeconfig"),
        ("hello", "it is no kubeconfig"),
        ("a: 1\n---\nb: 2\n", "it is no YAML of one document"),
        ("clusters:\n\t- a", "it is no YAML of one document"),
        ("a: *x", "it is no YAML of one document"),
        ("apiVersion: v1\nkind: Config\n", "'clusters' is missing"),
        (FILE.format(server="http://[::1", user="token: x"), "port"),
    ],
)
def test_a_file_that_is_none(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(KubeError, match=said):
        access(tmp_path, text).client()


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("tokenFile: /nonexistent", "Token file /nonexistent not found"),
        ("tokenFile: /", "Is a directory"),
        ("exec: {apiVersion: client.authentication.k8s.io/v1, command: x}", "not implemented"),
        ("exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: /nonexistent}", "No such file"),
        ("exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: 'false'}", "returned 1"),
        ("exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: 'true'}", "Expecting value"),
    ],
)
def test_credentials_that_are_not_there_when_they_are_needed(user: str, said: str, tmp_path: Path) -> None:
    """While a token is rotated, for one. It is an answer that failed, not the end of who asked."""

    async def asked() -> None:
        api = Api(access(tmp_path, FILE.format(server=NOBODY, user=user)))
        with pytest.raises(KubeError, match=said):
            await api.ask("GET", "/api")
        with pytest.raises(KubeError, match=said):
            async for _ in api.watch("/api", "1"):
                pass
        await api.close()

    asyncio.run(asked())


def test_a_watch_finds_the_credentials_that_were_put_right(tmp_path: Path) -> None:
    """It may be all that is asked for a long time."""

    async def watched(api: Api) -> str:
        with pytest.raises(KubeError) as error:
            async for _ in api.watch("/api", "1"):
                pass
        return error.value.message

    async def asked() -> None:
        api = Api(access(tmp_path, FILE.format(server=NOBODY, user="tokenFile: /nonexistent")))
        assert "not found" in await watched(api)
        access(tmp_path, FILE.format(server=NOBODY, user="token: good"))
        assert "not found" in await watched(api)
        assert "does not answer" in await watched(api)
        await api.close()

    asyncio.run(asked())


def test_what_to_do_outside_of_a_pod() -> None:
    found = CliRunner().invoke(cli, ["--kubeconfig", "in-cluster", "status"])
    assert found.exit_code == 1 and "name a kubeconfig file" in found.output, found.output


@pytest.mark.parametrize("place", ["A b/c", "a/B", "a/-b", "a/é", f"{'a' * 64}/b"])
def test_a_lease_has_a_name_that_kubernetes_takes(place: str, tmp_path: Path) -> None:
    found = CliRunner().invoke(cli, ["--kubeconfig", str(tmp_path / "none"), "manager", "--lease", place])
    assert found.exit_code == 2 and "is not NAMESPACE/NAME" in found.output
