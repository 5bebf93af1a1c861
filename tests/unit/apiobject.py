"""One object as an API server keeps it: made once, and replaced only by whoever has read it as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windrow.kube.errors import KubeError


class ApiObject:
    """`ask` is `kube.api.Api.ask`."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None
        self.version = 0
        self.silent = False

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        if self.silent:
            raise KubeError("the API server does not answer")
        if method == "GET":
            if self.stored is None:
                raise KubeError("no", code=404)
            return self.stored
        given = (body or {})["metadata"].get("resourceVersion")
        if (method == "POST") is (self.stored is not None) or (method == "PUT" and given != str(self.version)):
            raise KubeError("no", code=409)
        self.version += 1
        self.stored = {**(body or {}), "metadata": {**(body or {})["metadata"], "resourceVersion": str(self.version)}}
        return self.stored
