"""Class folders as ImageNet has them: one folder per class, its images in it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from spinesearch.data.errors import DataError
from spinesearch.data.image_files import IMAGE_SUFFIXES, stored_size
from spinesearch.data.parallel import in_order, num_processors

_TAIL = 4096  # bytes at the end of a file, by which most files of equal length differ
_MAX_THREADS = 16
_REPORT_EVERY = 64  # images
ClassOf = list[tuple[Any, Any]]
"""(image id, category id) of every image."""
Lists = tuple[list[dict[str, Any]], list[dict[str, Any]], ClassOf]
"""COCO's images and categories, and which image is of which category."""


class ImageFile(NamedTuple):
    """An image in a class folder: its name there, its length in bytes, and when it was changed."""

    name: str
    num_bytes: int
    changed_ns: int


class Folder(NamedTuple):
    """A class folder: its name, the number of its class, and its images by name."""

    name: str
    label: int
    files: tuple[ImageFile, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassFolders:
    """The class folders in a folder.

    Attributes:
        root: it.
        setting: that names it.
        folders: by name, each with an image.
        names: of all classes, by label; those of the training images may be more than there are folders.
    """

    root: Path
    setting: str
    folders: tuple[Folder, ...]
    names: tuple[str, ...]

    def state(self) -> tuple[object, ...]:
        """All that the annotations depend on, as long as a file that changes gets another length or time."""
        return os.path.realpath(self.root), self.names, self.folders

    def lists(self, progress: Callable[[str, int, int], None]) -> Lists:
        """What COCO's annotations of these images are made of, sizes as their files say.

        Raises:
            DataError: an image lies in two folders.
        """
        files = [(folder, file) for folder in self.folders for file in folder.files]
        _check_no_twins(self, files, progress)

        def record(i: int) -> dict[str, Any]:
            folder, file = files[i]
            name = f"{folder.name}/{file.name}"
            size = stored_size(self.root / name)
            sides = {} if size is None else {"width": size.width, "height": size.height}
            return {"id": i + 1, "file_name": name, **sides}

        images = []
        for image in in_order(record, range(len(files)), num_threads=min(num_processors(), _MAX_THREADS)):
            images.append(image)
            _tell(progress, "reading image sizes", len(images), len(files))
        categories = [{"id": label, "name": name} for label, name in enumerate(self.names, start=1)]
        return images, categories, [(i, folder.label + 1) for i, (folder, _) in enumerate(files, start=1)]


def list_folders(root: Path, setting: str, *, known: Sequence[str] | None = None) -> ClassFolders:
    """The class folders in a folder, and their images; what begins with a dot is passed over.

    Args:
        root: the folder.
        setting: that names it, for messages.
        known: names of the classes, by label, where other folders have numbered them; None to number these
            folders by name.

    Raises:
        DataError: there is no such folder, none in it, one without images, or one of an unknown class.
    """
    try:
        paths = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"{setting}: {root}: cannot be read ({error.strerror}); give the folder of the class folders"
        ) from error
    if not paths:
        raise DataError(f"{setting}: {root} holds no folder; give one with a folder of images for each class")
    names = tuple(path.name for path in paths) if known is None else tuple(known)
    if unknown := [path.name for path in paths if path.name not in names]:
        raise DataError(
            f"{setting}: {root} has the class folder {unknown[0]!r}, which data.train_images has not"
            f"{_alike(unknown)}; give both the same classes"
        )
    folders = tuple(Folder(path.name, names.index(path.name), _images(path)) for path in paths)
    if empty := [folder.name for folder in folders if not folder.files]:
        raise DataError(
            f"{setting}: the class folder {root / empty[0]} holds no image ({', '.join(IMAGE_SUFFIXES)})"
            f"{_alike(empty)}; put its images there, or remove the folder"
        )
    return ClassFolders(root=root, setting=setting, folders=folders, names=names)


def _alike(names: Sequence[str]) -> str:
    return f" ({len(names)} folders are like it)" if len(names) > 1 else ""


def _images(folder: Path) -> tuple[ImageFile, ...]:
    found = []
    for path in folder.iterdir():
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        try:
            status = path.stat()
        except OSError:  # such as a dangling link, which is reported by what reads the pixels
            found.append(ImageFile(path.name, 0, 0))
        else:
            if not stat.S_ISDIR(status.st_mode):
                found.append(ImageFile(path.name, status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def _check_no_twins(
    classes: ClassFolders,
    files: Collection[tuple[Folder, ImageFile]],
    progress: Callable[[str, int, int], None],
) -> None:
    """Raises `DataError` if files in different class folders have the same bytes."""
    alike: dict[tuple[int, bytes], list[tuple[Folder, Path]]] = defaultdict(list)
    for done, (folder, file) in enumerate(files, start=1):
        path = classes.root / folder.name / file.name
        if file.num_bytes:  # an empty one is reported by what reads the pixels
            alike[file.num_bytes, _tail(path)].append((folder, path))
        _tell(progress, "looking for images in two folders", done, len(files))
    for candidates in alike.values():
        seen: dict[bytes, tuple[Folder, Path]] = {}
        if len({folder.name for folder, _ in candidates}) == 1:
            continue
        for folder, path in candidates:
            first, other = seen.setdefault(_digest(path), (folder, path))
            if first is not folder:
                raise DataError(
                    f"{classes.setting}: {other} and {path} are the same image in two class folders; an "
                    "image has one class: remove it from the wrong folder"
                )


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return hashlib.blake2b(file.read(), digest_size=16).digest()


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _tell(progress: Callable[[str, int, int], None], what: str, done: int, total: int) -> None:
    if done % _REPORT_EVERY == 0 or done == total:
        progress(what, done, total)
