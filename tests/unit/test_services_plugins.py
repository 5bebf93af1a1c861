"""Programs that are run to their end, and CNI plugins among them."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from windrow.port.errors import DELEGATE_FAILED, CniError
from windrow.services import child, plugins

SHELL = "/bin/sh"
ENV = {"PATH": "/usr/bin:/bin"}


def sh(script: str, *, stdin: bytes = b"", timeout_s: float = 20.0) -> child.Ended:
    return child.run([SHELL, "-c", script], env=ENV, stdin=stdin, timeout_s=timeout_s)


def test_what_it_says_and_how_it_ends() -> None:
    ended = sh("cat; echo oh >&2; exit 3", stdin=b"hello")
    assert (ended.exit, ended.stdout, ended.stderr) == (3, b"hello", b"oh\n")


def test_much_in_and_much_out_at_once() -> None:
    data = os.urandom(1 << 20)
    assert sh("cat", stdin=data).stdout == data


def test_one_that_does_not_read() -> None:
    assert sh("exec true", stdin=b"x" * (1 << 20)).exit == 0


def test_its_environment_is_what_it_is_given_and_no_fd_of_ours() -> None:
    ended = child.run(["/usr/bin/env"], env={"A": "B"}, timeout_s=20)
    assert ended.stdout == b"A=B\n"
    read, write = os.pipe()
    try:
        os.dup2(write, 97, inheritable=False)
        assert b"97" not in sh("ls /proc/self/fd").stdout.split()
        os.close(97)
    finally:
        os.close(read)
        os.close(write)


def test_a_signal_ends_it() -> None:
    assert sh("kill -9 $$").exit == -9


def test_a_broken_pipe_ends_it_as_it_would_in_a_shell() -> None:
    assert sh("(yes; echo $? >&2) | head -c 1; true").stderr in (b"141\n", b"")


def test_its_children_are_not_waited_for() -> None:
    begun = time.monotonic()
    assert sh("sleep 5 & echo done").stdout == b"done\n"
    assert time.monotonic() - begun < 3


def test_when_the_time_is_over_all_of_it_is_ended(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(TimeoutError):
        sh(f"(sleep 1; touch {mark}) & wait", timeout_s=0.2)
    time.sleep(1.2)
    assert not mark.exists()


def test_one_that_never_stops_talking() -> None:
    with pytest.raises(OSError) as caught:
        sh("yes")
    assert caught.value.errno == errno.EMSGSIZE


@pytest.mark.parametrize(("program", "code"), [("/nowhere/x", errno.ENOENT), ("/etc/passwd", errno.EACCES)])
def test_what_cannot_be_started(program: str, code: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError) as caught:
        child.run([program], env={}, timeout_s=5)
    assert caught.value.errno == code and len(os.listdir("/proc/self/fd")) == before


# Plugins ------------------------------------------------------------------------------------------


@pytest.fixture
def call(tmp_path: Path) -> Any:
    """`call(script)` runs a plugin that is this shell script."""

    def run(script: str, **more: Any) -> Any:
        path = tmp_path / "stub"
        path.write_text(f"#!{SHELL}\n{script}\n")
        path.chmod(0o755)
        return plugins.run("stub", env=ENV | {"CNI_COMMAND": "ADD"}, config=b'{"x": 1}', path=[str(tmp_path)], **more)

    return run


def refused(call: Any, script: str, **more: Any) -> CniError:
    with pytest.raises(CniError) as caught:
        call(script, **more)
    return caught.value


def test_a_result(call: Any) -> None:
    assert call('cat > "$0.in"; echo "{\\"command\\": \\"$CNI_COMMAND\\"}"') == {"command": "ADD"}


def test_it_reads_the_configuration(call: Any) -> None:
    assert call("cat") == {"x": 1}


@pytest.mark.parametrize("script", ["true", "echo", "printf ' \\n '"])
def test_nothing_printed(call: Any, script: str) -> None:
    assert call(script) is None


def test_an_error_of_its_own_keeps_its_code(call: Any) -> None:
    error = refused(call, 'echo \'{"code": 11, "msg": "later", "details": "really"}\'; exit 1')
    assert (error.code, error.message, error.details) == (11, "stub: later", "really")


def test_an_error_with_a_good_exit_code_is_one_all_the_same(call: Any) -> None:
    assert refused(call, 'echo \'{"code": 11, "msg": "later"}\'').code == 11


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 5", "failed with exit code 5 and no error object"),
        ("echo rubbish; exit 5", "output: rubbish"),
        ("echo why >&2; exit 5", "errors: why"),
        ('echo \'{"msg": "no code"}\'; exit 5', "no code"),
        ("echo '{\"code\": 0}'; exit 5", "exit code 5"),
        ("kill -15 $$", "was ended by signal 15"),
        ("echo rubbish", "printed what is no result"),
        ("echo '[1]'", "printed what is no result"),
        ("echo '\"text\"'", "printed what is no result"),
        ("printf '\\377'", "printed what is no result"),
        ("yes", "says more than"),
    ],
)
def test_one_that_does_not_keep_to_the_protocol(call: Any, script: str, said: str) -> None:
    error = refused(call, script)
    assert error.code == DELEGATE_FAILED and said in f"{error.message} {error.details}"


def test_what_it_says_is_cut(call: Any) -> None:
    error = refused(call, "head -c 100000 /dev/zero | tr '\\0' x; exit 1")
    assert len(error.details) < 500


def test_one_that_hangs(call: Any) -> None:
    error = refused(call, "sleep 60", timeout_s=0.2)
    assert error.code == DELEGATE_FAILED and "did not end within 0.2 s" in error.message


@pytest.mark.parametrize("name", ["", ".", "..", "../stub", "/bin/true", "a/b"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(CniError, match="is not the name of a plugin"):
        plugins.find(name, ["/bin"])


def test_the_first_directory_that_has_it(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for place in (one, two):
        place.mkdir()
        (place / "stub").write_text("#!/bin/sh\n")
    (two / "stub").chmod(0o755)  # the other one cannot be executed
    assert plugins.find("stub", [str(tmp_path / "none"), str(one), str(two)]) == str(two / "stub")
    with pytest.raises(CniError) as caught:
        plugins.find("not-installed", [str(one)])
    assert caught.value.code == DELEGATE_FAILED and str(one) in caught.value.message


def test_the_reference_plugins_are_found_without_a_path() -> None:
    found = json.loads(json.dumps(plugins.run("host-local", env={"CNI_COMMAND": "VERSION"}, config=b"", path=[])))
    assert "1.0.0" in found["supportedVersions"]
