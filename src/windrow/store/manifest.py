"""One manifest file: which objects are in it, and its text with some of them changed.

Only the documents that change are written anew. The others, and the comments before and after each
document, stay byte for byte; a file that cannot be edited so is refused, not guessed at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

from windrow.model.lazy import dataclass
from windrow.model.values import Ref
from windrow.model.wire import items_of, json_text, ref_of, yaml_text
from windrow.model.wire.text import Complaint, Tree, plain, trees

Changes = Mapping[Ref, Mapping[str, Any] | None]
"""The new document of an object; None: it is to go."""


@dataclass(frozen=True, slots=True)
class Document:
    tree: Tree
    value: Any

    @property
    def refs(self) -> list[Ref]:
        return [ref for ref, _ in self.objects()]

    def objects(self) -> Iterator[tuple[Ref, Any]]:
        items = items_of(self.value)
        for value in [self.value] if items is None else items:
            if (ref := ref_of(value)) is not None:
                yield ref, value


@dataclass(frozen=True, slots=True)
class Manifest:
    """`complaints`: why it cannot be read to its end; such a file is never edited."""

    text: str
    documents: list[Document] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)

    @classmethod
    def read(cls, text: str) -> Manifest:
        found, complaints = trees(text)
        return cls(text, [Document(tree, plain(tree.root, complaints).value) for tree in found], complaints)

    def objects(self) -> dict[Ref, Any]:
        return {ref: value for document in self.documents for ref, value in document.objects()}

    def edited(self, changes: Changes, *, as_json: bool = False, written: Mapping[Ref, str] = {}) -> str:
        """The text after the changes; empty when no document is left. `written`: new documents as somebody wrote them,
        with their comments. Raises ValueError when reading it again does not give what it should."""
        lines = self.text.splitlines(keepends=True)
        starts = [0, *(d.tree.first for d in self.documents[1:]), len(lines)]
        parts = [
            _document(lines[a:b], a, document, changes, as_json, written)
            for a, b, document in zip(starts, starts[1:], self.documents, strict=False)
        ]
        text = "".join(parts)
        self._verify(text, changes)
        kept = [part for part, document in zip(parts, self.documents, strict=True) if document.value is not None]
        return text if any(kept) else ""

    def _verify(self, text: str, changes: Changes) -> None:
        want = {ref: value for ref, value in self.objects().items() if ref not in changes}
        want |= {ref: dict(value) for ref, value in changes.items() if value is not None and ref in self.objects()}
        again = Manifest.read(text)
        if again.complaints or again.objects() != want:
            raise ValueError("its layout cannot be kept")


def as_written(text: str, document: Mapping[str, Any]) -> str:
    """The text of a document with its comments, if it says just this; else nothing."""
    again = Manifest.read(text) if text else None
    alike = again is not None and not again.complaints and [d.value for d in again.documents] == [document]
    return f"{text.rstrip()}\n" if alike else ""


def _document(
    lines: list[str], offset: int, document: Document, changes: Changes, as_json: bool, written: Mapping[Ref, str]
) -> str:
    if not any(ref in changes for ref in document.refs):
        return "".join(lines)
    value = _changed(document.value, changes)
    if value is None:
        return ""
    own = ref_of(document.value)
    if not as_json and own is not None and own in changes and own in written:
        return f"---\n{written[own]}" if offset or document.tree.explicit else written[own]
    tree = document.tree
    first, last = tree.root.line - offset, tree.last - offset
    head = lines[:first]
    if tree.explicit and tree.root.line == tree.first:
        head.append("---\n")  # the content began on that line
    return "".join([*head, json_text(value) if as_json else yaml_text(value), *lines[last + 1 :]])


def _changed(value: Any, changes: Changes) -> Any:
    items = items_of(value)
    if items is None:
        ref = ref_of(value)
        return changes.get(ref, value) if ref else value
    kept = [new for new in (_changed(item, changes) for item in items) if new is not None]
    return {**value, "items": kept} if kept else None
