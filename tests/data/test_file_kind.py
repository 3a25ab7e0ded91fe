"""Files that are not what they are given for: what they are is stated."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable

import pytest
from PIL import Image

from spinesearch.data.coco.read import load_coco
from spinesearch.data.errors import DataError
from spinesearch.data.file_kind import HEAD_BYTES, kind_of


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("instances.json", content)
    return buffer.getvalue()


def tarred(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        member = tarfile.TarInfo("instances.json")
        member.size = len(content)
        file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def picture(content: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    return buffer.getvalue()


KINDS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "gzip": (gzip.compress, "is compressed by gzip; unpack it with gunzip"),
    "bzip2": (bz2.compress, "is compressed by bzip2; unpack it with bunzip2"),
    "xz": (lzma.compress, "is compressed by xz; unpack it with unxz"),
    "zip": (zipped, "is a ZIP archive; unpack it"),
    "tar": (tarred, "is a tar archive; unpack it"),
    "lfs": (
        lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
        "is a Git LFS pointer, not the file it stands for; fetch it with git lfs pull",
    ),
    "html": (
        lambda content: b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>",
        "is an HTML page, as a server answers in place of a file; download the file itself again",
    ),
    "xml": (
        lambda content: b"<?xml version='1.0'?><annotation/>",
        "is an XML file; convert it to COCO's JSON",
    ),
    "image": (picture, "is a PNG image; give the JSON file of its annotations"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_annotations_that_are_something_else(tiny_coco, kind: str) -> None:
    tiny_coco.save()
    make, said = KINDS[kind]
    tiny_coco.path.write_bytes(make(tiny_coco.path.read_bytes()))
    with pytest.raises(DataError) as error:
        load_coco(tiny_coco.images_dir, tiny_coco.path)
    assert str(error.value) == f"annotation file {tiny_coco.path}: {said}"


def test_an_image_is_what_is_wanted_of_an_image() -> None:
    assert kind_of(picture(b""), wanted="image") is None
    assert kind_of(b"", wanted="image") is None
    assert len(tarred(b"x")[:HEAD_BYTES]) > 262
