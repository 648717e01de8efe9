"""img2dataset with four additions; runs in its own environment (envs/img2dataset.txt), started by `fetch.py`.

A limit of requests a second a host, limits on an image's bytes, a check that an image file is whole (OpenCV draws cut
files in part), and shards whose table says where in the tar each image lies, with its hashes. All else (threads,
redirects, robots tags, resizing, encoding, shards, recovery) is img2dataset's.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from functools import cache, partial
from multiprocessing.pool import Pool
from typing import Any, NoReturn

import cv2
import numpy as np
import pyarrow as pa
from img2dataset.downloader import Downloader
from img2dataset.reader import Reader
from img2dataset.resizer import Resizer
from img2dataset.writer import WebDatasetSampleWriter
from tqdm import tqdm

from ....errors import full_message
from ...web import TooMuch, http_opener, limited_blocks
from ...workers import KillableSpawns, worker_was_killed

_PR_SET_PDEATHSIG = 1
_TAR_BLOCK = 512
_PNG_BITS = 24
"""Where a PNG says how many bits a sample has."""
_TIMEOUTS = 6
"""Timeouts of one read that a whole answer may take."""
_SHARDS_A_WORKER = 5
"""Shards after which a worker is replaced, as img2dataset does for what its libraries leak."""
_FORMATS = (
    # (how the file begins, what its end must hold); a JPEG's end mark must follow its last scan.
    (b"\xff\xd8\xff", b"\xff\xd9"),
    (b"\x89PNG\r\n\x1a\n", b"IEND"),
    (b"GIF8", b"\x3b"),
)


class HostLimit(urllib.request.BaseHandler):
    """Waits before a request so that no host gets more than `per_second` of them; ends long answers and slow ones.

    max_bytes, seconds: bounds of one answer, whether or not it says its length.
    """

    handler_order = 100

    def __init__(self, per_second: float | None, max_bytes: int, seconds: float) -> None:
        self.interval = 0.0 if per_second is None else 1 / per_second
        self.max_bytes, self.seconds = max_bytes, seconds
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        if self.interval:
            host = urllib.parse.urlsplit(request.full_url).hostname or ""
            with self._lock:
                now = time.monotonic()
                due = max(self._next.get(host, 0.0), now)
                self._next[host] = due + self.interval
            time.sleep(due - now)
        return request

    def http_response(self, _request: urllib.request.Request, response: Any) -> Any:
        size = response.headers.get("Content-Length", "")
        if response.status == 200 and size.isdigit() and int(size) > self.max_bytes:
            response.close()
            raise ValueError(f"{size} bytes of an image are more than {self.max_bytes}")
        response.read = partial(_read, response, self.max_bytes, self.seconds)
        return response

    https_request, https_response = http_request, http_response


def _read(response: Any, max_bytes: int, seconds: float) -> bytes:
    try:
        return b"".join(limited_blocks(response, max_bytes, seconds))
    except TooMuch as error:
        raise ValueError(f"bytes of an image: {error}") from None


class PoliteDownloader(Downloader):
    """img2dataset's, with the opener that limits hosts. per_second: of this process."""

    def __init__(self, per_second: float | None, max_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self.per_second, self.max_bytes = per_second, max_bytes

    def __call__(self, row: tuple[int, str]) -> tuple[bool, tuple[int, str]]:
        _end_with_pool()
        _install_opener(self.per_second, self.max_bytes, _TIMEOUTS * self.timeout)
        return super().__call__(row)


_installed: list[urllib.request.OpenerDirector] = []


def _install_opener(per_second: float | None, max_bytes: int, seconds: float) -> None:
    """Once a process. Neither file: nor ftp:, unlike urllib's own: a list must not reach this machine's files."""
    if _installed:
        return
    opener = http_opener(HostLimit(per_second, max_bytes, seconds))
    urllib.request.install_opener(opener)
    _installed.append(opener)


def _die_with_parent() -> None:
    """A killed job must not leave processes that go on asking hosts (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@cache
def _end_with_pool() -> None:
    """End this process, of a pool, once the pool's has ended.

    Not by the kernel's signal: that comes when the *thread* that started this process ends, as a pool's thread does
    before the pool has closed. Killed then, with the lock of the pool's queue, it would leave the pool waiting.
    """
    pool = multiprocessing.parent_process()
    if pool is not None:
        threading.Thread(target=_kill_after, args=(pool.sentinel,), daemon=True).start()


def _kill_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


class CheckedResizer(Resizer):
    """img2dataset's, after a look at the file: its size, and whether it is whole."""

    def __init__(self, min_bytes: int, max_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self.min_bytes, self.max_bytes = min_bytes, max_bytes

    def __call__(self, img_stream: io.BytesIO, blurring_bbox_list: Any = None) -> tuple[Any, ...]:
        content = img_stream.getvalue()
        if not self.min_bytes <= len(content) <= self.max_bytes:
            return (None,) * 5 + (f"{len(content)} bytes of an image: not {self.min_bytes} to {self.max_bytes}",)
        if is_cut_off(content):
            return (None,) * 5 + ("the image is cut off",)
        return super().__call__(io.BytesIO(in_eight_bits(content)), blurring_bbox_list)


def in_eight_bits(content: bytes) -> bytes:
    """Scale a PNG of 16 bits to 8; other files stay as they are. OpenCV's encoders clip all above 255 to white."""
    if not content.startswith(b"\x89PNG") or content[_PNG_BITS : _PNG_BITS + 1] != b"\x10":
        return content
    try:
        deep = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # img2dataset meets the same and says it
        return content
    if deep is None or deep.dtype != np.uint16:
        return content
    return bytes(cv2.imencode(".png", np.rint(deep / 257).astype(np.uint8))[1].tobytes())


def is_cut_off(content: bytes) -> bool:
    """True for a JPEG, PNG, GIF or WebP file that lacks its end."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return len(content) < int.from_bytes(content[4:8], "little") + 8
    for start, end in _FORMATS:
        if content.startswith(start):
            scan = content.rfind(b"\xff\xda") if start == b"\xff\xd8\xff" else 0
            return content.rfind(end) < max(scan, len(start))
    return False


class IndexedWriter(WebDatasetSampleWriter):
    """Tars that hold the images alone, and a table with `offset` and `size` of each, its hash and its looks."""

    def __init__(self, *arguments: Any) -> None:
        *others, schema, encode_format = arguments
        for name, kind in (("offset", pa.int64()), ("size", pa.int64()), ("stored_sha256", pa.string())):
            schema = schema.append(pa.field(name, kind))
        super().__init__(*others, schema.append(pa.field("dhash", pa.uint64())), encode_format)
        self.tarwriter.mtime = 0  # a time with a fraction takes two blocks more an image

    def write(self, img_str: bytes | None, key: str, caption: str | None, meta: dict[str, Any]) -> None:
        meta |= {"offset": None, "size": None, "stored_sha256": None, "dhash": None}
        if img_str is not None:
            self.tarwriter.write({"__key__": key, self.encode_format: img_str})
            # Content is padded to whole blocks; the header before it may be longer than one.
            meta["offset"] = self.tarwriter.tarstream.offset - -(-len(img_str) // _TAR_BLOCK) * _TAR_BLOCK
            meta["size"] = len(img_str)
            meta["stored_sha256"] = hashlib.sha256(img_str).hexdigest()
            meta["dhash"] = difference_hash(img_str)
        self.buffered_parquet_writer.write(meta)


def difference_hash(image: bytes) -> int:
    """64 bits of whether each of 9 x 8 grey cells is brighter than its right neighbour: alike for alike pictures."""
    grey = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_2)
    cells = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    return int.from_bytes(np.packbits(cells[:, :-1] > cells[:, 1:]).tobytes(), "big")


def main() -> None:
    """Download `folder`/list/*.parquet, one shard a file, into `folder`. The options come as JSON."""
    options = json.loads(sys.argv[1])
    _die_with_parent()
    folder = options["folder"]
    reader = Reader(
        f"{folder}/list", "parquet", "url", None, None, None, ["identity"], options["rows_per_shard"], set(), folder
    )
    resizer = CheckedResizer(options["min_bytes"], options["max_bytes"], **options["resizer"])
    downloader = PoliteDownloader(
        options["per_second"],
        options["max_bytes"],
        sample_writer_class=IndexedWriter,
        resizer=resizer,
        thread_count=options["threads"],
        save_caption=False,
        extract_exif=False,
        output_folder=folder,
        column_list=reader.column_list,
        timeout=options["timeout"],
        number_sample_per_shard=options["rows_per_shard"],
        oom_shard_count=5,
        compute_hash="sha256",
        verify_hash_type=None,
        encode_format=options["resizer"]["encode_format"],
        retries=0,
        user_agent_token=options["user_agent"],
        disallowed_header_directives=options["disallowed_header_directives"],
    )
    download(options["processes"], downloader, reader)


Shard = tuple[int, str]


def download(processes: int, downloader: Downloader, shards: Iterable[Shard]) -> None:
    """Download all shards, and those that failed once more, by worker processes. One that was killed ends this one.

    As img2dataset's own distributor, which waits for ever for a worker that was killed.
    """
    context = KillableSpawns()
    pool = context.Pool(processes, maxtasksperchild=_SHARDS_A_WORKER)
    for _ in range(2):
        shards = [shard for is_whole, shard in tqdm(_results(context, pool, downloader, shards)) if not is_whole]
    pool.terminate()
    pool.join()


def _results(
    context: KillableSpawns, pool: Pool, downloader: Downloader, shards: Iterable[Shard]
) -> Iterator[tuple[bool, Shard]]:
    results = pool.imap_unordered(downloader, shards)
    while True:
        try:
            yield results.next(timeout=1)
        except StopIteration:
            return
        except multiprocessing.TimeoutError:
            if context.has_lost_one():
                _leave(context)


def _leave(context: KillableSpawns) -> NoReturn:
    """End at once: the pool's own way out would wait for the locks that the killed worker held."""
    context.end()
    error = worker_was_killed("Give the rule more `mem_mb`, or set fewer download.processes")
    print(full_message(error), file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)
