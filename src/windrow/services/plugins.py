"""The CNI exec protocol from the side of the one who calls: how IPAM plugins and delegates are run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from windrow.model import jsontext
from windrow.port.errors import DELEGATE_FAILED, CniError
from windrow.services import child

DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
"""Where plugins are, besides CNI_PATH: upstream's own place, Debian's, Fedora's."""
TIMEOUT_S = 120.0
"""A DHCP server that does not answer is asked for 62 s by the `dhcp` plugin."""
_SHOWN = 300


def run(
    plugin: str,
    *,
    env: Mapping[str, str],
    config: bytes,
    path: Sequence[str],
    timeout_s: float = TIMEOUT_S,
    holding: int | None = None,
) -> dict[str, Any] | None:
    """Call a plugin (its `type`) as a runtime would; the document it prints, None where it prints nothing.

    `env` is its whole environment, `CNI_COMMAND` and the rest included; `path` where it is looked for; `holding`: see
    `child.run`. Raises CniError: the plugin's own error with its code, or DELEGATE_FAILED where it has none to say.
    """
    with start(plugin, env=env, path=path, holding=holding) as started:
        return started.finish(config, timeout_s)


def start(plugin: str, *, env: Mapping[str, str], path: Sequence[str], holding: int | None = None) -> Started:
    """As `run`; it has no configuration yet, and does nothing before it has. Raises CniError."""
    executable = find(plugin, path)
    try:
        return Started(plugin, executable, child.start([executable], env=env, holding=holding))
    except OSError as error:
        raise _not_run(plugin, executable, error) from error


class Started:
    """A plugin that waits for its configuration. As a context it is ended where it has had none: it has done nothing.

    Nor has it where its caller was killed, and its standard input ends without a byte: that is no configuration.
    """

    def __init__(self, plugin: str, executable: str, program: child.Started) -> None:
        self._plugin, self._executable, self._program = plugin, executable, program

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *of: object) -> None:
        self._program.__exit__(*of)

    def finish(self, config: bytes, timeout_s: float = TIMEOUT_S) -> dict[str, Any] | None:
        """Have it do its work; what it prints, as `run`. Raises CniError."""
        try:
            ended = self._program.finish(config, timeout_s)
        except TimeoutError as error:
            message = f"plugin {self._plugin} did not end within {timeout_s:g} s"
            raise CniError(DELEGATE_FAILED, message, self._executable) from error
        except OSError as error:
            raise _not_run(self._plugin, self._executable, error) from error
        return _document(self._plugin, ended)


def _not_run(plugin: str, executable: str, error: OSError) -> CniError:
    return CniError(DELEGATE_FAILED, f"plugin {plugin} cannot be run: {error.strerror}", executable)


def _document(plugin: str, ended: child.Ended) -> dict[str, Any] | None:
    """What it prints. Raises CniError: what it says is wrong, or what it prints is no result."""
    document = _decoded(ended.stdout) if ended.stdout.strip() else None
    if ended.exit != 0:
        raise _failure(plugin, ended, document)
    if not ended.stdout.strip():
        return None
    if not isinstance(document, dict):
        details = f"standard output: {_shown(ended.stdout)}"
        raise CniError(DELEGATE_FAILED, f"plugin {plugin} printed what is no result", details)
    if isinstance(document.get("code"), int) and document["code"] and "msg" in document:
        raise _failure(plugin, ended, document)
    return document


def find(plugin: str, path: Sequence[str]) -> str:
    """Raises CniError: there is none, or its name is a path."""
    if not plugin or os.sep in plugin or plugin in (".", ".."):
        raise CniError(DELEGATE_FAILED, f"{plugin!r} is not the name of a plugin")
    places = [*path, *(one for one in DIRECTORIES if one not in path)]
    found = child.find(plugin, places)
    if found is None:
        raise CniError(DELEGATE_FAILED, f"failed to find plugin {plugin!r} in path {list(places)}")
    return found


def _failure(plugin: str, ended: child.Ended, document: Any) -> CniError:
    """The plugin's own error; else what can be said of one that did not keep to the protocol."""
    if isinstance(document, dict) and isinstance(document.get("code"), int) and document["code"]:
        said, details = document.get("msg"), document.get("details")
        return CniError(document["code"], f"{plugin}: {said or 'it does not say why'}", str(details or ""))
    how = f"was ended by signal {-ended.exit}" if ended.exit < 0 else f"failed with exit code {ended.exit}"
    words = [f"{name}: {_shown(text)}" for name, text in (("output", ended.stdout), ("errors", ended.stderr)) if text]
    return CniError(DELEGATE_FAILED, f"plugin {plugin} {how} and no error object", "; ".join(words))


def _decoded(stdout: bytes) -> Any:
    try:
        return jsontext.loads(stdout)
    except (ValueError, RecursionError):
        return None


def _shown(data: bytes) -> str:
    text = " ".join(data.decode(errors="replace").split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
