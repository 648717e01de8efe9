"""A server on the loopback with generated images and planted faults, and the list of URLs that goes with it.

Which image has which fault follows from their number alone, so that a test knows every count in advance. A passing
fault is gone after a request for /heal, and there again after /break. As a program:
`python -m tests.unit.data.image_server --images 20000 --folder FOLDER` writes FOLDER/list-{0..3}.parquet and
FOLDER/planted.json, prints a line when it is ready and serves until it is killed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from clip_scaling.data.sources.procedural.scenes import draw, sample_scene

SHARES = {
    "http_404": 0.05,
    "timeout": 0.01,
    "passing_timeout": 0.01,
    "not_an_image": 0.01,
    "cut_answer": 0.005,  # fewer bytes than the header promises
    "cut_file": 0.005,  # a whole answer with half a JPEG
    "server_error": 0.005,
    "passing_server_error": 0.005,
    "forbidden": 0.005,
    "robots_tag": 0.005,
    "redirect_loop": 0.005,
    "redirect": 0.03,
    "twin": 0.04,  # the bytes of another image
}
"""Share of the images by what is planted; all others are served as they are."""
OUTCOMES = {
    "http_404": "http_404",
    "timeout": "timeout",
    "passing_timeout": "timeout",
    "not_an_image": "not_an_image",
    "cut_answer": "incomplete",
    "cut_file": "truncated_image",
    "server_error": "server_error",
    "passing_server_error": "server_error",
    "forbidden": "forbidden",
    "robots_tag": "robots_tag",
    "redirect_loop": "redirect",
}
"""What a download must say of each fault."""
LIST_FAULTS = {
    "no_url": 0.002,
    "no_caption": 0.003,
    "safety_punsafe": 0.01,
    "filter_similar": 0.02,
    "repeated_row": 0.005,
}
"""Rows beside the images', as a share of them, that must be left out before anything is asked for."""
SIZE = 64


class Planted:
    """Which of `images` images has which fault, and the rows of the list. side: of the served images, pixels."""

    def __init__(self, images: int, side: int = SIZE) -> None:
        self.images, self.side = images, side
        numbers = list(range(images))
        random.Random(0).shuffle(numbers)
        self.fault: dict[int, str] = {}
        for fault, share in SHARES.items():
            for _ in range(round(share * images)):
                self.fault[numbers.pop()] = fault
        self.plain = sorted(numbers)

    def counts(self) -> Counter[str]:
        """Images by fault; `""` for none."""
        return Counter(self.fault.get(number, "") for number in range(self.images))

    def failures(self, healed: bool) -> dict[str, int]:
        """Failed downloads by class, before or after they are healed."""
        found = Counter(
            OUTCOMES[fault]
            for fault in self.fault.values()
            if fault in OUTCOMES and not (healed and fault.startswith("passing_"))
        )
        return dict(sorted(found.items()))

    def repeats(self, healed: bool) -> int:
        """Images that can be downloaded but have the bytes of another: twins, and scenes that were drawn twice."""
        failing = {fault for fault in OUTCOMES if not (healed and fault.startswith("passing_"))}
        served = [self.jpeg(number) for number in range(self.images) if self.fault.get(number) not in failing]
        return len(served) - len(set(served))

    def list_faults(self) -> dict[str, int]:
        """Rows that must never be asked for, by reason."""
        return {reason: round(share * self.images) for reason, share in LIST_FAULTS.items()}

    def jpeg(self, number: int) -> bytes:
        """The image of a number; a twin shows a plain one."""
        if self.fault.get(number) == "twin":
            number = self.plain[number % len(self.plain)]
        rng = np.random.default_rng([7, number])
        buffer = io.BytesIO()
        Image.fromarray(draw(sample_scene(rng), self.side, rng)).save(buffer, "jpeg", quality=90)
        return buffer.getvalue()

    def caption(self, number: int) -> str:
        """What an image shows, and its number: no two captions are equal."""
        return f"{sample_scene(np.random.default_rng([7, number])).caption}, number {number}"

    def rows(self, address: str) -> list[dict[str, Any]]:
        """The list: a row an image, then the faulty rows. LAION's column names."""
        rows = [self._row(f"{address}/image/{number}.jpg", self.caption(number)) for number in range(self.images)]
        for reason, count in self.list_faults().items():
            for number in range(count):
                row = self._row(f"{address}/never/{reason}-{number}.jpg", f"never {reason} {number}")
                row |= {
                    "no_url": {"URL": ["ftp://127.0.0.1/a.jpg", "", None][number % 3]},
                    "no_caption": {"TEXT": ["", None, "  "][number % 3]},
                    "safety_punsafe": {"punsafe": 0.9},
                    "filter_similar": {"similarity": 0.1},
                    "repeated_row": rows[number],
                }[reason]
                rows.append(row)
        return rows

    @staticmethod
    def _row(url: str, caption: str) -> dict[str, Any]:
        return {"URL": url, "TEXT": caption, "punsafe": 0.01, "similarity": 0.33, "WIDTH": SIZE, "HEIGHT": SIZE}

    def write_lists(self, folder: Path, address: str, parts: int) -> None:
        """list-0.parquet, ...; a repeated row stands in the part of its first."""
        rows = self.rows(address)
        for part in range(parts):
            own = [row for row in rows if int(hashlib.sha256(str(row["URL"]).encode()).hexdigest(), 16) % parts == part]
            pq.write_table(pa.Table.from_pylist(own), folder / f"list-{part}.parquet")


