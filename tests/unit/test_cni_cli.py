"""`windrow cni`: what it puts where, and what it says; without a kernel."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from windrow import __version__
from windrow.apps.cli.main import cli
from windrow.apps.cli.session import Session
from windrow.apps.cni import install as module
from windrow.apps.cni.install import Origin, found_plugin, launcher_text
from windrow.model.ports import PortRecord
from windrow.model.values import IfName, Mac, PortVlans, VidSet
from windrow.services import compiler
from windrow.services.compiler import c_string
from windrow.store.paths import Paths
from windrow.store.ports import PortRecords


class Host:
    def __init__(self, root: Path) -> None:
        self.root, self.bin, self.conf = root, root / "opt/cni/bin", root / "etc/cni/net.d"

    def run(self, *words: str, code: int = 0) -> Result:
        done = CliRunner().invoke(cli, ["cni", *words], obj=Session(root=self.root, node="n1"), prog_name="windrow")
        assert done.exit_code == code, done.output
        return done

    def install(self, *words: str, code: int = 0) -> Result:
        return self.run("install", "--bin-dir", str(self.bin), *words, code=code)

    def kinds(self) -> dict[str, str]:
        return {p.name: found.kind if (found := found_plugin(p)) else "other" for p in sorted(self.bin.iterdir())}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "COMPILERS", ("no-such-compiler",))


def record(number: int = 1, **fields: object) -> PortRecord:
    given: dict[str, object] = {
        "container_id": f"{number:012x}ffff",
        "ifname": "net1",
        "netns": "/run/netns/nobody",
        "network": "v100",
        "bridge": IfName("oob-br"),
        "host": IfName(f"veth0000000{number}"),
        "mac": Mac("02:00:00:00:00:01"),
        "vlans": PortVlans(pvid=100, untagged=VidSet.of([100])),
        "pod": "default/web",
        "config": '{"cniVersion":"1.0.0","name":"v100","type":"bridge","bridge":"oob-br","vlan":100}',
        "path": "/opt/cni/bin",
    }
    return PortRecord(**(given | fields))  # type: ignore[arg-type]


# Installing ---------------------------------------------------------------------------------------


def test_install_and_uninstall(host: Host) -> None:
    done = host.install("--conf-dir", str(host.conf))
    assert host.kinds() == {"windrow": "compiled", "windrow-bridge": "compiled"}
    assert done.output.splitlines() == [
        f"{host.bin}/windrow-bridge: installed (compiled)",
        f"{host.bin}/windrow: installed (compiled)",
        f"{host.conf}/00-windrow.conflist: written",
    ]
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o755 for p in host.bin.iterdir())
    written = json.loads((host.conf / "00-windrow.conflist").read_text())
    assert written["plugins"][0]["type"] == "windrow"
    assert set(written["plugins"][0]["capabilities"]) >= {"portMappings", "bandwidth", "ips", "mac"}
    assert host.run("uninstall").output.splitlines() == [
        f"{host.bin}/windrow-bridge: removed",
        f"{host.bin}/windrow: removed",
        f"{host.conf}/00-windrow.conflist: removed",
    ]
    assert list(host.bin.iterdir()) == list(host.conf.iterdir()) == []
    assert host.run("uninstall").output == "nothing of Windrow is installed there\n"


def test_installing_again_replaces_what_may_be_running(host: Host) -> None:
    host.install()
    with (host.bin / "windrow").open("rb") as running:
        before = os.fstat(running.fileno()).st_ino
        host.install("--no-compile")
        assert (host.bin / "windrow").stat().st_ino != before
        assert b"windrow-cni-plugin" in running.read()  # whoever has it open has the old one, whole
    assert host.kinds() == {"windrow": "launcher", "windrow-bridge": "launcher"}


def test_without_a_compiler_it_says_so(host: Host, no_compiler: None) -> None:
    done = host.install()
    assert host.kinds() == {"windrow": "launcher", "windrow-bridge": "launcher"}
    assert "C compiler: there is none" in done.output


def test_a_compiler_that_fails_is_no_obstacle(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho 'cannot find stdio.h' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(compiler, "COMPILERS", (str(broken),))
    assert "cannot find stdio.h" in host.install().output
    assert host.kinds() == {"windrow": "launcher", "windrow-bridge": "launcher"}


def test_nothing_of_others_is_overwritten(host: Host) -> None:
    host.bin.mkdir(parents=True)
    (host.bin / "windrow").write_text("#!/usr/bin/python3\n# the command line\n")
    assert "is not Windrow's plugin" in host.install(code=1).output
    assert [p.name for p in host.bin.iterdir()] == ["windrow"]
    (host.bin / "windrow").unlink()
    (host.bin / "bridge").write_text("another's")
    host.install()
    assert host.kinds()["bridge"] == "other"


@pytest.mark.parametrize("text", ['{"name": "x", "plugins": [{"type": "bridge"}]}', "{", '{"type": "windrow"}'])
def test_a_network_of_others_is_not_overwritten(host: Host, text: str) -> None:
    host.conf.mkdir(parents=True)
    (host.conf / "00-windrow.conflist").write_text(text)
    assert "move it away" in host.install("--conf-dir", str(host.conf), code=1).output
    assert (host.conf / "00-windrow.conflist").read_text() == text
    assert not host.bin.exists()


def test_a_network_of_ours_that_was_changed_stays(host: Host) -> None:
    host.install("--conf-dir", str(host.conf))
    path = host.conf / "00-windrow.conflist"
    changed = path.read_text().replace('"type": "windrow"', '"type": "windrow", "clusterNetwork": "canal"')
    path.write_text(changed)
    assert "stays as it is" in host.install("--conf-dir", str(host.conf)).output
    assert path.read_text() == changed


def test_the_servers_network_is_of_the_cluster(host: Host) -> None:
    path, paths = host.conf / "00-windrow.conflist", Paths(host.root)
    assert module.put_conflist(paths, host.conf, kubernetes=True) == f"{path}: written"
    (plugin,) = json.loads(path.read_text())["plugins"]
    assert plugin["kubernetes"] is True and "host-device" not in plugin["pluginTypes"]
    assert "stays as it is" in module.put_conflist(paths, host.conf, kubernetes=True)
    assert "stays as it is" in module.put_conflist(paths, host.conf, kubernetes=False), "another server asks for less"
    assert f"{path}: removed" in host.run("uninstall").output
    assert not path.exists()


def test_a_network_from_before_is_of_the_cluster_from_now_on_and_else_as_it_was(host: Host) -> None:
    """Without the server its calls would take the manifests for all there is."""
    host.install("--conf-dir", str(host.conf))
    path = host.conf / "00-windrow.conflist"
    document = json.loads(path.read_text())
    document["plugins"][0] |= {"clusterNetwork": "canal", "pluginTypes": ["sriov"]}
    document["plugins"].append({"type": "portmap"})
    path.write_text(json.dumps(document))
    assert "the cluster's pods" in module.put_conflist(Paths(host.root), host.conf, kubernetes=True)
    document["plugins"][0]["kubernetes"] = True
    assert json.loads(path.read_text()) == document


def test_a_network_that_cannot_be_written_is_said(host: Host) -> None:
    host.conf.mkdir(parents=True)
    (host.conf / "00-windrow.conflist").write_text("{")
    with pytest.raises(module.InstallError, match="move it away"):
        module.put_conflist(Paths(host.root), host.conf, kubernetes=True)


def test_beside_multus_there_is_the_bridge_plugin_alone(host: Host) -> None:
    host.bin.mkdir(parents=True)
    for name in ("bridge", "windrow"):  # whoever calls himself so is in nobody's way
        (host.bin / name).write_text("another's")
    host.install("--replace", "--with-multus")
    assert host.kinds() == {
        "bridge": "compiled", "bridge.orig": "other", "windrow": "other", "windrow-bridge": "compiled"}  # fmt: skip
    assert not host.conf.exists()
    host.run("uninstall")
    assert host.kinds() == {"bridge": "other", "windrow": "other"}
    assert "has it call Multus" in host.install("--with-multus", "--conf-dir", str(host.conf), code=2).output


def test_replacing_the_reference(host: Host) -> None:
    host.bin.mkdir(parents=True)
    bridge, kept = host.bin / "bridge", host.bin / "bridge.orig"
    bridge.write_text("reference 1")
    done = host.install("--replace")
    assert f"{kept}: the one that was bridge until now" in done.output
    assert (host.kinds()["bridge"], kept.read_text()) == ("compiled", "reference 1")
    host.install("--replace")  # ours is not kept as theirs
    assert kept.read_text() == "reference 1"
    bridge.unlink()
    bridge.write_text("reference 2")  # the distribution has brought a new one
    assert f"{kept}.1: the one that was bridge.orig" in host.install("--replace").output
    assert (kept.read_text(), (host.bin / "bridge.orig.1").read_text()) == ("reference 2", "reference 1")
    host.run("uninstall")
    assert {p.name: p.read_text() for p in host.bin.iterdir()} == {
        "bridge": "reference 2",
        "bridge.orig.1": "reference 1",
    }


def test_replacing_where_there_is_no_reference(host: Host) -> None:
    host.install("--replace")
    assert set(host.kinds()) == {"bridge", "windrow", "windrow-bridge"}
    host.run("uninstall")
    assert list(host.bin.iterdir()) == []


def test_uninstalling_from_one_directory(host: Host) -> None:
    other = host.root / "other"
    host.install()
    host.run("install", "--bin-dir", str(other))
    host.run("uninstall", "--bin-dir", str(host.bin))
    assert list(host.bin.iterdir()) == []
    assert len(list(other.iterdir())) == 2
    assert [p["path"] for p in json.loads(host.run("status", "-o", "json").output)["plugins"]] == [
        f"{other}/windrow",
        f"{other}/windrow-bridge",
    ]


def test_a_directory_that_cannot_be(host: Host) -> None:
    (host.root / "opt").write_text("")
    assert "Not a directory" in host.install(code=1).output


# What is written into them ------------------------------------------------------------------------


def test_the_interpreter_and_the_modules_are_real_paths(host: Host) -> None:
    found = Origin()
    assert found.python == os.path.realpath(sys.executable)
    assert all(path == os.path.realpath(path) for path in found.path)
    assert (Path(found.path[0]) / "windrow" / "apps" / "cni" / "shim.c").exists()
    assert any((Path(path) / "yaml" / "__init__.py").exists() for path in found.path)


@pytest.mark.parametrize("words", [(), ("--no-compile",)])
def test_what_is_installed_answers(host: Host, words: tuple[str, ...]) -> None:
    """With nothing in the environment, as a runtime may start it; the root is compiled in."""
    host.install(*words)
    for name in ("windrow", "windrow-bridge"):
        done = subprocess.run([host.bin / name], env={"CNI_COMMAND": "VERSION"}, capture_output=True, check=True)
        assert "1.0.0" in json.loads(done.stdout)["supportedVersions"]
        assert done.stderr == b""


def test_odd_paths_in_c() -> None:
    assert c_string('a"b\\c?\n') == '"a\\042b\\134c\\077\\012"'
    assert c_string("ü1") == '"\\303\\2741"'


@pytest.mark.parametrize("python", ["/opt/my python/bin/python3", "/" + "x" * 260])
def test_an_interpreter_that_no_script_can_name(python: str) -> None:
    with pytest.raises(module.InstallError, match="first line"):
        launcher_text(Origin(python=python, path=("/x",)))


# Status, list, gc ---------------------------------------------------------------------------------


def test_status_of_nothing(host: Host) -> None:
    text = host.run("status").output
    assert "none answers on" in text
    assert "none was installed" in text
    found = json.loads(host.run("status", "-o", "json").output)
    assert (found["server"], found["plugins"], found["ports"]) == (None, [], 0)


def test_status_of_an_old_plugin(host: Host) -> None:
    host.install("--conf-dir", str(host.conf))
    path = host.bin / "windrow"
    path.write_bytes(
        path.read_bytes().replace(f"windrow-cni-plugin {__version__} ".encode(), b"windrow-cni-plugin 0.0.9 ")
    )
    PortRecords(Paths(host.root)).put(record())
    (Paths(host.root).ports / "x.json").write_text("{")
    text = host.run("status").output
    assert f"{path} (compiled, version 0.0.9, old: run `windrow cni install` again)" in text
    assert f"{host.bin}/windrow-bridge (compiled, version {__version__})" in text
    assert str(host.conf / "00-windrow.conflist") in text
    assert "Ports    1" in text
    assert "x.json" in text


def test_list(host: Host) -> None:
    assert host.run("list").output == "No ports found\n"
    records = PortRecords(Paths(host.root))
    records.put(record(1))
    records.put(record(2, container_id="vm-0123", pod="default/virt-launcher-db", vlans=None, mac=None))
    lines = host.run("list").output.splitlines()
    assert lines[0].split() == ["USER", "INTERFACE", "NETWORK", "BRIDGE", "PORT", "VLANS", "MAC"]
    assert lines[1].split("   ")[0] == "pod default/web"
    assert lines[2].split("   ")[0] == "VM default/db"
    assert "/run/netns/nobody" in host.run("list", "-o", "wide").output
    as_json = json.loads(host.run("list", "-o", "json").output)
    assert as_json["items"][0]["vlans"] == {"pvid": 100, "untagged": "100", "tagged": ""}
    assert as_json["items"][1]["vlans"] is None
    assert yaml.safe_load(host.run("list", "-o", "yaml").output) == as_json


def test_gc_of_nothing(host: Host) -> None:
    assert host.run("gc").output == "nothing is left over\n"


def test_serving_needs_root(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "run it as root" in host.run("serve", code=1).output


def test_usage(host: Host) -> None:
    host.run("install", code=2)
    host.run("list", "-o", "xml", code=2)
    text = host.run("--help").output
    for verb in ("install", "uninstall", "serve", "status", "list", "check", "gc"):
        assert f"  {verb} " in text


# The server's unit --------------------------------------------------------------------------------


def test_the_servers_unit_comes_and_goes_with_the_plugins(host: Host) -> None:
    path = host.root / "etc/systemd/system/windrow-cni.service"
    assert "enable --now windrow-cni.service" in host.install("--with-server", "--no-compile").output
    text = path.read_text()
    assert f"--root {host.root} --node n1 cni serve\n" in text and "Type=notify" in text
    for line in ("PrivateTmp=", "ProtectSystem=", "PrivateNetwork="):
        assert f"\n{line}" not in text  # it would live in another place than the runtime
    wants = path.with_name("multi-user.target.wants")
    wants.mkdir()
    (wants / path.name).symlink_to(path)
    assert "systemctl disable --now windrow-cni.service" in host.run("uninstall", code=1).stderr
    assert host.kinds() == {"windrow": "launcher", "windrow-bridge": "launcher"}
    (wants / path.name).unlink()
    assert f"{path} removed" in host.run("uninstall").output
    assert not path.exists() and not list(host.bin.iterdir())


def test_one_directory_less_leaves_the_servers_unit(host: Host) -> None:
    host.install("--with-server", "--no-compile")
    host.run("uninstall", "--bin-dir", str(host.bin))
    assert (host.root / "etc/systemd/system/windrow-cni.service").exists()


def test_a_unit_that_somebody_else_wrote_stays(host: Host) -> None:
    host.install("--no-compile")
    unit = host.root / "etc/systemd/system/windrow-cni.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/usr/local/bin/windrow cni serve\n")
    host.run("uninstall")
    assert unit.exists() and not list(host.bin.iterdir())
