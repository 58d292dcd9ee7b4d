"""Pictures with their captions, as one PNG."""

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

LEAST_SIDE = 128
"""Small pictures are enlarged to this side, in whole steps and without smoothing: every pixel is to be seen."""
MARGIN = 12
LINE_HEIGHT = 15
FONT_SIZE = 12
PAPER, INK = (255, 255, 255), (40, 40, 40)


def write_picture_grid(path: Path, pixels: Tensor, captions: Sequence[str], columns: int = 4) -> None:
    """(N, 3, H, W) uint8 -> a PNG with `columns` pictures in a row, each above its caption. Appears whole or not at all."""
    grid = draw_picture_grid(pixels, captions, columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    grid.save(temporary, format="PNG", optimize=True)
    temporary.replace(path)


def draw_picture_grid(pixels: Tensor, captions: Sequence[str], columns: int) -> Image.Image:
    scale = max(1, LEAST_SIDE // pixels.shape[-1])
    side = pixels.shape[-1] * scale
    font = ImageFont.load_default(size=FONT_SIZE)
    lines = [wrap(caption, side + MARGIN - 4, font) for caption in captions]
    cell_width, cell_height = side + MARGIN, side + MARGIN + LINE_HEIGHT * max(map(len, lines))
    rows = math.ceil(len(captions) / columns)
    grid = Image.new("RGB", (cell_width * min(columns, len(captions)) + MARGIN, cell_height * rows + MARGIN), PAPER)
    draw = ImageDraw.Draw(grid)
    for index, (picture, text) in enumerate(zip(pixels, lines, strict=True)):
        left, top = MARGIN + cell_width * (index % columns), MARGIN + cell_height * (index // columns)
        image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()).resize((side, side), Image.Resampling.NEAREST)
        grid.paste(image, (left, top))
        draw.rectangle((left - 1, top - 1, left + side, top + side), outline=(210, 210, 210))
        for number, line in enumerate(text):
            draw.text((left, top + side + 3 + LINE_HEIGHT * number), line, fill=INK, font=font)
    return grid


def wrap(text: str, width: float, font: "ImageFont.ImageFont | ImageFont.FreeTypeFont") -> list[str]:
    """Lines of whole words, none wider than `width` pixels unless one word is."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines or [""]
