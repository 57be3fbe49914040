"""Text that others chose, such as a file's name, made safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` on one line, with escapes for control characters, for marks that turn the direction of writing, and for
    what is no text at all, so that it can neither steer a terminal nor pass for another line.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
