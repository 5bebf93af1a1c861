"""The Debian package in a clean Debian: installed, upgraded and back, removed, purged. Run by `make test-deb`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.deb.conftest import Debian

from windrow import __version__

UNITS = ("windrow-agent.service", "windrow-cni.service", "windrow-machines.service")
SETTINGS = "/etc/default/windrow"
STATE = {
    "/var/lib/windrow/last-good.json": "{}",
    "/var/lib/windrow/leases/eth0.json": "{}",
    "/etc/windrow/manifests/net.yaml": "# mine\n",
    "/etc/windrow/check.key": "00\n",
}


def use(debian: Debian) -> None:
    """What an administrator and Windrow leave behind."""
    for place, text in STATE.items():
        debian.path(place).parent.mkdir(parents=True, exist_ok=True)
        debian.path(place).write_text(text)
    settings = debian.path(SETTINGS)
    settings.write_text(settings.read_text().replace("AGENT_OPTIONS=", "AGENT_OPTIONS=--check 5m"))
    debian.run("systemctl", "enable", *UNITS)


def left(debian: Debian) -> set[str]:
    return {
        place for place, text in STATE.items() if (path := debian.path(place)).exists() and path.read_text() == text
    }


def test_what_it_installs_works(installed: Debian) -> None:
    assert f"windrow {__version__}" in installed.run("windrow", "version")
    assert "VlanConfig" in installed.run("windrow", "explain", "vlanconfig")
    for verb in ("adopt", "agent", "apply", "check", "cni", "lab", "manager", "status", "switch", "vm", "webhook"):
        assert f"windrow {verb}" in installed.run("windrow", verb, "--help")
    examples = installed.path("/usr/share/doc/windrow/examples")
    assert list(examples.rglob("*.yaml")), "the examples are there"
    # Nothing of this host is seen, so there is nothing to be planned on; what is wrong is said as always.
    assert "windrow itself failed" not in installed.run(
        "windrow", "plan", "-f", "/usr/share/doc/windrow/examples", code=None
    )


def test_nothing_is_started_and_nothing_enabled(installed: Debian) -> None:
    for unit in UNITS:
        assert installed.run("systemctl", "is-enabled", unit, code=None).strip() == "disabled"
    assert not installed.path("/var/lib/windrow").exists()
    assert installed.path("/etc/windrow/manifests").is_dir()


def test_systemd_takes_the_units(installed: Debian) -> None:
    for unit in UNITS:
        assert installed.run("systemd-analyze", "verify", "--man=no", f"/lib/systemd/system/{unit}") == ""
        text = installed.path(f"/lib/systemd/system/{unit}").read_text()
        assert f"EnvironmentFile=-{SETTINGS}" in text
        may_fail = "-" if unit == "windrow-machines.service" else ""  # guests that did start are to be shut down, too
        assert f"\nExecStart={may_fail}/usr/bin/windrow " in text


def test_an_upgrade_restarts_the_services_and_leaves_guests_running(package: Path, tmp_path: Path) -> None:
    """In the clean Debian no systemd runs, so this is what the package would tell one."""
    subprocess.run(["dpkg-deb", "--control", package, tmp_path], check=True)
    told = {
        path.name: [line.split() for line in path.read_text().splitlines() if "deb-systemd-invoke" in line]
        for path in tmp_path.iterdir()
        if path.name in ("preinst", "postinst", "prerm", "postrm")
    }
    (restart,) = told.pop("postinst")
    assert restart[:4] == ["deb-systemd-invoke", "try-restart", "'windrow-agent.service'", "'windrow-cni.service'"]
    assert "machines" not in " ".join(restart)
    assert len(told.pop("prerm")) == 1, "which is for a removal alone"
    assert not any(told.values()), "nothing is stopped before it is clear that the new one comes"


def test_every_program_and_every_verb_has_a_page(installed: Debian) -> None:
    programs = [path.name for path in installed.path("/usr/bin").iterdir() if "windrow" in path.name]
    assert sorted(programs) == ["kubectl-windrow", "windrow", "windrow-cni"]
    help_text = installed.run("windrow", "--help").partition("Commands:")[2].partition("Examples:")[0]
    verbs = re.findall(r"^  ([a-z]+) ", help_text, re.MULTILINE)
    assert len(verbs) > 30
    for page in [*programs, *(f"windrow-{verb}" for verb in verbs)]:
        assert installed.path(f"/usr/share/man/man1/{page}.1.gz").exists(), page
        shown = installed.run("man", "--warnings", "--encoding=UTF-8", page)
        assert "NAME" in shown and "warning" not in shown, page


def test_every_shell_completes(installed: Debian) -> None:
    bash = "source /usr/share/bash-completion/bash_completion; _completion_loader windrow; complete -p windrow"
    assert "_windrow_completion" in installed.run("bash", "-c", bash)
    asked = "COMP_WORDS='windrow pl' COMP_CWORD=1 _WINDROW_COMPLETE=bash_complete windrow"
    assert installed.run("bash", "-c", asked) == "plain,plan\n"
    zsh = "autoload -Uz compinit && compinit -u && echo ${_comps[windrow]}"
    assert installed.run("zsh", "-f", "-c", zsh).strip() == "_windrow"
    assert "plan" in installed.run("fish", "-c", "complete --do-complete 'windrow pl'")


def test_an_upgrade_and_the_way_back_keep_everything(debian: Debian, older: Path, package: Path) -> None:
    debian.install(older)
    use(debian)
    for version in (package, older, package):
        debian.install(version)
        assert debian.state() == f"installed {version.name.split('_')[1]}"
        assert left(debian) == set(STATE)
        assert "--check 5m" in debian.path(SETTINGS).read_text()
        assert debian.run("systemctl", "is-enabled", *UNITS, code=None).split() == ["enabled"] * len(UNITS)
        gone = debian.path("/usr/lib/python3/dist-packages/windrow/gone.py")
        assert gone.exists() == (version is older)
        assert f"windrow {__version__}" in debian.run("windrow", "version")


def test_removed_it_leaves_state_and_settings(debian: Debian, package: Path) -> None:
    debian.install(package)
    use(debian)
    debian.run("dpkg", "--remove", "windrow")
    assert left(debian) == set(STATE) and "--check 5m" in debian.path(SETTINGS).read_text()
    assert not debian.path("/usr/lib/python3/dist-packages/windrow").exists()
    assert not debian.path("/usr/bin/windrow").exists()


def test_purged_it_leaves_what_the_administrator_wrote(debian: Debian, package: Path) -> None:
    debian.install(package)
    use(debian)
    debian.run("dpkg", "--purge", "windrow")
    assert left(debian) == {"/etc/windrow/manifests/net.yaml", "/etc/windrow/check.key"}
    assert not debian.path(SETTINGS).exists() and not debian.path("/var/lib/windrow").exists()


def test_purged_unused_it_leaves_nothing(debian: Debian, package: Path) -> None:
    before = {str(path.relative_to(debian.root)) for path in debian.root.rglob("*")}
    debian.install(package)
    debian.run("dpkg", "--purge", "windrow")
    after = {str(path.relative_to(debian.root)) for path in debian.root.rglob("*")}
    assert [name for name in after - before if "windrow" in name and not name.startswith("tmp/")] == []
