"""The certificate that all replicas of a webhook share, in a Secret, and made anew in time."""

from __future__ import annotations

import asyncio
import base64
import time

from tests.unit.apiobject import ApiObject

from windrow.apps.webhook.keys import AUTHORITY_DAYS, SERVER_DAYS, Keys


def test_a_certificate_for_all_replicas_made_anew_in_time() -> None:
    secrets, clock = ApiObject(), [time.time()]

    async def work() -> None:
        one, other = (Keys(secrets.ask, ("ns", "hook"), ("hook.ns.svc",), lambda: clock[0]) for _ in range(2))
        first, second = await asyncio.gather(one.current(), other.current())
        assert first == second and secrets.version == 1, "who comes second takes that of the first"
        now = clock[0]  # the certificates' own clock stands still
        clock[0] = now + SERVER_DAYS * 86400 * 0.7
        renewed = await one.current()
        assert renewed.server != first.server and renewed.bundle == first.bundle
        clock[0] = now
        assert await other.current() == renewed
        clock[0] = now + AUTHORITY_DAYS * 86400 * 0.7
        replaced = await one.current()
        assert replaced.bundle.endswith(first.bundle) and replaced.bundle != first.bundle, "both are trusted meanwhile"
        moved = await Keys(secrets.ask, ("ns", "hook"), ("127.0.0.1",)).current()
        assert moved.hosts == "127.0.0.1" and moved.server != replaced.server

    asyncio.run(work())


def test_a_certificate_of_cert_manager_is_left_to_it() -> None:
    secrets = ApiObject()
    data = {name: base64.b64encode(name.encode()).decode() for name in ("tls.crt", "tls.key", "ca.crt")}
    secrets.stored = {"metadata": {"resourceVersion": "1"}, "data": data}
    held = asyncio.run(Keys(secrets.ask, ("ns", "hook"), ("hook.ns.svc",)).current())
    assert (held.server.certificate, held.bundle, held.authority) == (b"tls.crt", b"ca.crt", None)
    assert secrets.stored["data"] == data
