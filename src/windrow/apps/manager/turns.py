"""The leases of the manager, taken and renewed in a thread of their own.

A large cluster's first minutes are seconds of work without a pause, and a lease that is renewed late is lost: then the
other replica begins with the same work.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Callable

from windrow.apps.manager.lease import Leases
from windrow.kube.access import Access
from windrow.kube.api import Api, Ask
from windrow.kube.errors import KubeError
from windrow.kube.loop import LoopThread

RELEASE_S = 5.0
"""So long a server is waited for that is to hear that they are let go."""
AGAIN_S = 2.0
"""After a kubeconfig that cannot be used."""


class Turns:
    """From `start` on, until it is closed. `leases`: made with what asks the API server. `changed`: is called in the
    thread with whether it is our turn now; `troubled`: with why that cannot be said, or an empty text."""

    def __init__(
        self,
        access: Access,
        leases: Callable[[Ask], Leases],
        changed: Callable[[bool], None],
        troubled: Callable[[str], None],
    ) -> None:
        self._access, self._make, self._changed, self._troubled = access, leases, changed, troubled
        self._leases: Leases | None = None
        self._thread = LoopThread("lease", self._live)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """They are let go, if the server hears it in time. It blocks."""
        self._thread.close(2 * RELEASE_S)

    @property
    def ours(self) -> bool:
        """Whether it is our turn at this moment. For any thread, and to be asked before everything that is written."""
        return self._leases is not None and self._leases.left_s > 0

    # The thread -----------------------------------------------------------------------------------

    async def _live(self) -> None:
        while not self._thread.closing:
            try:
                api = Api(self._access)
            except KubeError as error:
                self._troubled(error.message)
                await asyncio.sleep(AGAIN_S)
                continue
            try:
                self._leases = self._make(api.ask)
                await self._take(self._leases)
            finally:
                await self._let_go(api)

    async def _let_go(self, api: Api) -> None:
        if self._leases is not None:
            with contextlib.suppress(KubeError, TimeoutError):
                async with asyncio.timeout(RELEASE_S):
                    await self._leases.release()
        await api.close()

    async def _take(self, leases: Leases) -> None:
        while True:
            if await self._turn(leases):
                self._changed(True)
                await self._hold(leases)
                self._changed(False)
            await asyncio.sleep(leases.again_s)

    async def _hold(self, leases: Leases) -> None:
        """As long as they are ours; a server that is silent is waited for no longer than that."""
        while (left := leases.left_s) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await asyncio.sleep(leases.again_s)
                    await self._turn(leases)

    async def _turn(self, leases: Leases) -> bool:
        try:
            ours = await leases.turn()
        except KubeError as error:
            self._troubled(error.message)
            return False
        except Exception as error:  # noqa: BLE001 - a thread that ended would leave a manager that never leads again
            self._troubled(f"Windrow itself failed: {type(error).__name__}: {error}")
            traceback.print_exc()
            return False
        self._troubled("")
        return ours
