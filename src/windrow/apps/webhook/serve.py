"""The webhook at work: it follows the cluster, answers the API server, and keeps its own registration and certificate.

One thread has the cluster, in an event loop; the server's threads judge by what it knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import threading
import traceback
from collections.abc import Callable
from dataclasses import field, replace
from pathlib import Path

from windrow.apps.webhook import configurations, reviews
from windrow.apps.webhook.configurations import MUTATE, VALIDATE, Address
from windrow.apps.webhook.judge import Document, Judge
from windrow.apps.webhook.keys import Held, Keys
from windrow.apps.webhook.known import Known
from windrow.apps.webhook.server import Answer, Server
from windrow.kube.access import Access
from windrow.kube.api import APPLY, Api, read_one, waited
from windrow.kube.follow import Follower
from windrow.kube.resources import RESOURCES
from windrow.kube.troubles import Troubles
from windrow.model.errors import WindrowError
from windrow.model.lazy import dataclass
from windrow.model.values import Ref
from windrow.rules.terms import Terms
from windrow.services.errors import ServiceError

REQUIRED = (
    *("ClusterNetwork", "VlanConfig", "VlanStatus", "HostNetworkConfig", "NetworkAttachmentDefinition", "Node"),
)
OPTIONAL = ("VirtualMachine", "VirtualMachineInstance", "Subnet", "Vpc")
"""KubeVirt's and kube-ovn's: a cluster may be without them, and get them later."""
SUBNETS = "/apis/kubeovn.io/v1/subnets"
AGAIN_S = 30.0
"""So often certificate, registration and the kinds of others are looked at."""
TOLD_S = 2.0
"""An API server watches registrations: it knows another one within a fraction of that."""
READ_S = configurations.TIMEOUT_S / 5
MANAGER = "windrow-webhook"
_APPLY = {"fieldManager": MANAGER, "force": "true"}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`address`: where the API server finds us; `secret`: namespace and name of the one with the certificate."""

    address: Address
    listen: tuple[str, int]
    secret: tuple[str, str]
    terms: Terms = field(default_factory=lambda: Terms(served=True))
    again_s: float = AGAIN_S


class Webhook:
    """From when it is run until it is stopped."""

    def __init__(self, access: Access, settings: Settings, say: Say) -> None:
        self._access, self._settings, self._say = access, settings, say
        self._known = Known((*REQUIRED, *OPTIONAL))
        self._judge = Judge(self._known, self._read, settings.terms)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Server | None = None
        self._main: asyncio.Task[None] | None = None
        self._troubles = Troubles()
        self._held: Held | None = None
        self._bundle = b""
        """Whom the API server is to trust."""
        self.ready = threading.Event()
        """The API server was told to ask, and is answered."""

    def run(self) -> None:
        """Until `stop`. Raises KubeError, ServiceError: what cannot work."""
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            with contextlib.suppress(asyncio.CancelledError):
                runner.run(self._live())

    def stop(self) -> None:
        """From any thread."""
        if self._loop is not None and self._main is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._main.cancel)

    # The loop -------------------------------------------------------------------------------------

    async def _live(self) -> None:
        self._main = asyncio.current_task()
        self._api = Api(self._access)
        try:
            with tempfile.TemporaryDirectory(prefix="windrow-webhook-") as directory:
                async with asyncio.TaskGroup() as group:
                    for kind in REQUIRED:
                        group.create_task(self._follower(kind).run())
                    for kind in OPTIONAL:
                        group.create_task(self._follower(kind).run(self._settings.again_s))
                    try:
                        await self._keep(Path(directory))
                    finally:
                        if self._server is not None:
                            await asyncio.to_thread(self._server.close)
        finally:
            await self._api.close()

    async def _keep(self, directory: Path) -> None:
        keys = Keys(self._api.ask, self._settings.secret, self._settings.address.hosts)
        while True:
            try:
                await self._use(await keys.current(), directory)
                while not self._known.complete:
                    await asyncio.sleep(0.05)
                await self._register()
                self.ready.set()
                self._judge.terms = replace(self._judge.terms, subnets=await self._api.serves(SUBNETS))
                self._troubled("the webhook's registration", "")
            except WindrowError as error:
                self._troubled("the webhook's registration", str(error))
            await asyncio.sleep(self._settings.again_s if self.ready.is_set() else 1.0)

    async def _use(self, held: Held, directory: Path) -> None:
        """An API server trusts the new authority before anybody shows it what that signed, and the old one as long as
        another replica may."""
        if held.bundle not in self._bundle:
            self._bundle = held.bundle + self._bundle
            if self.ready.is_set():
                await self._register()
                await asyncio.sleep(TOLD_S)
        if self._held is None or held.server != self._held.server:
            self._trust(held, directory)
        self._held = held

    def _trust(self, held: Held, directory: Path) -> None:
        certificate, key = held.server.stored(directory)
        try:
            if self._server is None:
                self._server = Server(self._settings.listen, self._answer, certificate, key)
            else:
                self._server.trust(certificate, key)
                self._say("the certificate is a new one")
        except OSError as error:
            host, port = self._settings.listen
            hint = "see who listens there, and whether the Secret has a certificate and its key"
            raise ServiceError("webhook", f"cannot answer on {host} port {port}: {error}", hint) from error

    async def _register(self) -> None:
        """By server-side apply: what others have added stays, and what is right is not written."""
        for document in configurations.documents(self._settings.address, self._bundle):
            kind = f"{document['kind'].lower()}s"
            path = f"/apis/admissionregistration.k8s.io/v1/{kind}/{configurations.NAME}"
            await self._api.ask("PATCH", path, document, kind=APPLY, params=_APPLY)

    def _follower(self, kind: str) -> Follower:
        return Follower(self._api, RESOURCES[kind], self._known, lambda _: None, self._troubled)

    def _troubled(self, what: str, why: str) -> None:
        if self._troubles.noted(what, why):
            self._say(f"{what}: {why or 'well again'}")

    # The server's threads -------------------------------------------------------------------------

    def _read(self, ref: Ref) -> Document | None:
        """As the loop gets it. An API server that does not answer in time cannot say it."""
        assert self._loop is not None
        return waited(read_one(self._api.ask, RESOURCES[ref.kind].one(ref)), self._loop, READ_S)

    def _answer(self, path: str, body: bytes) -> Answer:
        if path in ("/healthz", "/livez"):
            return 200, b'{"status":"ok"}'
        if path == "/readyz":
            return (200, b'{"status":"ok"}') if self._known.complete else (503, b'{"status":"not listed yet"}')
        if path not in (VALIDATE, MUTATE) or not body:
            return 404, b"{}"
        try:
            return self._reviewed(path, body)
        except reviews.NoReview as error:
            return 400, json.dumps({"error": str(error)}).encode()
        except Exception:  # noqa: BLE001 - the API server's failure policy says what becomes of it
            traceback.print_exc()
            return 500, b'{"error":"Windrow itself failed"}'

    def _reviewed(self, path: str, body: bytes) -> Answer:
        review = reviews.read(body)
        if not self._known.complete:
            return 503, b'{"error":"the objects of the cluster are not known yet"}'
        answer = self._judge.validate(review) if path == VALIDATE else self._judge.mutate(review)
        return 200, json.dumps(answer, separators=(",", ":")).encode()
