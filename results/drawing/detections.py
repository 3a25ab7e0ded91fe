"""Pictures with what was found in them: a box, the class and the score of every detection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

# Distinct for the colour-blind too: M. Okabe and K. Ito, "Color Universal Design", 2008, without black.
_COLORS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
_PIXELS_PER_LINE = 300  # of the longer side, for each pixel of a line's width
_TINT = 110  # of 255, how much a mask covers
_TEXT_SHARE = 50  # of the longer side, that the text's height is


def draw_detections(
    image: Image.Image,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    texts: Sequence[str],
    masks: Sequence[npt.NDArray[np.uint8]] = (),
) -> Image.Image:
    """A copy of the picture in RGB, the detections drawn on it, the first on top.

    Args:
        image: the picture.
        boxes: (x1, y1, x2, y2) in its pixels, of each detection.
        labels: of each, which decide the colours.
        texts: of each, written at the top of its box.
        masks: of each `[H, W]` of zeros and ones, which is tinted; empty for none.
    """
    picture = image.convert("RGB")
    for mask, label in reversed(list(zip(masks, labels, strict=False))):
        tint = Image.new("RGB", picture.size, _COLORS[label % len(_COLORS)])
        picture.paste(tint, mask=Image.fromarray(mask * np.uint8(_TINT)))
    draw = ImageDraw.Draw(picture)
    line = max(1, round(max(picture.size) / _PIXELS_PER_LINE))
    font = ImageFont.load_default(size=max(10, max(picture.size) // _TEXT_SHARE))
    for box, label, text in reversed(list(zip(boxes, labels, texts, strict=True))):
        color = _COLORS[label % len(_COLORS)]
        x1, y1, x2, y2 = box
        draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=color, width=line)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        x = max(0.0, min(x1, picture.width - (right - left)))
        y = y1 - bottom if y1 >= bottom else y1 + line
        draw.rectangle((x + left, y + top, x + right, y + bottom), fill=color)
        draw.text((x, y), text, fill="black", font=font)
    return picture
