"""Something is broken on a switch, and Windrow finds it: `windrow check` on all nodes at once, before, with the fault,
and after the switch was told what `windrow switch config` prints. Windrow is used as people use it, as a command."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from threading import Thread
from typing import Any

from windrow.lab.errors import LabError
from windrow.lab.guest.run import run_in
from windrow.lab.scenario import SwitchFault
from windrow.lab.verdict import Verdict
from windrow.lab.world import World

HEALTHY, FINDINGS = 0, 1
LOCATED = ("--for", "9s")
"""A sweep, the doubt about it, and a sweep of all legs; where all is well, a check ends by itself."""
NOTE = "note"


def switch_fault(check: SwitchFault, world: World) -> Verdict:
    """Raises LabError."""
    end = check.end
    before = _checked(world)
    if wrong := _alarms(before):
        return False, f"before anything is broken, it finds {wrong}", {}
    name = world.break_port(end.device, end.port, tuple(check.fault.split()))
    told = _checked(world, *LOCATED)
    node, found = next(iter(told.items()))
    measured = {"findings": found["findings"], "statements": ""}
    if [_words(one) for one in _real(found)] != [check.finds]:
        return False, f"{name} on {end}: it finds {_alarms(told) or 'nothing'}, and not {check.finds}", measured
    statements = _statements(world, node, found, end.device)
    code, _, refused = run_in(world.place(end.device), ["sh", "-ec", statements])
    if code:
        return False, f"the switch refuses the statements: {refused.strip()}\n{statements}", measured
    if wrong := _alarms(_checked(world)):
        return False, f"after the statements it still finds {wrong}:\n{statements}", measured
    return True, "\n".join(_story(name, check, found, statements)), {**measured, "statements": statements}


def _story(name: str, check: SwitchFault, found: Mapping[str, Any], statements: str) -> Iterator[str]:
    (one,) = _real(found)
    yield f"broken: {name} on {check.end}"
    yield f"found:  {one['message']} ({one['reason']}, {one['certainty']})"
    yield f"fix:    {one['fix']['words']}"
    yield from (f"told:   {line}" for line in statements.splitlines() if line and not line.startswith("#"))
    yield "after:  nothing is found"


def _checked(world: World, *more: str) -> dict[str, Mapping[str, Any]]:
    """What each node says."""
    nodes = [node.name for node in world.scenario.nodes]
    argv = ["windrow", "check", "-o", "json", *more]
    answers: dict[str, tuple[int, str, str]] = {}

    def one(node: str) -> None:
        answers[node] = run_in(world.place(node), argv)

    threads = [Thread(target=one, args=(node,)) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found: dict[str, Mapping[str, Any]] = {}
    for node in nodes:
        code, out, wrong = answers.get(node, (127, "", "it could not be started"))
        if code not in (HEALTHY, FINDINGS):
            raise LabError(f"`windrow check` on {node} ends with {code}: {wrong.strip() or out.strip()}")
        found[node] = json.loads(out)
    return found


def _real(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in found["findings"] if one["grade"] != NOTE]


def _alarms(told: Mapping[str, Mapping[str, Any]]) -> str:
    """On whichever node; empty where all say that all is well."""
    words = {_words(one) for found in told.values() for one in _real(found)}
    words |= {f"what the table of {node} has" for node, found in told.items() if found["result"] != "healthy"}
    return ", ".join(sorted(words)) if any(found["result"] != "healthy" for found in told.values()) else ""


def _words(finding: Mapping[str, Any]) -> str:
    """`VlanMissing 100 at p3 of sw-oob`."""
    return " ".join(filter(None, [finding["reason"], finding["vlans"], "at", finding["place"]]))


def _statements(world: World, node: str, found: Mapping[str, Any], switch: str) -> str:
    """What the switch has to be told, by what was found."""
    evidence = world.root(node) / "check.json"
    evidence.write_text(json.dumps(found))
    argv = ["windrow", "switch", "config", "--format", "linux", "--switch", switch, "--delta"]
    code, out, wrong = run_in(world.place(node), [*argv, "--evidence", str(evidence)])
    evidence.unlink()
    if code:
        raise LabError(f"`windrow switch config` ends with {code}: {wrong.strip()}")
    return out
