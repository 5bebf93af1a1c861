"""A change of a switch's configuration as one document, and as the statements of its system (Jinja2 templates)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from windrow.model.problems import Problem, ProblemsError
from windrow.model.values import MTU_DEFAULT, VidSet
from windrow.switches.config import Change, Interface, SwitchChange
from windrow.switches.systems import SYSTEMS


def document_of(change: SwitchChange, *, lldp: bool = False) -> dict[str, Any]:
    """What templates are fed with, and what `-o json` prints. VLAN sets are texts: `100,200-210`. `memberships`: the
    ports that get into each VLAN, for systems on which a VLAN has ports and not a port VLANs."""
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
        "highestChannel": max((i.number for c in (change.before, change.after) for i in c.interfaces), default=0),
        "going": [_interface(i) for i in change.going],
        "coming": [_coming(i, change.going) for i in change.coming],
        "changing": [_change(c) for c in change.changes],
        "memberships": _memberships(change),
    }


def _interface(i: Interface) -> dict[str, Any]:
    return {
        "name": i.name,
        "members": list(i.members),
        "channel": i.channel.value,
        "number": i.number,
        "lacpRate": _rate(i),
        "tagged": str(i.tagged),
        "native": i.native,
        "vids": str(i.vids),
        "mtu": i.mtu,
        "jumbo": i.mtu > MTU_DEFAULT,
        "shared": i.shared,
        "description": i.description,
        "wantedBy": i.wanted_by,
    }


def _rate(i: Interface) -> str:
    return "fast" if i.fast else "slow"


def _coming(i: Interface, going: Iterable[Interface]) -> dict[str, Any]:
    """`replaces`: interfaces that go, and of which it has the name or a port: until it is there, nothing passes."""
    replaced = [gone.name for gone in going if gone.name == i.name or set(gone.members) & set(i.members)]
    return {**_interface(i), "replaces": replaced}


def _change(c: Change) -> dict[str, Any]:
    return {
        **_interface(c.after),
        "add": str(c.add),
        "remove": str(c.remove),
        "taggedBefore": str(c.before.tagged),
        "nativeBefore": c.before.native,
        "nativeGone": c.native_gone,
        "nativeWasTagged": c.after.native in c.before.tagged,
        "mtuBefore": c.before.mtu,
        "lacpRateBefore": _rate(c.before),
        "membersAdded": list(c.members_added),
        "membersRemoved": list(c.members_removed),
        "descriptionBefore": c.before.description,
    }


def _memberships(change: SwitchChange) -> list[dict[str, Any]]:
    new = change.new_vlans
    gets = [(i.name, i.tagged, i.native) for i in change.coming]
    gets += [(c.after.name, c.add, c.after.native * (c.after.native != c.before.native)) for c in change.changes]
    return [
        {
            "vid": vid,
            "created": vid in new,
            "tagged": [name for name, tagged, _ in gets if vid in tagged],
            "untagged": [name for name, _, native in gets if vid == native],
        }
        for vid in sorted({vid for _, tagged, native in gets for vid in (*tagged, native)} - {0})
    ]


def statements(document: dict[str, Any], template: str, name: str) -> str:
    """The template's text, filled in. Raises ProblemsError that names the template's line."""
    try:
        return _compiled(template).render(document)
    except TemplateError as error:
        line = error.lineno if isinstance(error, TemplateSyntaxError) else _line_of(error)
        raise ProblemsError([_failed(name, line, error.message or type(error).__name__)]) from error
    except Exception as error:  # whatever a user's template brings about, down to RecursionError
        raise ProblemsError([_failed(name, _line_of(error), f"{type(error).__name__}: {error}")]) from error


@lru_cache(maxsize=len(SYSTEMS))
def _compiled(template: str) -> Template:
    """Once for all switches of a system: it takes longer than all that is filled in."""
    environment = SandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters |= {
        "vids": _each,
        "minus": _minus,
        "spans": _spans,
        "numbers": _numbers,
        "plain_json": _json,
    }
    return environment.from_string(template)


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


def _minus(text: str | int, others: str | int) -> str:
    return str(VidSet.parse(str(text)) - VidSet.parse(str(others)))


def _spans(text: str) -> list[str]:
    """`100,200-210` -> `["100", "200-210"]`."""
    return [part for part in text.split(",") if part]


def _numbers(text: str) -> list[int | str]:
    """As OpenConfig has a list of VLANs: numbers, and `200..210`."""
    return [part.replace("-", "..") if "-" in part else int(part) for part in _spans(text)]


def _json(value: Any) -> str:
    """Jinja2's own `tojson` is for web pages: it writes `&` and `'` in another way."""
    return json.dumps(value, indent=2)


def beside(document: Mapping[str, Any]) -> Iterator[str]:
    """What JSON has no place for: it cannot say that nobody tried it, nor what is to be deleted."""
    if SYSTEMS[document["system"]].file != "json":
        return
    yield f"{document['title']}: {document['switch']}. Not run on such a switch: read it before you send it."
    if paths := list(_deleted(document)):
        yield f"To be deleted, which this JSON cannot say: {' '.join(paths)}"
    if any(i["remove"] or i["nativeGone"] for i in document["changing"]):
        yield "Send each switched-vlan/config as a replacement: merged into what is there, no VLAN would go."


def _deleted(document: Mapping[str, Any]) -> Iterator[str]:
    for i in document["going"]:
        yield f"/stp/interfaces/interface[name={i['name']}]"
        if i["channel"] == "none":
            yield f"/interfaces/interface[name={i['name']}]/ethernet/switched-vlan"
            continue
        if i["channel"] == "lacp":
            yield f"/lacp/interfaces/interface[name={i['name']}]"
        yield from map(_membership, i["members"])
        yield f"/interfaces/interface[name={i['name']}]"
    for i in document["changing"]:
        yield from map(_membership, i["membersRemoved"])


def _membership(port: str) -> str:
    return f"/interfaces/interface[name={port}]/ethernet/config/aggregate-id"
