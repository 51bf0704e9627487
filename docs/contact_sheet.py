"""Every figure of the notebooks on one page: docs/figures.md and its pictures.

.venv/bin/python docs/contact_sheet.py
"""

import base64
import io
import re
from pathlib import Path

import nbformat
from PIL import Image, ImageDraw

DOCS = Path(__file__).parent
COLUMNS, CELL, GAP, NUMBER = 3, (400, 260), 8, 14


def figures_of(notebook: Path) -> list[tuple[Image.Image, str]]:
    """The pictures in a notebook's outputs, with the text that says what they show."""
    found = []
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {}).get("image/png")
            if data:
                picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
                found.append((picture, cell.metadata.get("alt", "")))
    return found


def sheet(pictures: list[Image.Image]) -> Image.Image:
    """Numbered thumbnails in rows, each as high as its highest picture."""
    for picture in pictures:
        picture.thumbnail(CELL, Image.Resampling.LANCZOS)
    rows = [pictures[first : first + COLUMNS] for first in range(0, len(pictures), COLUMNS)]
    heights = [max(picture.height for picture in row) + NUMBER + GAP for row in rows]
    page = Image.new("RGB", (COLUMNS * (CELL[0] + GAP), sum(heights)), "white")
    draw = ImageDraw.Draw(page)
    number = 0
    for row, top in zip(rows, [sum(heights[:i]) for i in range(len(rows))], strict=True):
        for column, picture in enumerate(row):
            number, x = number + 1, column * (CELL[0] + GAP)
            draw.text((x + 2, top), str(number), fill="black")
            page.paste(picture, (x, top + NUMBER))
    return page.quantize(256, method=Image.Quantize.FASTOCTREE)


def main() -> None:
    lines = [
        "# All figures\n",
        "Thumbnails of every figure in the notebooks as committed, in their order; made by "
        "`python docs/contact_sheet.py`.\n",
    ]
    for notebook in sorted((DOCS.parent / "notebooks").glob("0*.ipynb")):
        found = figures_of(notebook)
        name = f"contact_{notebook.stem}.png"
        sheet([picture for picture, _ in found]).save(DOCS / name, optimize=True)
        title = nbformat.read(notebook, as_version=4).cells[0].source.partition("\n")[0]
        lines.append(f"## {title.removeprefix('# ')}\n")
        lines.append(f"![Thumbnails of {len(found)} figures, described below.]({name})\n")
        texts = [re.sub(r"\s+", " ", text) or "(no description)" for _, text in found]
        lines += [f"{number}. {text}" for number, text in enumerate(texts, start=1)]
        lines.append("")
    (DOCS / "figures.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
