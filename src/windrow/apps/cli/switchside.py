"""What `windrow switch` goes by: the manifests, the cabling file, and what was heard of the switches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path

from windrow.apps.cli.output import aside
from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored, wish_for
from windrow.diagnose import diagnose
from windrow.model.cluster import Cluster
from windrow.model.evidence import Evidence, Leg, NicEvidence, NodeEvidence
from windrow.model.findings import Finding, Reason
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem, ProblemsError, WindrowError
from windrow.model.values import VidSet
from windrow.model.wire.evidence import read_evidence
from windrow.model.wire.text import Complaint, plain, trees
from windrow.netlink.errors import NoPermission
from windrow.store.named import read_named
from windrow.switches.cabling import Cabling, merged, read_cabling, seen_cabling
from windrow.switches.wanted import Cards, Needs, needs_of

CABLING = "etc/windrow/cabling.yaml"
"""Below the root: read where no file is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where things are known from; None: from the usual file, if it is there, and from whoever knows on this host.
    `skipped`: VLANs that are not to be probed."""

    cabling: Path | None = None
    evidence: Path | None = None
    skipped: Mapping[str, VidSet] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """`before`: the stored manifests; `after`: with those of `-f`."""

    before: Cluster
    after: Cluster
    needs_before: Needs
    needs: Needs
    cabling: Cabling
    evidence: Evidence
    missing: Mapping[Leg, VidSet]
    """What probes found to be missing on the port of each NIC that they tell of."""


def side_of(session: Session, places: Sequence[str], sources: Sources, *, lately: bool = False) -> Side:
    """All of it together. `lately`: what the switches do now is asked for, not only which port is which. Raises
    ProblemsError, WindrowError."""
    before, _ = stored(session)
    wish = wish_for(places)
    if wish.problems:
        raise ProblemsError(wish.problems)
    after = wish.after(before)
    file = _file(session, sources.cabling)
    heard = _heard(session, sources, asked=lately or not file.switches)
    nodes, cards = (session.node, *heard.nodes), _cards(heard)
    needs_before = needs_of(before, nodes, cards)
    return Side(
        before=before,
        after=after,
        needs_before=needs_before,
        needs=needs_of(after, nodes, cards),
        cabling=merged(file, seen_cabling(heard)),
        evidence=heard,
        missing=_missing(before, needs_before, heard),
    )


_MISSING = frozenset({Reason.VLAN_MISSING, Reason.NOTHING_PASSES, Reason.ACCESS_PORT, Reason.VLAN_NOT_CREATED})


def _missing(cluster: Cluster, needs: Needs, evidence: Evidence) -> dict[Leg, VidSet]:
    """Of NICs of which another node hears, or could hear."""
    probing = {(name, nic.cluster_network) for name, node in evidence.nodes.items() for nic in _probing(node)}
    found: dict[Leg, VidSet] = {}
    for wanted in needs.wanted:
        if any(network == wanted.cluster_network and node != wanted.node for node, network in probing):
            found |= dict.fromkeys(wanted.legs, VidSet())
    for one in diagnose(cluster, evidence) if found else ():
        for port in one.fix.ports if one.reason in _MISSING else ():
            if port.leg in found:
                found[port.leg] |= one.vids or port.tagged
    return found


def _probing(node: NodeEvidence) -> Iterator[NicEvidence]:
    return (node.nics[nic] for nic, vids in node.probed.items() if vids and nic in node.nics)


def _heard(session: Session, sources: Sources, *, asked: bool) -> Evidence:
    """From the file; else, where it is asked for, from who knows it on this host."""
    if sources.evidence is not None:
        return evidence_from(sources.evidence)
    if not asked:
        return Evidence()
    from windrow.apps.cli.hearing import hear  # with all that probes need

    aside("asking what the switches show: a file with that of a check is taken with --evidence")
    try:
        return hear(session, sources.skipped).evidence
    except NoPermission as error:  # a cabling file, or the whole configuration, needs no right
        aside(f"nothing could be asked: {error}")
        return Evidence()


def cabling_of(session: Session, evidence: Evidence) -> Cabling:
    """The cabling file, if there is one that can be read, with what LLDP shows."""
    seen = seen_cabling(evidence)
    try:
        return merged(_file(session, None), seen)
    except WindrowError:  # `windrow switch` says what is wrong with it
        return seen


def statement_lines(found: Iterable[Finding], cabling: Cabling) -> Iterator[str]:
    """The commands that print what the switches of these findings have to be told."""
    legs = dict.fromkeys(port.leg for one in found for port in one.fix.ports)
    places = [cabling.where(leg) for leg in legs]
    for name in sorted({place[0].name for place in places if place is not None}):
        yield f"statements: windrow switch config --switch {name} --delta"


def _cards(evidence: Evidence) -> Cards:
    return {node.node: {nic.mac: nic.name for nic in node.nics.values()} for node in evidence.nodes.values()}


def cabled(root: Path, given: Path | None) -> Cabling:
    """The cabling file, for a shell that completes: empty where there is something wrong."""
    try:
        return _read(given or root / CABLING)
    except WindrowError:
        return Cabling()


def _file(session: Session, given: Path | None) -> Cabling:
    try:
        return _read(given or session.root / CABLING)
    except FileMissing:
        if given is not None:
            raise
        return Cabling()


class FileMissing(WindrowError):
    """There is no such file."""


def _read(path: Path) -> Cabling:
    try:
        text = read_named(path).decode("utf-8")
    except FileNotFoundError as error:
        raise FileMissing(f"cannot read {path}: {error.strerror}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this is not UTF-8"
        raise WindrowError(f"cannot read {path}: {reason}") from error
    found_trees, complaints = trees(text)
    document = plain(found_trees[0].root, complaints) if found_trees else None
    if len(found_trees) > 1:
        more = "there are several documents in this file, and a cabling file is one"
        complaints.append(Complaint("cabling", more, "put all switches into one list", line=found_trees[1].first + 1))
    if complaints:
        raise ProblemsError(
            Problem(code=c.code, message=c.message, hint=c.hint, file=str(path), line=c.line) for c in complaints
        )
    lines = document.lines if document else {}
    found = read_cabling(document.value if document else None, str(path), lines)
    if found.problems:
        raise ProblemsError(found.problems)
    return found


def evidence_from(path: Path) -> Evidence:
    """A file with what `windrow check -o json` printed. Raises WindrowError."""
    try:
        document = json.loads(read_named(path))
        return read_evidence(document.get("evidence", document) if isinstance(document, dict) else document)
    except OSError as error:
        raise WindrowError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise WindrowError(f"{path} is not what `windrow check -o json` prints: {error}") from error
