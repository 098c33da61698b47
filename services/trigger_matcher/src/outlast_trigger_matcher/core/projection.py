"""What can be said of a condition before the finding and the asset are looked up.
 The projection of a tree on the fields that an event carries itself is true wherever the tree is true,
whatever the look-up will bring. It leaves out the leaves on other fields, and those that ask for the age of
an instant.
"""

from outlast.runbooks.trees import AllOf, AnyOf, Leaf, Node, Not

EARLY_ROOTS = frozenset({"event", "company"})
"""The parts of the payload that enrichment does not touch."""


def project(node: Node) -> Node | None:
    """The weaker tree on early fields; None if nothing remains to be asked."""
    match node:
        case Leaf():
            return node if _is_early(node) else None
        case Not():
            return node if _is_early(node) else None
        case AllOf(children):
            kept = tuple(early for child in children if (early := project(child)) is not None)
            return AllOf(kept) if kept else None
        case AnyOf(children):
            early = [project(child) for child in children]
            whole = tuple(child for child in early if child is not None)
            return AnyOf(whole) if len(whole) == len(early) else None


def _is_early(node: Node) -> bool:
    match node:
        case Leaf():
            return node.steps[0] in EARLY_ROOTS and node.op not in ("older_than", "within_last")
        case Not(child):
            return _is_early(child)
        case AllOf(children) | AnyOf(children):
            return all(map(_is_early, children))
