"""What a file is that is not what its name says: from its first bytes, and what to do about it."""

from __future__ import annotations

HEAD_BYTES = 512  # enough for every kind here

# The first bytes of a kind of file, what the file is called, and the next step.
_MAGIC = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the file it stands for",
        "fetch it with git lfs pull",
    ),
    (b"PK\x03\x04", "a ZIP archive", "unpack it"),
    (b"PK\x05\x06", "an empty ZIP archive", "download it again"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it with gunzip"),
    (b"BZh", "compressed by bzip2", "unpack it with bunzip2"),
    (b"\xfd7zXZ\x00", "compressed by xz", "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard", "unpack it with unzstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"%PDF", "a PDF document", "give the file itself"),
)
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257
_PICTURES = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
)


def kind_of(head: bytes, *, wanted: str) -> str | None:
    """What a file is and the next step, as in ``is a ZIP archive; unpack it``; None if that is not known.

    Args:
        head: its first `HEAD_BYTES` bytes, or fewer if there are no more.
        wanted: ``image``, or ``annotations`` for which images are no answer either.
    """
    for magic, name, step in _MAGIC:
        if head.startswith(magic):
            return f"is {name}; {step}"
    if head[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC):
        return "is a tar archive; unpack it"
    if wanted != "image":
        for magic, name in _PICTURES:
            if head.startswith(magic):
                return f"is {name}; give the JSON file of its annotations"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "is an HTML page, as a server answers in place of a file; download the file itself again"
    if text.startswith(b"<?xml"):
        return "is an XML file" + ("" if wanted == "image" else "; convert it to COCO's JSON")
    return None
