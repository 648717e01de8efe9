"""Near-duplicates: what the perceptual hash finds of planted copies at each distance, and how long the search takes.

  python benchmarks/data_duplicates.py --also 10000000         some ten minutes on one core
  python benchmarks/data_duplicates.py --images 500 --sizes 125000 250000     the same in one

1. Textured pictures of 256 pixels, made from noise with a photograph's spectrum, and icons where `--icons` names a
   prepared subset: a copy of each by each change; the share of copies that are found is the recall. Precision: of all
   pairs that are found among pictures and copies, the share that are copies of one picture.
2. Random hashes with a tenth of near copies: seconds and memory of the search by number of hashes, and 10 million by
   the straight line through the measured points in n log n.
Prints JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import resource
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clip_scaling.data.duplicates import search
from clip_scaling.data.duplicates.hash import perceptual_hashes
from clip_scaling.data.duplicates.search import near_pairs
from clip_scaling.data.shards.read import PairReader, decode_image

DISTANCES = (0, 2, 4, 6, 8, 10, 12)
SIDE = 256


def textures(count: int, generator: np.random.Generator) -> list[Image.Image]:
    """Coloured noise whose amplitude falls as 1/f, as a photograph's does (Field 1987)."""
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE), indexing="ij"))
    frequencies[0, 0] = np.inf
    found = []
    for _ in range(count):
        spectrum = np.fft.rfft2(generator.standard_normal((3, SIDE, SIDE))) / frequencies
        pixels = np.fft.irfft2(spectrum, (SIDE, SIDE))
        shared = pixels[:1] + 0.5 * pixels  # channels are alike, as in photographs
        low, high = np.quantile(shared, (0.02, 0.98))
        scaled = np.clip((shared - low) / (high - low) * 255, 0, 255)
        found.append(Image.fromarray(scaled.transpose(1, 2, 0).astype(np.uint8)))
    return found


