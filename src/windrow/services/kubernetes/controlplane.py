"""etcd and an API server: ready within seconds; on loopback, gone with whoever started them.

Everybody on this machine can reach their ports; only who has a token, which is in a directory of ours, may do
anything at the API server. etcd asks nobody who he is: no secrets belong in here.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import secrets
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from windrow.model.lazy import dataclass
from windrow.services import process
from windrow.services.errors import ServiceError
from windrow.services.kubernetes import parts

ADMIN = "admin"
MASTERS = "system:masters"
LOOPBACK = "127.0.0.1"
SERVICES = "10.53.0.0/16"
READY_S, ANSWER_S = 120.0, 30.0
STARTS = 3
"""Of a server that ends before it is ready. Where it gets too little of the processor, its hook for the addresses of
Services gives up after a minute, and the server with it (Kubernetes, pkg/registry/core/rest/storage_core.go). kubelet
or systemd would start it again, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where a control plane stands."""

    address: str = LOOPBACK
    """By which others reach the API server. etcd is on loopback, always."""
    ports: tuple[int, int, int] | None = None
    """etcd's for clients and for peers, and the API server's; None: whichever are free."""
    stays: bool = False
    """Whether it goes on after the thread that started it: somebody else ends it."""
    environment: Sequence[str] = ()
    """For its programs: `NAME=value`."""
    services: str = SERVICES
    """The addresses of Services: a network, or one of each family with a comma between."""
    ready_s: float = READY_S
    """How long it may take to start."""


ON_LOOPBACK = Ground()


def _runs(program: process.Program | None) -> bool:
    """By the kernel: `died` knows of an end a moment later."""
    return program is not None and process.alive(program.process)


class ControlPlane:
    """One etcd and one API server, with their files in `directory`. Used with `with`; raises ServiceError.

    It runs in the network namespace of the thread that starts it, and is asked from there.
    """

    def __init__(
        self,
        directory: Path,
        say: parts.Say,
        options: Sequence[str] = (),
        *,
        ground: Ground = ON_LOOPBACK,
        programs: Mapping[str, Path] | None = None,
        accounts: bool = False,
    ) -> None:
        """`options`: more of kube-apiserver's. `programs`: etcd and kube-apiserver; None: they are found or built.
        `accounts`: whether pods are given tokens of service accounts, which kube-controller-manager makes."""
        self._directory, self._say, self._options = directory, say, tuple(options)
        self._ground, self._programs, self._accounts = ground, programs, accounts
        self._token = secrets.token_hex(16)
        self._tokens: list[str] = []
        self._etcd: process.Program | None = None
        self._server: process.Program | None = None
        self._ports: tuple[int, int, int] = (0, 0, 0)

    def __enter__(self) -> ControlPlane:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._programs is None:
            self._programs = {**parts.installed(["etcd"]), **parts.build(["kube-apiserver"], self._say)}
        self._ports = self._ground.ports or _free_ports()
        try:
            self._make_keys()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What clients need ----------------------------------------------------------------------------

    @property
    def port(self) -> int:
        return self._ports[2]

    @property
    def url(self) -> str:
        return f"https://{self._ground.address}:{self.port}"

    @property
    def certificate(self) -> Path:
        """The server's, with that of who signed it: a CA bundle."""
        return self._directory / "certificates" / "apiserver.crt"

    def kubeconfig(self, token: str = "", name: str = ADMIN, port: int = 0) -> Path:
        """A file for kubectl and all others; without `token`, of one who may do everything. `port`: another way to the
        server."""
        path = self._directory / f"{name}.kubeconfig"
        server = f"https://{self._ground.address}:{port or self.port}"
        cluster = {"server": server, "certificate-authority": str(self.certificate)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token or self._token}}],
            "contexts": [{"name": name, "context": {"cluster": "local", "user": name}}],
        }
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(document, file, indent=1)
        return path

    def user(self, name: str, group: str) -> str:
        """The token of one more user; to be made before the server starts, which reads them then."""
        token = secrets.token_hex(16)
        self._tokens.append(f'{token},{name},{name},"{group}"')
        return token

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, kind: str = "application/json"
    ) -> dict[str, Any]:
        """As one who may do everything: for tests, which must not believe the client that they test. Raises OSError,
        of which urllib.error.HTTPError has the server's answer."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        found: dict[str, Any] = json.loads(
            self._open(urllib.request.Request(self.url + path, data, headers, method=method))
        )
        return found

    def text(self, path: str) -> str:
        """What is no object, such as `/metrics`. Raises OSError."""
        headers = {"Authorization": f"Bearer {self._token}"}
        return self._open(urllib.request.Request(self.url + path, headers=headers)).decode()

    def wait_for(self, path: str, patience_s: float = READY_S) -> None:
        """Until it is served, as it is a moment after its CRD came, or the server. Raises ServiceError."""
        end = time.monotonic() + patience_s
        while True:
            try:
                self.request("GET", f"{path}?limit=1")
                return
            except urllib.error.HTTPError as error:
                if error.code not in (404, 429) or time.monotonic() > end:
                    raise ServiceError("kube-apiserver", f"{path} is not served: {error}") from error
            time.sleep(0.05)

    def compact(self) -> None:
        """Have etcd forget all that was: who resumes a watch from before gets 410 Gone."""
        now = self._ask_etcd("range", {"key": "AA=="})["header"]["revision"]
        self._ask_etcd("compaction", {"revision": now, "physical": True})

    def seen_by(self, token: str) -> ControlPlane:
        """The same server, asked by another one."""
        other = copy.copy(self)
        other._token = token
        return other

    # Life -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """What does not run, or not any more. It is ready when this returns. Raises ServiceError."""
        end = time.monotonic() + self._ground.ready_s
        if not _runs(self._etcd):
            self._etcd = self._run("etcd", self._etcd_command())
            self._wait(self._etcd, "etcd", self._etcd_is_there, end)
        for attempt in range(1, STARTS + 1):
            if _runs(self._server):
                return
            self._server = self._run("kube-apiserver", self._server_command())
            try:
                self._wait(self._server, "kube-apiserver", self._server_is_ready, end)
                return
            except ServiceError:
                if _runs(self._server) or attempt == STARTS:
                    raise

    def stop_server(self, *, patience_s: float = 0.0) -> None:
        """The API is gone, its objects are not. `patience_s`: for it to end by itself."""
        server, self._server = self._server, None
        if server is not None:
            process.end(server.process, patience_s=patience_s)

    def close(self) -> None:
        self.stop_server()
        etcd, self._etcd = self._etcd, None
        if etcd is not None:
            process.end(etcd.process, patience_s=0.0)

    def _run(self, name: str, command: Sequence[str]) -> process.Program:
        # Whoever is killed leaves nobody behind: a test session ends in more ways than one. The signal comes when the
        # thread ends, not the process (PR_SET_PDEATHSIG, prctl(2)).
        tied = [] if self._ground.stays else ["setpriv", "--pdeathsig", "KILL", "--"]
        return process.start(
            [*tied, "env", *self._ground.environment, *command],
            directory=self._directory,
            log=self._directory / f"{name}.log",
        )

    def _wait(self, program: process.Program, name: str, there: Callable[[], bool], end: float) -> None:
        """Asked at most half of the time: where there is one processor, asking takes it from whom is waited for."""
        while True:
            asked = time.monotonic()
            if there():
                return
            if (died := program.died()) is not None:
                raise ServiceError(name, str(died), f"its log is {self._directory / name}.log")
            now = time.monotonic()
            if now > end:
                raise ServiceError(name, f"it is not ready after {self._ground.ready_s:.0f} s")
            time.sleep(max(0.05, now - asked))

    def _etcd_command(self) -> list[str]:
        client, peer = (f"http://{LOOPBACK}:{port}" for port in self._ports[:2])
        return [
            *(self._path("etcd"), "--name", "one", "--data-dir", str(self._directory / "etcd")),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"one={peer}"),
            "--unsafe-no-fsync",
        ]

    def _server_command(self) -> list[str]:
        """ServiceAccount admission wants a controller-manager. Nobody here calls back to nodes."""
        key = str(self._directory / "accounts.key")
        return [
            *(self._path("kube-apiserver"), f"--etcd-servers=http://{LOOPBACK}:{self._ports[0]}"),
            *(f"--bind-address={self._ground.address}", f"--secure-port={self._ports[2]}"),
            f"--advertise-address={self._ground.address}",
            f"--cert-dir={self._directory / 'certificates'}",
            f"--service-cluster-ip-range={self._ground.services}",
            f"--service-account-issuer={self.url}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--token-auth-file={self._directory / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",
            # How many objects of each kind there are is asked of etcd every minute: for metrics that nobody reads.
            "--etcd-count-metric-poll-period=0",
            *(() if self._accounts else ("--disable-admission-plugins=ServiceAccount",)),
            *self._options,
        ]

    def _make_keys(self) -> None:
        tokens = self._directory / "tokens.csv"
        with open(os.open(tokens, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write("\n".join([f'{self._token},{ADMIN},{ADMIN},"{MASTERS}"', *self._tokens, ""]))
        key = self._directory / "accounts.key"
        command = ["openssl", "genrsa", "-out", str(key), "2048"]
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60)
        except FileNotFoundError as error:
            raise ServiceError("openssl", "it is not installed", "apt-get install openssl") from error
        except subprocess.SubprocessError as error:
            raise ServiceError("openssl", str(error)) from error

    def _path(self, program: str) -> str:
        assert self._programs is not None
        return str(self._programs[program])

    def _etcd_is_there(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            self._ask_etcd("range", {"key": "AA=="})
            return True
        return False

    def _ask_etcd(self, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
        url = f"http://{LOOPBACK}:{self._ports[0]}/v3/kv/{what}"
        found: dict[str, Any] = json.loads(self._open(urllib.request.Request(url, json.dumps(body).encode())))
        return found

    def _server_is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self.text("/readyz") == "ok"
        return False

    def _open(self, request: urllib.request.Request) -> bytes:
        """Nobody's proxy is asked for loopback."""
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if request.type == "https":
            tls = ssl.create_default_context(cafile=str(self.certificate))
            handlers.append(urllib.request.HTTPSHandler(context=tls))
        with urllib.request.build_opener(*handlers).open(request, timeout=ANSWER_S) as answer:
            return bytes(answer.read())


def _free_ports() -> tuple[int, int, int]:
    """Nobody has them now. They lie below those that the kernel gives to connections that go out (32768 and up,
    ip_local_port_range), so a server that was stopped finds its own again."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < 3:
            port = 20000 + secrets.randbelow(12000)
            sock = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", port))
                found.append(port)
    return found[0], found[1], found[2]