class ImageServer(ThreadingHTTPServer):
    """Serves a plan on a free port. stall_seconds: how long a time-out takes; more than the client waits."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, planted: Planted, stall_seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.planted, self.stall_seconds = planted, stall_seconds
        self.is_healed = False
        self.changed: set[int] = set()
        self.asked: Counter[str] = Counter()
        self._images = [planted.jpeg(number) for number in range(planted.images)]
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def image(self, number: int) -> bytes:
        """What is served; a changed image shows the next plain one."""
        return self._images[self.planted.plain[number % len(self.planted.plain)] if number in self.changed else number]

    def __enter__(self) -> ImageServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: ImageServer

    def do_GET(self) -> None:
        self.server.asked[self.path] += 1
        if self.path in ("/heal", "/break"):
            self.server.is_healed = self.path == "/heal"
            return self._answer(200, b"done", "text/plain")
        folder, _, name = self.path.lstrip("/").partition("/")
        if folder not in ("image", "direct"):
            return self._answer(410, b"never to be asked for", "text/plain")
        number = int(name.removesuffix(".jpg"))
        fault = self.server.planted.fault.get(number, "") if folder == "image" else ""
        if fault.startswith("passing_"):
            fault = "" if self.server.is_healed else fault.removeprefix("passing_")
        self._serve(number, fault)

    def _serve(self, number: int, fault: str) -> None:
        image = self.server.image(number)
        status = {"http_404": 404, "server_error": 503, "forbidden": 403}.get(fault)
        if status is not None:
            self._answer(status, b"no", "text/plain")
        elif fault == "timeout":
            time.sleep(self.server.stall_seconds)
        elif fault == "not_an_image":
            self._answer(200, b"<html>gone</html>" * 20, "text/html")
        elif fault == "cut_answer":
            self._answer(200, image[: len(image) // 2], "image/jpeg", promised=len(image))
        elif fault == "cut_file":
            self._answer(200, image[: len(image) * 9 // 10], "image/jpeg")
        elif fault in ("redirect", "redirect_loop"):
            target = f"/direct/{number}.jpg" if fault == "redirect" else self.path
            self._answer(302, b"", "text/plain", Location=target)
        elif fault == "robots_tag":
            self._answer(200, image, "image/jpeg", **{"X-Robots-Tag": "noai"})
        else:
            self._answer(200, image, "image/jpeg")

    def _answer(self, status: int, body: bytes, kind: str, promised: int | None = None, **headers: str) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body) if promised is None else promised))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # a client that was killed

    def log_message(self, *_: object) -> None:
        """One line a request is too much."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=SIZE)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--stall-seconds", type=float, default=4.0)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    planted = Planted(args.images, args.side)
    with ImageServer(planted, args.stall_seconds) as server:
        planted.write_lists(args.folder, server.address, args.parts)
        known: dict[str, Any] = {"list": planted.list_faults()}
        for when, healed in (("before", False), ("after", True)):
            known[when] = planted.failures(healed)
            known[f"repeats_{when}"] = planted.repeats(healed)
        (args.folder / "planted.json").write_text(json.dumps(known))
        print(f"serving {args.images} images on {server.address}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
