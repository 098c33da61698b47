"""What saving a document would change."""

import pytest

from outlast_control_plane.core.change import Change, Current, change_of, difference


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        (None, Change.CREATE),
        (Current(1, "a", False), Change.UNCHANGED),
        (Current(1, "b", False), Change.UPDATE),
        (Current(1, "a", True), Change.CREATE),
    ],
)
def test_only_another_document_is_a_new_version_and_a_deleted_one_comes_back(
    current: Current | None, expected: Change
) -> None:
    assert change_of(current, "a") is expected


def test_a_difference_names_both_sides_and_equal_texts_have_none() -> None:
    assert difference("a\nb\n", "a\nc\n", "version 1", "version 2").splitlines() == [
        "--- version 1", "+++ version 2", "@@ -1,2 +1,2 @@", " a", "-b", "+c",
    ]  # fmt: skip
    assert difference("a", "a", "1", "2") == ""
