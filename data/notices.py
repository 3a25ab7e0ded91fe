"""Reports on a data set of one line each: what is left out, grouped or alike; once per process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from spinesearch.data.pack.array_folder import open_array
from spinesearch.data.pack.pack import Pack
from spinesearch.data.pack.thumbnails import packed_thumbnails
from spinesearch.data.split.group_rule import PICTURE_FIELD, GroupRule
from spinesearch.data.split.held_out import Groups, in_group_of_several
from spinesearch.data.split.similar import find_similar

Report = Callable[[str], None]
Progress = Callable[[int, int], None]
Index = npt.NDArray[np.int64]
_Part = tuple[Pack, Index, npt.NDArray[np.uint8]]  # images of a pack at these positions, their thumbnails

_MANY_CROWDS = 0.05  # share of the objects; COCO's is 0.012

_reported: set[str] = set()


def warn_of_what_is_left_out(pack: Pack, warn: Report) -> None:
    """Warns of what was converted or is odd, and of boxes and images that are not used."""
    path = pack.dataset.annotations_path
    for note in pack.dataset.notes:
        _once(f"{path}: {note}", pack, warn)
    if crowds := int(np.count_nonzero(pack.dataset.is_crowd.flat)):
        _once(f"{path}: {_crowds(crowds, len(pack.dataset.is_crowd.flat))}", pack, warn)
    if count := pack.dataset.num_dropped_boxes:
        boxes = "1 box is" if count == 1 else f"{count} boxes are"
        _once(f"{path}: {boxes} left out: empty, not finite or outside the image", pack, warn)
    if pack.skipped:
        first, count = pack.skipped[0], len(pack.skipped)
        images = "1 image is" if count == 1 else f"{count} images are"
        more = f"; and {count - 1} more" if count > 1 else ""
        reason = first.reason.partition(";")[0]
        _once(f"{path}: {images} left out (data.skip_broken): {first.file_name} {reason}{more}", pack, warn)


def report_groups(pack: Pack, rule: GroupRule, groups: Groups, report: Report, warn: Report) -> None:
    """Reports how many images belong together; warns if a rule of the user's finds none that do."""
    path, total = pack.dataset.annotations_path, len(groups)
    is_shared = in_group_of_several(groups)
    num_groups, num_alone = len(np.unique(groups[is_shared])), int(np.count_nonzero(~is_shared))
    if num_groups == 0:
        if rule.kind not in ("id", "picture"):
            line = f"data.group_by: {rule} puts no two images of {path} into one group, so the split is by id"
            _once(line, pack, warn)
        return
    if rule.kind == "picture":
        _once(
            f"{path}: {total} images of {num_groups + num_alone} pictures (by {PICTURE_FIELD}, else by the "
            "file name before .rf.): copies of one picture stay on one side of the split",
            pack,
            report,
        )
        return
    groups_text = "1 group" if num_groups == 1 else f"{num_groups} groups"
    _once(
        f"{path}: {total - num_alone} of {total} images are in {groups_text} of several "
        f"(data.group_by={rule}), each of which stays on one side of the split",
        pack,
        report,
    )


def warn_of_shared_groups(train: Pack, score: Pack, groups: tuple[Groups, Groups], warn: Report) -> None:
    """Warns of images to score on whose group, as `groups` has it for both, is trained on too."""
    ours, theirs = groups
    shared = np.flatnonzero(np.isin(theirs, ours[ours != 0]))
    if len(shared) == 0:
        return
    asked = int(shared[0])
    twin = int(np.flatnonzero(ours == theirs[asked])[0])
    are = "1 image is" if len(shared) == 1 else f"{len(shared)} images are"
    _once(
        f"{score.dataset.annotations_path}: {are} to be scored on of a picture or group that is trained on "
        f"too ({score.dataset.images[asked].file_name}, as {train.dataset.images[twin].file_name} is), so "
        "scores come out too high; leave them out of one of the two files",
        score,
        warn,
    )


def warn_of_copies(
    train: tuple[Pack, Index], score: tuple[Pack, Index], *, warn: Report, progress: Progress
) -> None:
    """Warns of images to score on that look like an image that is trained on.

    Args:
        train: holds the training images, and where.
        score: holds the images to score on, and where; it can be the same pack.
        warn: called with the line.
        progress: called with images done and all of a pack's, where thumbnails have to be made.
    """
    (train_pack, train_index), (score_pack, score_index) = train, score
    asking, among = (
        packed_thumbnails(pack.folder, pack.images.images, pack.images.sizes, progress)[index]
        for pack, index in (score, train)
    )
    match = find_similar(asking, among)
    found = np.flatnonzero(match >= 0)
    if len(found) == 0:
        return
    first = int(found[0])
    asked = score_pack.dataset.images[score_index[first]].file_name
    twin = train_pack.dataset.images[train_index[match[first]]].file_name
    same = _num_same_files((score_pack, score_index[found], asking[found]), (train_pack, train_index, among))
    what = "held-out images" if score_pack is train_pack else "images to score on"
    advice = (
        "if they are copies, or frames of one scene, keep them on one side with data.group_by (docs/data.md)"
        if score_pack is train_pack
        else "leave them out of one of the two files"
    )
    _once(
        f"{score_pack.dataset.annotations_path}: {len(found)} of {len(score_index)} {what} "
        f"{'looks' if len(found) == 1 else 'look'} like a training image ({asked} like {twin}"
        f"{f'; {same} by the very same file' if same else ''}), so scores may come out too high; {advice}",
        score_pack,
        warn,
    )


def _crowds(count: int, total: int) -> str:
    """How many of the objects are crowds, and where they are many, what is often meant."""
    line = f"objects with iscrowd 1, as crowds neither trained on nor scored: {count} of {total}"
    if count > _MANY_CROWDS * total:
        line += "; set it to 0 in the file if each is one object (CVAT and others export masks as iscrowd 1)"
    return line


def _num_same_files(asking: _Part, among: _Part) -> int:
    """Images of the first part whose file has the length and the thumbnail of one of the second."""
    lengths, others = (open_array(pack.folder, "file_stats")[index, 0] for pack, index, _ in (asking, among))
    is_near = np.isin(others, lengths)
    known = set(zip(others[is_near].tolist(), map(bytes, among[2][is_near]), strict=True))
    return sum(pair in known for pair in zip(lengths.tolist(), map(bytes, asking[2]), strict=True))


def _once(line: str, pack: Pack, report: Report) -> None:
    mark = f"{pack.dataset.annotations_path.resolve()} {pack.content_key} {line}"
    if mark not in _reported:
        _reported.add(mark)
        report(line)
