"""A change of a switch's configuration as one document, and as the statements of its system (Jinja2 templates)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from windrow.model.problems import Problem, ProblemsError
from windrow.model.values import VidSet
from windrow.switches.config import Change, Interface, SwitchChange, SwitchConfig
from windrow.switches.systems import SYSTEMS


def document_of(change: SwitchChange, *, lldp: bool = False) -> dict[str, Any]:
    """What templates are fed with, and what `-o json` prints. VLAN sets are texts: `100,200-210`."""
    system = SYSTEMS[change.after.system]
    return {
        "switch": change.after.name,
        "system": system.name,
        "title": system.title,
        "proven": system.proven,
        "bridge": change.after.bridge,
        "jumboMtu": system.mtu,
        "lldp": lldp,
        "vlans": [{"vid": vid, "name": name} for vid, name in change.new_vlans.items()],
        "unusedVlans": str(change.unused),
        "coming": [_interface(i) for i in change.coming],
        "changing": [_change(c) for c in change.changes],
        "going": [_interface(i) for i in change.going],
    }


def _interface(i: Interface) -> dict[str, Any]:
    return {
        "name": i.name,
        "members": list(i.members),
        "channel": i.channel.value,
        "number": i.number,
        "lacpRate": "fast" if i.fast else "slow",
        "tagged": str(i.tagged),
        "native": i.native,
        "vids": str(i.vids),
        "mtu": i.mtu,
        "jumbo": i.mtu > 1500,
        "shared": i.shared,
        "description": i.description,
        "wantedBy": i.wanted_by,
    }


def _change(c: Change) -> dict[str, Any]:
    return {
        **_interface(c.after),
        "add": str(c.add),
        "remove": str(c.remove),
        "nativeBefore": c.before.native,
        "nativeGone": c.native_gone,
        "nativeWasTagged": c.after.native in c.before.tagged,
        "mtuBefore": c.before.mtu,
        "descriptionBefore": c.before.description,
    }


def statements(document: dict[str, Any], template: str, name: str) -> str:
    """The template's text, filled in. Raises ProblemsError that names the template's line."""
    environment = SandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters |= {"vids": _each, "spans": _spans, "numbers": _numbers, "plain_json": _json}
    try:
        return environment.from_string(template).render(document)
    except TemplateError as error:
        line = error.lineno if isinstance(error, TemplateSyntaxError) else _line_of(error)
        raise ProblemsError([_failed(name, line, error.message or type(error).__name__)]) from error
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise ProblemsError([_failed(name, _line_of(error), f"{type(error).__name__}: {error}")]) from error


def _failed(name: str, line: int | None, message: str) -> Problem:
    return Problem(
        code="switch-template",
        message=f"the template fails: {message}",
        hint="`windrow switch config -o json` prints what a template is given",
        file=name,
        line=line,
    )


def _line_of(error: BaseException) -> int | None:
    """Jinja2 gives the frames of a template the file name `<template>` and its lines."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _each(text: str) -> list[int]:
    return list(VidSet.parse(text))


def _spans(text: str) -> list[str]:
    """`100,200-210` -> `["100", "200-210"]`."""
    return [part for part in text.split(",") if part]


def _numbers(text: str) -> list[int | str]:
    """As OpenConfig has a list of VLANs: numbers, and `200..210`."""
    return [part.replace("-", "..") if "-" in part else int(part) for part in _spans(text)]


def _json(value: Any) -> str:
    """Jinja2's own `tojson` is for web pages: it writes `&` and `'` in another way."""
    return json.dumps(value, indent=2)


def table(rows: Iterable[SwitchConfig]) -> list[tuple[str, str, str, str, str, str]]:
    """Switch, interface, ports, for whom, VLANs, channel: what is wanted, one line each."""
    return [
        (
            config.name,
            i.name,
            "+".join(i.members),
            i.wanted_by,
            f"native {i.native}, tagged {i.tagged}" if i.native else f"no untagged, tagged {i.tagged}",
            i.channel.value,
        )
        for config in rows
        for i in config.interfaces
    ]
