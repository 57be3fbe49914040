"""What a run keeps of the code that made it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from src.tracking import provenance
from src.tracking.provenance import uncommitted_changes


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    return subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    git(root, "init", "--quiet")
    (root / ".gitignore").write_text("ignored\n")
    (root / "kept.py").write_bytes("größe = 1\n".encode("latin-1"))
    (root / "image.png").write_bytes(bytes(range(256)))
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "first")
    return root


def test_a_patch_makes_the_working_tree_again(tree: Path, tmp_path: Path) -> None:
    assert uncommitted_changes(tree) == b""
    (tree / "kept.py").write_bytes("größe = 2\n".encode("latin-1"))
    (tree / "image.png").write_bytes(bytes(range(255, -1, -1)))
    (tree / "new").mkdir()
    (tree / "new" / "a [b] ü.py").write_text("1\n")
    (tree / "ignored").write_text("no part of it")
    status = git(tree, "status", "--porcelain")
    patch = tmp_path / "uncommitted.patch"
    patch.write_bytes(uncommitted_changes(tree))
    assert git(tree, "status", "--porcelain") == status
    git(tmp_path, "clone", "--quiet", str(tree), "again")
    git(tmp_path / "again", "apply", str(patch))
    for name in ("kept.py", "image.png", "new/a [b] ü.py"):
        assert (tmp_path / "again" / name).read_bytes() == (tree / name).read_bytes()
    assert not (tmp_path / "again" / "ignored").exists()


def test_new_files_are_in_a_patch_as_far_as_there_is_room(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "MAX_NEW_BYTES", 1000)
    (tree / "small.py").write_text("1\n")
    (tree / "large.bin").write_bytes(os.urandom(999))
    patch = tmp_path / "uncommitted.patch"
    patch.write_bytes(uncommitted_changes(tree))
    assert patch.read_text().startswith("new files that are not in this patch: 1, 'large.bin' among them\n")
    git(tmp_path, "clone", "--quiet", str(tree), "again")
    git(tmp_path / "again", "apply", str(patch))
    assert (tmp_path / "again" / "small.py").exists()
    assert not (tmp_path / "again" / "large.bin").exists()


def test_where_there_is_no_git_there_is_no_patch(tmp_path: Path) -> None:
    assert uncommitted_changes(tmp_path) == b""