def icons(manifest: Path, count: int) -> list[Image.Image]:
    """The first images of a prepared subset."""
    with PairReader.open(manifest) as reader:
        return [decode_image(reader.read(number)[0]) for number in range(min(count, reader.pairs))]


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue()))


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Without `share` of its width and height, half of it at either side."""
    width, height = image.size
    x, y = width * share / 2, height * share / 2
    return image.resize(image.size, Image.Resampling.BICUBIC, (x, y, width - x, height - y))


def captioned(image: Image.Image) -> Image.Image:
    """A line of white text on a black bar across the lower tenth."""
    copy = image.copy()
    draw, (width, height) = ImageDraw.Draw(copy), image.size
    draw.rectangle((0, height * 0.9, width, height), fill="black")
    draw.text((width * 0.05, height * 0.905), "stock photo 1234", "white", ImageFont.load_default(height * 0.08))
    return copy


def watermarked(image: Image.Image) -> Image.Image:
    """Half-transparent text over the middle."""
    layer, (width, height) = Image.new("RGBA", image.size), image.size
    font = ImageFont.load_default(height * 0.15)
    ImageDraw.Draw(layer).text((width * 0.1, height * 0.42), "SAMPLE", (255, 255, 255, 128), font)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def shifted(image: Image.Image) -> Image.Image:
    """Warmer and lighter: red up by 15 %, blue down by 15 %, all up by 10 levels of 255."""
    pixels = np.asarray(image, np.float32) * np.float32([1.15, 1.0, 0.85]) + 10
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized to a half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "JPEG of quality 50": lambda image: recompressed(image, 50),
    "cropped by 5 %": lambda image: cropped(image, 0.05),
    "text on a bar": captioned,
    "watermark": watermarked,
    "shifted colour": shifted,
}


def accuracy(pictures: list[Image.Image]) -> dict[str, Any]:
    """Recall by change and distance, precision by distance over pictures and all their copies."""
    n = len(pictures)
    original = perceptual_hashes(pictures)
    recall: dict[str, dict[int, float]] = {}
    hashes, owners = [original], [np.arange(n)]
    for name, change in CHANGES.items():
        changed = perceptual_hashes(change(picture) for picture in pictures)
        bits = np.bitwise_count(changed ^ original)
        recall[name] = {distance: round(float(np.mean(bits <= distance)), 4) for distance in DISTANCES}
        hashes.append(changed)
        owners.append(np.arange(n))
    own = [{"pairs": 0, "false": 0} for _ in DISTANCES]
    everything, owner = np.concatenate(hashes), np.concatenate(owners)
    for row in range(len(everything)):
        bits, same = np.bitwise_count(everything[row + 1 :] ^ everything[row]), owner[row + 1 :] == owner[row]
        for counts, distance in zip(own, DISTANCES, strict=True):
            is_found = bits <= distance
            counts["pairs"] += int(is_found.sum())
            counts["false"] += int((is_found & ~same).sum())
    among = np.bitwise_count(original[:, None] ^ original[None])[np.triu_indices(n, 1)]
    return {
        "pictures": n,
        "recall": recall,
        "precision": {
            distance: round(1 - counts["false"] / max(1, counts["pairs"]), 5)
            for distance, counts in zip(DISTANCES, own, strict=True)
        },
        "pairs_of_different_pictures_per_million": {
            distance: round(float(np.mean(among <= distance)) * 1e6, 2) for distance in DISTANCES
        },
    }


def planted(n: int, generator: np.random.Generator) -> np.ndarray:
    """n distinct hashes, a tenth of which differ from another in one to six bits."""
    random = generator.integers(0, 2**64, n, dtype=np.uint64)
    copies = random[: n // 10].copy()
    for _ in range(6):
        copies ^= np.uint64(1) << generator.integers(0, 64, len(copies), dtype=np.uint64)
    random[-len(copies) :] = copies
    distinct = np.unique(random)
    generator.shuffle(distinct)
    return distinct


def speed(sizes: list[int], distance: int, generator: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Seconds of a search among each number of hashes."""
    for n in sizes:
        hashes = planted(n, generator)
        began, used = time.perf_counter(), time.process_time()
        pairs = near_pairs(hashes, distance)
        yield {
            "hashes": len(hashes),
            "distance": distance,
            "pairs": len(pairs.first),
            "seconds": round(time.perf_counter() - began, 2),
            "cpu_seconds": round(time.process_time() - used, 2),
            "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        }


def extrapolated(points: list[dict[str, Any]], n: int) -> dict[str, Any]:
    """CPU seconds at n by the least-squares line through zero in m log m, and the growth of the last two points."""
    work = np.array([point["hashes"] * math.log2(point["hashes"]) for point in points])
    seconds = np.array([point["cpu_seconds"] for point in points])
    slope = float(work @ seconds / (work @ work))
    last, before = points[-1], points[-2]
    return {
        "hashes": n,
        "cpu_seconds": round(slope * n * math.log2(n), 1),
        "exponent_of_last_two_points": round(
            math.log(last["cpu_seconds"] / before["cpu_seconds"]) / math.log(last["hashes"] / before["hashes"]), 3
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--icons", type=Path, help="manifest.json of a prepared subset, results/data/Icons-20K/...")
    parser.add_argument("--sizes", type=int, nargs="+", default=[125_000, 250_000, 500_000, 1_000_000, 2_000_000])
    parser.add_argument("--distances", type=int, nargs="+", default=[6, 8], help="that are timed")
    parser.add_argument("--bands", type=int, help="this number, instead of the number that is cheapest at each size")
    parser.add_argument("--also", type=int, help="a size that no line is drawn through, at the first distance")
    args = parser.parse_args()
    generator = np.random.default_rng(0)
    if args.bands:
        edges = np.linspace(0, 64, args.bands + 1).astype(int).tolist()
        search._bands = lambda distance, n: [list(range(*edge)) for edge in pairwise(edges)]
    report: dict[str, Any] = {"textures": accuracy(textures(args.images, generator))} if args.images else {}
    if args.icons:
        report["icons"] = accuracy(icons(args.icons, args.images))
    for distance in args.distances:
        points = list(speed(args.sizes, distance, generator))
        report[f"speed_{distance}"] = {"points": points, "extrapolated": extrapolated(points, 10_000_000)}
    if args.also:
        report["also"] = list(speed([args.also], args.distances[0], generator))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
