"""What `windrow switch` goes by: the manifests, the cabling file, and what was heard of the switches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from windrow.apps.cli.session import Session
from windrow.apps.cli.situation import stored, wish_for
from windrow.model.cluster import Cluster
from windrow.model.evidence import Evidence
from windrow.model.lazy import dataclass
from windrow.model.problems import Problem, ProblemsError, WindrowError
from windrow.model.wire.evidence import read_evidence
from windrow.model.wire.text import plain, trees
from windrow.switches.cabling import Cabling, merged, read_cabling, seen_cabling
from windrow.switches.wanted import Cards, Needs, needs_of

CABLING = "etc/windrow/cabling.yaml"
"""Below the root: read where no file is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """`before`: the stored manifests; `after`: with those of `-f`."""

    before: Cluster
    after: Cluster
    needs_before: Needs
    needs: Needs
    cabling: Cabling
    evidence: Evidence


def side_of(
    session: Session, places: Sequence[str], cabling: Path | None, evidence: Path | None, *, only: str = ""
) -> Side:
    """All of it together. `only`: of this node. Raises ProblemsError, WindrowError."""
    before, _ = stored(session)
    wish = wish_for(places)
    if wish.problems:
        raise ProblemsError(wish.problems)
    after = wish.after(before)
    heard = evidence_from(evidence) if evidence else Evidence()
    nodes, cards = (session.node, *heard.nodes), _cards(heard)
    return Side(
        before=before,
        after=after,
        needs_before=_only(needs_of(before, nodes, cards), only),
        needs=_only(needs_of(after, nodes, cards), only),
        cabling=merged(_file(session, cabling), seen_cabling(heard)),
        evidence=heard,
    )


def _only(needs: Needs, node: str) -> Needs:
    if not node:
        return needs
    wanted = tuple(w for w in needs.wanted if w.node == node)
    if not wanted:
        there = sorted({w.node for w in needs.wanted})
        known = f"there are {', '.join(there)}" if there else "no VlanConfig selects a node"
        raise WindrowError(f"no cluster network has an uplink on a node {node!r}\n    hint: {known}")
    return Needs(wanted=wanted, problems=needs.problems)


def _cards(evidence: Evidence) -> Cards:
    return {node.node: {nic.mac: nic.name for nic in node.nics.values()} for node in evidence.nodes.values()}


def _file(session: Session, given: Path | None) -> Cabling:
    path = given or session.root / CABLING
    if given is None and not path.exists():
        return Cabling()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this is not UTF-8"
        raise WindrowError(f"cannot read {path}: {reason}") from error
    found_trees, complaints = trees(text)
    document = plain(found_trees[0].root, complaints) if found_trees else None
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
        document = json.loads(path.read_text(encoding="utf-8"))
        return read_evidence(document.get("evidence", document) if isinstance(document, dict) else document)
    except OSError as error:
        raise WindrowError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise WindrowError(f"{path} is not what `windrow check -o json` prints: {error}") from error
