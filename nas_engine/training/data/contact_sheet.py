"""Contact sheet of a data set: a row of small images for each class, as one picture."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nas_engine.domain.errors import DatasetError
from nas_engine.domain.text import one_line
from nas_engine.training.data.checking import CheckedImages
from nas_engine.training.data.decoding.picture import BACKGROUND

MAX_ROWS = 100
"""So many classes are shown; the others are left to the counts."""
COLUMNS = 8
SIDE, GAP, NAME_WIDTH = 64, 4, 200  # pixels
MAX_NAME = 30  # characters


def contact_sheet(images: CheckedImages) -> Image.Image:
    """Draw images of every class, evenly spread over its training images; each fits into a square, none is cropped.

    Classes without training images show those of another part; what cannot be decoded is left blank.
    """
    shown = images.classes[:MAX_ROWS]
    size = (NAME_WIDTH + COLUMNS * (SIDE + GAP) + GAP, len(shown) * (SIDE + GAP) + GAP)
    sheet = Image.new("RGB", size, BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for row, name in enumerate(shown):
        top = GAP + row * (SIDE + GAP)
        text = one_line(name, MAX_NAME)
        draw.text((GAP, top + SIDE // 2), text, fill=(0, 0, 0), font=font, anchor="lm")
        for column, (part, number) in enumerate(_chosen(images, row)):
            corner = (NAME_WIDTH + column * (SIDE + GAP), top)
            try:
                pixels = images.picture(part, number)
            except DatasetError:
                continue
            picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
            scale = SIDE / max(picture.size)
            fitted = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            sheet.paste(picture.resize(fitted, Image.Resampling.BICUBIC), corner)
    return sheet


def _chosen(images: CheckedImages, label: int) -> list[tuple[str, int]]:
    """Places of the images of a class that are shown."""
    for part, labels in images.labels.items():
        members = np.flatnonzero(labels == label)
        if len(members):
            spread = np.linspace(0, len(members) - 1, min(COLUMNS, len(members))).round().astype(int)
            return [(part, int(number)) for number in members[spread]]
    return []
