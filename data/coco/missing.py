"""Which image files are there; and of those that are not, what they have in common and what to set."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt

from spinesearch.data.coco.dataset import CocoDataset
from spinesearch.data.coco.records import short
from spinesearch.data.errors import DataError
from spinesearch.data.file_kind import HEAD_BYTES, kind_of
from spinesearch.data.ragged import Ragged

_SAMPLE = 20  # missing files that an explanation has to find
_MAX_ENTRIES = 10_000  # of the images folder, that are looked at
_MAX_SUBFOLDERS = 50  # of the images folder, that are searched
_NUM_PARENTS = 3  # of the images folder, that are searched
TRAIN_IMAGES = "data.train_images"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")

Rename = Callable[[str], str]


def file_stats(
    images_dir: Path, names: Ragged[np.uint8], setting: str = TRAIN_IMAGES
) -> npt.NDArray[np.int64]:
    """Bytes and time of last change (ns) of every image file, int64 `[N, 2]`; -1 where there is none.

    Args:
        images_dir: the folder of the images.
        names: of the files in it, N of them.
        setting: that names the folder, for messages.

    Raises:
        DataError: there is no such folder.
    """
    _check_folder(images_dir, setting)
    stats = np.full((len(names), 2), -1, np.int64)
    folder = os.fsencode(images_dir)
    for i, name in enumerate(names):
        try:
            stat = os.stat(os.path.join(folder, name.tobytes()))
        except (OSError, ValueError):  # ValueError: a name no file can have
            continue
        stats[i] = stat.st_size, stat.st_mtime_ns
    return stats


def check_none_missing(
    dataset: CocoDataset,
    stats: npt.NDArray[np.int64],
    *,
    skip_broken: bool = False,
    setting: str = TRAIN_IMAGES,
) -> None:
    """Raises `DataError` if an image of the data set has no file, by its `file_stats`.

    Args:
        dataset: N images.
        stats: `[N, 2]`.
        skip_broken: missing images are fine unless all are.
        setting: that names the folder of the images.
    """
    missing = np.flatnonzero(stats[:, 0] < 0)
    if len(missing) == 0 or (skip_broken and len(missing) < len(stats)):
        return
    names = [dataset.images[i].file_name for i in missing]
    present = [dataset.images[i].file_name for i in np.flatnonzero(stats[:, 0] >= 0)[:_SAMPLE]]
    advice = explanation(dataset.images_dir, names, setting, present) or (
        f"fetch the files, set {setting} to the folder they are in, or set data.skip_broken=true to leave "
        "these images out"
    )
    raise DataError(
        f"images folder {dataset.images_dir}: {short(names[0])} is missing ({len(missing)} of {len(stats)} "
        f"images of {dataset.annotations_path} are{_reason(dataset.images_dir, names[0])}); {advice}"
    )


def explanation(
    images_dir: Path, missing: list[str], setting: str = TRAIN_IMAGES, present: Sequence[str] = ()
) -> str | None:
    """What is wrong with the names or the folder, and the next step, where it is so with all; else None.

    Args:
        images_dir: the folder of the images, which is there.
        missing: names of files that are not in it.
        setting: that names the folder.
        present: names of files that are in it, which another folder would have to hold too.
    """
    index = np.unique(np.linspace(0, len(missing) - 1, min(len(missing), _SAMPLE)).astype(int))
    sample = [missing[i] for i in index]
    for problem, step, rename in _renames(sample):
        try:
            renamed = [rename(name) for name in sample]
        except ValueError:  # half of a surrogate pair
            continue
        for folder in _folders(images_dir, renamed[0]):
            if problem is None and folder == images_dir:
                continue
            if folder != images_dir and not all(_is_file(folder / name) for name in present):
                continue
            if all(_is_file(folder / name) for name in renamed):
                parts = [problem] if problem is not None else []
                steps = [step] if step is not None else []
                if folder != images_dir:
                    parts.append(f"the names are relative to {folder}")
                    steps.append(f"set {setting}={folder}")
                return f"{' and '.join(parts)}; {' and '.join(steps)}"
    return None


def _with_suffix(suffix: str, name: str) -> str:
    return os.path.splitext(name)[0] + suffix


def _renames(sample: list[str]) -> Iterator[tuple[str | None, str | None, Rename]]:
    """Ways in which names differ from those of the files: what is wrong, the next step, the right name."""
    correct = "correct file_name in the annotations"
    yield None, None, lambda name: name
    yield "the names are percent-encoded and the files are not", correct, unquote
    yield "the files are percent-encoded and the names are not", correct, quote
    for suffix in _SUFFIXES:
        old = PurePosixPath(sample[0]).suffix
        if suffix != old:
            yield (
                f"the names end in {old!r} and the files in {suffix!r}",
                correct,
                partial(_with_suffix, suffix),
            )
    yield "the names differ in case from the files", correct, str.lower
    yield "the names differ in case from the files", correct, str.upper
    for form in ("NFC", "NFD"):
        yield (
            f"the names hold accents in another Unicode form than the files ({form})",
            correct,
            partial(unicodedata.normalize, form),
        )
    folder = PurePosixPath(sample[0].replace("\\", "/")).parent
    yield (
        f"the names begin with a folder that is missing ({folder})",
        "remove it from file_name in the annotations",
        lambda name: PurePosixPath(name.replace("\\", "/")).name,
    )


def _folders(images_dir: Path, name: str) -> Iterator[Path]:
    """Folders that names may be relative to: the given one, those it lies in, those that lie in it."""
    yield images_dir
    yield from islice(images_dir.absolute().parents, _NUM_PARENTS)
    try:
        with os.scandir(images_dir) as found:
            entries = sorted(entry.path for entry in islice(found, _MAX_ENTRIES) if entry.is_dir())
    except OSError:
        return
    for path in entries[:_MAX_SUBFOLDERS]:
        if _is_file(Path(path) / name):
            yield Path(path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _check_folder(images_dir: Path, setting: str) -> None:
    try:
        if images_dir.is_dir():
            if os.access(images_dir, os.X_OK):
                return
            reason = "cannot be read (Permission denied)"
        else:
            reason = (images_dir.is_file() and _kind(images_dir)) or "is not a folder"
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
    raise DataError(
        f"images folder {images_dir}: {reason}; "
        f"set {setting} to the folder with the images of the annotations"
    )


def _kind(path: Path) -> str | None:
    """What a file is that is given for the folder, such as the archive it was downloaded as."""
    with path.open("rb") as file:
        return kind_of(file.read(HEAD_BYTES), wanted="image")


def _reason(images_dir: Path, name: str) -> str:
    """Why a file cannot be looked at, where the reason is another than that it is not there."""
    try:
        os.stat(images_dir / name)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f": {getattr(error, 'strerror', None) or error}"
    return ""
