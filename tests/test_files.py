"""Names that become paths stay inside of their folder."""

import pytest

from src.errors import UserError
from src.files import resolve_inside


def test_names_stay_inside(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "root2"  # one name begins with the other
    for folder in (root / "a", outside):
        folder.mkdir(parents=True)
    (root / "a" / "in.png").write_bytes(b"")
    (outside / "secret").write_bytes(b"")
    (root / "link_in").symlink_to("a/in.png")
    (root / "link_out").symlink_to(outside / "secret")
    (root / "folder_out").symlink_to(outside)
    (root / "ring").symlink_to("ring")
    for name in ("a/in.png", "a/../a/in.png", "link_in", "not there yet", "ä b=c.png", "..."):
        assert resolve_inside(root, name) == root / name
    for name in (
        "..",
        ".",
        "../root2/secret",
        "a/../../root2/secret",
        str(root / "a"),
        "link_out",
        "folder_out/secret",
    ):
        with pytest.raises(UserError, match="leads out of"):
            resolve_inside(root, name)
    for name in ("", "a\0b", "\ud800", "caf\udce9", "x" * 256, "a/" + "ä" * 128):
        with pytest.raises(UserError, match="no name of a file"):
            resolve_inside(root, name)
