"""What is known of one node: what was seen, what differs, what failed; and the verdict on each object."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field
from typing import Any

from windrow.model import names
from windrow.model.agentstatus import AgentStatus, Claim
from windrow.model.host import Observed
from windrow.model.lazy import dataclass
from windrow.model.leases import Asking, Lease
from windrow.model.objects import HostNetworkConfig
from windrow.model.overlay import Start
from windrow.model.pools import Scope
from windrow.model.ports import PortRecord
from windrow.model.problems import Problem, Severity
from windrow.model.steps import Failure, Plan, Unit
from windrow.model.values import IfName, Ref
from windrow.status.routes import Heard


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """`plan`: what is still to do on the node; `problems`: the compiler's; `failures`: of the last run."""

    node: str
    observed: Observed
    plan: Plan = field(default_factory=Plan)
    problems: tuple[Problem, ...] = ()
    failures: tuple[Failure, ...] = ()
    ports: tuple[PortRecord, ...] = ()
    """Whose the ports of its bridges are."""
    leases: Mapping[IfName, Lease] = field(default_factory=dict)
    asking: Mapping[IfName, Asking] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    """Addresses of this host that somebody else says are his."""
    routes: Heard = field(default_factory=Heard)
    """What DHCP servers told of VLANs whose networks wait for that, and which gateways are there, or gone."""
    scopes: tuple[Scope, ...] = ()
    """The address pools, with what the node has recorded of them."""
    tunnel_start: Mapping[int, Start] = field(default_factory=dict)
    """This node's end of an encrypted overlay, by version of IP."""
    agent: AgentStatus | None = None
    """What the agent of the node says that has watched for longer; None: none runs."""

    def verdict(self, about: Ref, links: Iterable[str]) -> Verdict:
        """On an object that wants `links` on this node: the gravest thing there is to say against it."""
        wanted = {IfName(name) for name in links}
        errors = [p for p in self.problems if p.about == about and p.severity is Severity.ERROR]
        if errors:
            return Verdict(ready=False, reason="Invalid", message=errors[0].message, hint=errors[0].hint)
        concerns = about.kind == HostNetworkConfig.KIND
        failed = [f for f in self.failures if f.step.link in wanted or f.step.why == about]
        failed = [f for f in failed if concerns or f.errno != errno.EADDRINUSE]
        if failed:
            words = _together((f.step.link, f.errno, failure_words(f)) for f in failed)
            return Verdict(ready=False, reason=_reason(failed[0].errno), message=words)
        tried = [f for f in self.agent.failures if f.link in wanted or f.about == about] if self.agent else []
        tried = [f for f in tried if concerns or f.errno != errno.EADDRINUSE]
        if tried:
            words = _together((f.link, f.errno, f.message) for f in tried)
            return Verdict(ready=False, reason=_reason(tried[0].errno), message=words, hint=tried[0].hint)
        units = [unit for unit in self.plan.units if wanted & set(unit.links)]
        refusals = [p for unit in units for p in unit.refusals]
        if refusals:
            return Verdict(ready=False, reason="Refused", message=refusals[0].message, hint=refusals[0].hint)
        missing = sorted(name for name in wanted if name not in self.observed.state.links)
        if missing:
            text = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not there"
            return Verdict(ready=False, reason="Missing", message=text, hint="run: windrow apply")
        differing = _differing(units, self._taken - (wanted if concerns else set()))
        if differing:
            text = f"{', '.join(differing)} differ{'s' if len(differing) == 1 else ''} from the manifests"
            return Verdict(ready=False, reason="Drifted", message=text, hint="see: windrow diff; repair: windrow apply")
        return Verdict(ready=True)

    @property
    def _taken(self) -> set[IfName]:
        """The links of which somebody else has an address: that is the trouble of their host network alone."""
        told = self.agent.failures if self.agent else ()
        here = {f.step.link for f in self.failures if f.errno == errno.EADDRINUSE}
        lacking = {claim.link for claim in self.claims if not self._has(claim)}
        return here | lacking | {f.link for f in told if f.errno == errno.EADDRINUSE}

    def _has(self, claim: Claim) -> bool:
        link = self.observed.state.links.get(claim.link)
        addrs = link.addrs or () if link is not None else ()
        return any(address.partition("/")[0] == claim.address for address in addrs)


def _differing(units: Iterable[Unit], taken: Collection[IfName]) -> list[str]:
    deltas = (d for unit in units for d in unit.deltas)
    return sorted({d.link for d in deltas if not (d.link in taken and d.field in ("addrs", "routes"))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Ready or not, and why not; None: not known. As a condition it is Harvester's `ready`."""

    ready: bool | None
    reason: str = ""
    message: str = ""
    hint: str = ""

    def condition(self) -> dict[str, str]:
        found = {"type": "ready", "status": {True: "True", False: "False", None: "Unknown"}[self.ready]}
        more = {"reason": self.reason, "message": self.message}
        return found | {key: value for key, value in more.items() if value}


IN_USE = "AddressInUse"


def _reason(number: int) -> str:
    return IN_USE if number == errno.EADDRINUSE else "Failed"


def _together(failures: Iterable[tuple[IfName, int, str]]) -> str:
    """The words of the first failure; and where somebody has its address, of those whose addresses are taken, too."""
    (link, number, first), *others = failures
    more = [words.removeprefix(f"{on}: ") for on, code, words in others if (on, code) == (link, errno.EADDRINUSE)]
    return "; ".join([first, *more]) if number == errno.EADDRINUSE else first


def failure_words(failure: Failure) -> str:
    """The kernel's own words where it had some, and the errno's; ours where it was not asked."""
    if failure.errno == errno.EADDRINUSE:
        return f"{failure.step.link}: {failure.reason}"
    said = f"{failure.extack} ({failure.reason})" if failure.extack else failure.reason
    return f"{failure.step.link}: {said} [errno {failure.errno}]"


def devices_of(cluster_network: str) -> tuple[str, ...]:
    """What a cluster network needs on a node to be ready."""
    return names.bridge_of(cluster_network), names.bond_of(cluster_network)


def metadata(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, **{key: value for key, value in more.items() if value}}
