"""Crops of tree crowns and of ground, cut from the aerial photographs with boxes in deepforest.

Four photographs of the package have boxes. The two of Yellowstone are large and fully boxed, so what is
outside the boxes is ground. The smaller one (279 crowns, a wood with a road) is to train, the larger one
(574 crowns, an open slope) to test, as a user would meet it: some hundred pictures of one place, then another
place. Two are left out: SOAP_061 is boxed in part only, OSBS_029 has little ground between its crowns.

A crop is a 64x64 window of the photograph at its own resolution (0.1 m per pixel; the middle crown is about
40 pixels wide). Nothing is rescaled, so no blur can give the class away.
"""

import io
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from assets_download import AssetError, Package, read_member
from PIL import Image
from tqdm import tqdm

PACKAGE = Package("deepforest==2.1.0", "deepforest-2.1.0-py3-none-any.whl",
                  "8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54")
# part: (photograph, crops of each class)
PARTS = {"train": ("2019_YELL_2_541000_4977000_image_crop", 200),
         "test": ("2019_YELL_2_528000_4978000_image_crop2", 300)}
CROP = 64
MIN_CROWN = 24  # pixels; around a smaller crown most of the window would be ground
MAX_COVER = 0.05  # share of a ground window that boxes may cover
MIN_STEP = 24  # ground windows differ by this many pixels on at least one axis
SEED = 0


def read_boxes(xml: bytes) -> np.ndarray:
    """Boxes of a Pascal VOC file as int64 (N,4): xmin, ymin, xmax, ymax in pixels."""
    corners = [[float(box.findtext(key, "nan")) for key in ("xmin", "ymin", "xmax", "ymax")]
               for box in ET.fromstring(xml).iter("bndbox")]
    boxes = np.array(corners).reshape(-1, 4)
    if not np.isfinite(boxes).all():
        raise AssetError("a box of the photograph lacks a corner")
    return boxes.astype(np.int64)


def crown_windows(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Top and left (N,2) of windows centred on the boxes, without small crowns and those at the edge."""
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, :2] + boxes[:, 2:]) // 2
    corners = centres[:, ::-1] - CROP // 2
    inside = (corners >= 0).all(1) & (corners <= (height - CROP, width - CROP)).all(1)
    return corners[inside & (sides.max(1) >= MIN_CROWN)]


def ground_windows(boxes: np.ndarray, height: int, width: int, count: int,
                   rng: np.random.Generator) -> np.ndarray:
    """Top and left (count,2) of random windows that boxes hardly cover and that are not nearly the same."""
    covered = np.zeros((height + 1, width + 1), np.int64)
    for left, top, right, bottom in boxes:
        covered[top + 1:bottom + 1, left + 1:right + 1] = 1
    total = covered.cumsum(0).cumsum(1)  # summed-area table: a window's cover from its four corners
    cover = total[CROP:, CROP:] - total[:-CROP, CROP:] - total[CROP:, :-CROP] + total[:-CROP, :-CROP]
    chosen = np.empty((0, 2), np.int64)
    for window in rng.permutation(np.argwhere(cover <= MAX_COVER * CROP * CROP)):
        if len(chosen) < count and (np.abs(chosen - window).max(1) >= MIN_STEP).all():
            chosen = np.vstack([chosen, window])
    return chosen


def choose_windows(boxes: np.ndarray, height: int, width: int, count: int) -> dict[str, np.ndarray]:
    """`count` windows of each class, the same at every call."""
    rng = np.random.default_rng(SEED)
    windows = {"crown": rng.permutation(crown_windows(boxes, height, width))[:count],
               "ground": ground_windows(boxes, height, width, count, rng)}
    for name, chosen in windows.items():
        if len(chosen) < count:
            raise AssetError(f"the photograph offers {len(chosen)} {name} windows, fewer than {count}")
    return windows


def make_trees(wheel: Path, target: Path) -> str:
    """Write `target`/{train,test}/{crown,ground}/*.png; returns a line that says how many."""
    jobs = []
    for part, (photo_name, count) in PARTS.items():
        photo = Image.open(io.BytesIO(read_member(wheel, f"deepforest/data/{photo_name}.png"))).convert("RGB")
        boxes = read_boxes(read_member(wheel, f"deepforest/data/{photo_name}.xml"))
        for name, windows in choose_windows(boxes, photo.height, photo.width, count).items():
            folder = target / part / name
            folder.mkdir(parents=True)
            jobs += [(photo, folder, top, left) for top, left in windows.tolist()]
    for photo, folder, top, left in tqdm(jobs, desc="trees", unit="crop", leave=False, disable=None):
        photo.crop((left, top, left + CROP, top + CROP)).save(folder / f"y{top:04}_x{left:04}.png")
    counts = " + ".join(f"{2 * count} to {part}" for part, (_, count) in PARTS.items())
    return f"{counts}, half crown and half ground, from different photographs"
