"""Class folders to try classification on: every object of the generated data cut out, by its class.

    python examples/object_folders.py FOLDER [NUM_IMAGES NUM_VAL_IMAGES]

Writes FOLDER/train and FOLDER/val, each with a folder of PNGs for every class of the generated data, from
so many of its images (400 and 100). Then:

    spinesearch train spinenet49 train=quick train.task=classification train.image_size=64 data=classes \
        data.train_images=FOLDER/train data.val_images=FOLDER/val
"""

import sys
from pathlib import Path

from PIL import Image

from spinesearch.data.cache import default_cache_dir
from spinesearch.data.coco.read import read_coco
from spinesearch.data.drawn.generate import generate_dataset

MARGIN = 0.15  # of the box's longer side, of the ground around the object


def write_folders(target: Path, *, num_images: int, num_val_images: int, seed: int = 0) -> int:
    """Cut the objects out; returns how many there are."""
    source = generate_dataset(
        default_cache_dir() / "generated",
        num_images=num_images,
        num_val_images=num_val_images,
        seed=seed,
        object_sizes="wide",
    )
    count = 0
    for split in ("train", "val"):
        data = read_coco(source / split, source / "annotations" / f"instances_{split}.json")
        for _, name in data.categories:
            (target / split / name).mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(data.images):
            with Image.open(source / split / image.file_name) as picture:
                for box, label in zip(data.boxes_xyxy[i].tolist(), data.labels[i].tolist(), strict=True):
                    margin = MARGIN * max(box[2] - box[0], box[3] - box[1])
                    place = (box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin)
                    count += 1
                    name = data.categories[label][1]
                    picture.crop(tuple(map(round, place))).save(target / split / name / f"{count:05d}.png")
    return count


def main() -> None:
    """Write the folders that the command line names."""
    if len(sys.argv) not in (2, 4) or not all(word.isdecimal() for word in sys.argv[2:]):
        sys.exit("usage: python examples/object_folders.py FOLDER [NUM_IMAGES NUM_VAL_IMAGES]")
    folder = Path(sys.argv[1])
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        sys.exit(f"{folder}: is there already; give a new folder")
    num_images, num_val_images = map(int, sys.argv[2:] or (400, 100))
    count = write_folders(folder, num_images=num_images, num_val_images=num_val_images)
    print(f"{count} objects: {folder / 'train'} and {folder / 'val'}")


if __name__ == "__main__":
    main()
