"""Which API server, and as whom: a kubeconfig file and one of its contexts, or the pod's own service account."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windrow.kube.errors import KubeError
from windrow.model.lazy import dataclass

if TYPE_CHECKING:
    import httpx2
    from lightkube.config.kubeconfig import SingleConfig

IN_CLUSTER = "in-cluster"
"""In place of a file: the service account of the pod that this runs in."""
CONNECT_S, ANSWER_S = 10.0, 30.0
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_NO_POD = "in-cluster is for a pod with a service account; elsewhere name a kubeconfig file"
_INSTALL = "pip install 'windrow[kube]'"


Stamp = tuple[int, int, int] | None


def library() -> None:
    """Raises KubeError where it is not installed."""
    from importlib.util import find_spec

    if find_spec("lightkube") is None:
        raise KubeError("the client library for Kubernetes is not installed (lightkube)", _INSTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """`kubeconfig`: a file, IN_CLUSTER, or empty: $KUBECONFIG, the service account of a pod, or ~/.kube/config, the
    first that is there. `context`: empty for the file's own."""

    kubeconfig: str = ""
    context: str = ""

    def client(self) -> httpx2.AsyncClient:
        """Of the server, with TLS and whatever names us. Tokens in files are read again when the server refuses one.
        Raises KubeError."""
        library()
        import httpx2
        from lightkube.config.client_adapter import AsyncClient, ConnectionParams

        timeout = httpx2.Timeout(ANSWER_S, connect=CONNECT_S)
        with self.told():
            return AsyncClient(self._config(), ConnectionParams(timeout=timeout))

    @contextmanager
    def told(self) -> Iterator[None]:
        """What is wrong with the file becomes a KubeError; so does what is wrong with credentials when a request needs
        them: a token's file, a plugin."""
        import httpx2
        from lightkube.core.exceptions import ConfigError
        from yaml import YAMLError

        of_the_file = (ConfigError, YAMLError, httpx2.InvalidURL)
        try:
            yield
        except (*of_the_file, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            said = "it is no YAML of one document" if isinstance(error, YAMLError) else _words(error)
            hint = _NO_POD if self._file() == IN_CLUSTER else "try: kubectl get nodes, with the same file and context"
            raise KubeError(f"cannot use the kubeconfig {self._words()}: {said}", hint) from error

    @property
    def stamp(self) -> Stamp:
        """Which version of the file is there now."""
        try:
            found = os.stat(self._file())
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _config(self) -> SingleConfig:
        from lightkube.config.kubeconfig import KubeConfig

        file = self._file()
        found: Any = KubeConfig.from_service_account() if file == IN_CLUSTER else KubeConfig.from_file(file)
        config: SingleConfig = found.get(self.context or None)
        if config.user is None:
            from lightkube.config.models import User

            return config._replace(user=User())
        return config

    def _file(self) -> str:
        if self.kubeconfig:
            return self.kubeconfig
        if os.environ.get("KUBECONFIG"):
            return os.environ["KUBECONFIG"].split(":")[0]
        in_pod = "KUBERNETES_SERVICE_HOST" in os.environ and (_ACCOUNT / "token").exists()
        return IN_CLUSTER if in_pod else str(Path.home() / ".kube" / "config")

    def _words(self) -> str:
        return f"{self._file()} (context {self.context})" if self.context else self._file()


def _words(error: Exception) -> str:
    if isinstance(error, TypeError | AttributeError):  # the library's own, about what it expected there
        return "it is no kubeconfig"
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error) or type(error).__name__
