"""The webhook's certificate, in a Secret: all replicas have the same one, and whichever sees it grow old makes another.

The API server trusts what `bundle` says, which holds an authority before it signs anything, and after it is replaced.
So nothing has to be started anew, and no request falls between two certificates.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from windrow.kube.api import CONFLICT, Ask, read_one
from windrow.kube.errors import KubeError
from windrow.model.lazy import dataclass
from windrow.services import certificates
from windrow.services.certificates import Pair
from windrow.services.errors import ServiceError

AUTHORITY_DAYS, SERVER_DAYS = 3650, 90
OLD = 2 / 3
"""Of its lifetime: then it is made anew."""
_TRIES = 5
_HOSTS = "windrow.io/hosts"
"""An annotation: whom the certificate is for."""
_NAMES = ("tls.crt", "tls.key", "ca.crt", "ca.key")
"""As cert-manager calls them, but for the last one, which it keeps to itself."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """`authority`: what it is signed by, with its key; None: somebody else (cert-manager) has that, and renews it.
    `bundle`: whom to trust."""

    server: Pair
    bundle: bytes
    authority: Pair | None
    hosts: str = ""


class Keys:
    """`place`: namespace and name of the Secret. `hosts`: whom the certificate is for."""

    def __init__(
        self, ask: Ask, place: tuple[str, str], hosts: tuple[str, ...], clock: Callable[[], float] = time.time
    ) -> None:
        self._ask, self._clock, self._hosts = ask, clock, hosts
        self._namespace, self._name = place
        self._all = f"/api/v1/namespaces/{self._namespace}/secrets"

    async def current(self) -> Held:
        """One that is good for a while. Raises KubeError, ServiceError."""
        for _ in range(_TRIES):
            secret = await read_one(self._ask, f"{self._all}/{self._name}")
            held = _decoded(secret)
            if held is not None and (held.authority is None or not await asyncio.to_thread(self._is_old, held)):
                return held
            made = await asyncio.to_thread(self._made, held)
            try:
                await self._write(secret, made)
            except KubeError as error:
                if error.code != CONFLICT:
                    raise
                continue  # another replica was faster
            return made
        raise KubeError(f"the Secret {self._namespace}/{self._name} is written by others all the time")

    async def _write(self, secret: dict[str, Any] | None, held: Held) -> None:
        assert held.authority is not None
        texts = (held.server.certificate, held.server.key, held.bundle, held.authority.key)
        meta = {"name": self._name, "namespace": self._namespace, "annotations": {_HOSTS: held.hosts}}
        if secret is not None:
            meta["resourceVersion"] = secret["metadata"]["resourceVersion"]
        document = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": meta,
            "data": {name: base64.b64encode(text).decode() for name, text in zip(_NAMES, texts, strict=True)},
        }
        if secret is None:
            await self._ask("POST", self._all, document)
        else:
            await self._ask("PUT", f"{self._all}/{self._name}", document)

    def _is_old(self, held: Held) -> bool:
        if held.hosts != ",".join(self._hosts):
            return True
        pairs = (held.server, held.authority) if held.authority is not None else (held.server,)
        return any(self._aged(pair) for pair in pairs)

    def _aged(self, pair: Pair) -> bool:
        """What cannot be read is as good as old."""
        try:
            since, until = certificates.lifetime(pair.certificate)
        except ServiceError:
            return True
        return self._clock() > since + (until - since) * OLD

    def _made(self, old: Held | None) -> Held:
        authority = old.authority if old is not None else None
        trusted = authority.certificate if authority is not None else b""
        with tempfile.TemporaryDirectory() as directory:
            if authority is None or self._aged(authority):
                authority = certificates.make_authority(Path(directory), self._name, AUTHORITY_DAYS)
            server = certificates.sign(Path(directory), authority, self._hosts, SERVER_DAYS)
        bundle = authority.certificate + (trusted if trusted != authority.certificate else b"")
        return Held(server=server, bundle=bundle, authority=authority, hosts=",".join(self._hosts))


def _decoded(secret: Document | None) -> Held | None:
    """None: there is none, or it is not whole."""
    data = (secret or {}).get("data") or {}
    try:
        server, key, bundle, signing = (base64.b64decode(data.get(name) or "", validate=True) for name in _NAMES)
    except (binascii.Error, TypeError, ValueError):
        return None
    if not (server and key and bundle):
        return None
    hosts = ((secret or {}).get("metadata", {}).get("annotations") or {}).get(_HOSTS, "")
    end = b"-----END CERTIFICATE-----\n"
    first = bundle.partition(end)[0] + end
    return Held(
        server=Pair(server, key), bundle=bundle, authority=Pair(first, signing) if signing else None, hosts=hosts
    )
