"""A shell that a block's commands are typed into, on this host or on a node of a lab."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.docs.blocks import ROOT, Command, agrees

BIN = ROOT / ".venv" / "bin"
ANSWER_S, BOOT_S, RUN_S = 120.0, 300.0, 600.0
_LONG = re.compile(r"windrow lab (?:run|up)\b|make ")
AGAIN_S = 15.0
"""So long a command that only looks is repeated until it shows what the page says: a reader types slower than an agent
repairs."""
_LOOKS = re.compile(r"windrow (?:status|get|events|diff|neighbors|check|vm list)\b")
AGENT_UP = 'for _ in $(seq 60); do windrow status 2>/dev/null | grep -q "^the agent runs" && exit 0; sleep 0.5; done'
"""And slower than an agent that was started in the background comes up."""
_END = "@@ended:"
_SHELL = re.compile(r"windrow lab shell ([a-z0-9-]+)")
_AGENT = re.compile(r"windrow (?:--kubeconfig \S+ )?agent\b.*&")
_OF_HOST = re.compile(r"(?<![\w.])/(?:etc/windrow|etc/cni|run/windrow|var/lib/windrow)\b")
"""Where Windrow has its files on a host of its own."""
_OF_LAB = re.compile(
    r"\bwindrow lab (up|down|exec|shell|cable|break|mend|power-cut|boot|check|topology|rename-nic|kubectl|api-server)\b"
)


class Shell:
    """bash behind a pipe: as long as it lives, its background jobs do."""

    def __init__(self, argv: list[str]) -> None:
        env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "120"}
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=env
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def run(self, text: str, timeout_s: float) -> tuple[list[str], int]:
        """(the lines it printed, exit code)."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\nprintf '\\n{_END}%s\\n' $?\n")
        self._process.stdin.flush()
        printed: list[str] = []
        end = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no end of {text!r} within {timeout_s:.0f} s; so far: {printed}") from None
            if line is None:
                raise AssertionError(f"the shell ended in {text!r}: {printed}")
            if line.startswith(_END):
                return (printed[:-1] if printed and not printed[-1] else printed), int(line.removeprefix(_END))
            printed.append(line)

    def until(self, lines: tuple[str, ...], timeout_s: float) -> list[str]:
        """What a program in the background prints, until it is these lines, or the time is up."""
        printed: list[str] = []
        end = time.monotonic() + timeout_s
        with contextlib.suppress(queue.Empty):
            while not agrees(lines, printed):
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
                if line is None:
                    break
                printed += [line] if line else []
        return printed

    def close(self) -> None:
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Sitting:
    """Blocks of one page in one lab. `lab`: its name, so that a reader's own lab is left alone; None: there is none."""

    def __init__(self, lab: str | None, node: str = "node-0") -> None:
        self.lab = lab
        self.host = Shell(["bash"])
        self._nodes: dict[str, Shell] = {}
        self.node = node
        self._root = ""
        """Below which a node of the lab has its files; a page has those of a host of its own."""

    def try_(self, command: Command) -> str:
        """What is wrong with it; empty: it is as the page says."""
        entered = _SHELL.fullmatch(command.text)
        if entered and command.prompt == "$":
            self.node = entered[1]
            return ""
        if command.text == "exit":
            return ""
        shell = self.host if command.prompt == "$" else self.on_node()
        text = _OF_LAB.sub(rf"windrow lab \1 --name {self.lab}", command.text) if self.lab else command.text
        if self._root and command.prompt == "#":
            text = _OF_HOST.sub(lambda found: f"{self._root}{found[0]}", text)
        end = time.monotonic() + AGAIN_S
        while True:
            limit_s = RUN_S if _LONG.search(text) else BOOT_S if "lab boot" in text else ANSWER_S
            printed, code = shell.run(text, limit_s)
            if text.endswith("&") and command.output:
                printed += shell.until(command.output, AGAIN_S)
            printed = [line.replace(self._root, "") if self._root else line for line in printed]
            if _AGENT.match(text):
                assert shell.run(f"({AGENT_UP}; exit 1)", ANSWER_S)[1] == 0, f"no agent came up by {text!r}"
            assert code == 0 or "lab up" not in text, "\n".join([text, *printed])  # nothing after it can be tried
            if not command.output:
                return "" if code == 0 else f"{text!r} ended with exit code {code}:\n" + "\n".join(printed)
            if agrees(command.output, printed):
                return ""
            if not _LOOKS.match(text) or time.monotonic() > end:
                said, found = "\n".join(command.output), "\n".join(printed)
                return f"{text!r}\n-- the page says --\n{said}\n-- it printed (exit code {code}) --\n{found}\n"
            time.sleep(0.5)

    def prepare(self, script: Path, nodes: Sequence[str]) -> None:
        """By this script, on each of the nodes; none: in the shell of this host."""
        for node in nodes or [""]:
            self.node = node
            shell = self.on_node() if node else self.host
            printed, code = shell.run(f"source {shlex.quote(str(script))}", ANSWER_S)
            assert code == 0, printed

    def on_node(self) -> Shell:
        if self.node not in self._nodes:
            lab = ["--name", self.lab] if self.lab else []
            argv = [str(BIN / "windrow"), "lab", "exec", "-i", *lab, self.node, "--", "bash"]
            self._nodes[self.node] = Shell(argv)
            (self._root,), _ = self._nodes[self.node].run("echo $WINDROW_ROOT", ANSWER_S)
            self._nodes[self.node].run(f"cd {shlex.quote(str(ROOT))}; export PATH={BIN}:$PATH", ANSWER_S)
        return self._nodes[self.node]

    def close(self) -> None:
        for shell in self._nodes.values():
            shell.close()
        if self.lab:
            self.host.run(f"windrow lab down --name {self.lab} 2>/dev/null", ANSWER_S)
        self.host.close()


@contextlib.contextmanager
def sitting(
    lab: str | None, *, scenario: str = "", nodes: Sequence[str] = ("node-0",), after: Path | None = None
) -> Iterator[Sitting]:
    """`scenario`: is brought up first, unless the page does so. `nodes`: the reader sits at the first of them. `after`:
    a script that prepares each, or without a lab the shell of this host."""
    found = Sitting(lab, nodes[0])
    try:
        if scenario:
            printed, code = found.host.run(f"windrow lab up {scenario} --name {lab}", BOOT_S)
            assert code == 0, printed
        if after is not None:
            found.prepare(after, nodes if lab else ())
        found.node = nodes[0]
        yield found
    finally:
        found.close()
