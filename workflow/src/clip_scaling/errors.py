"""Errors that a user can act on: each names the thing, the place and the next step.

Each class has an entry of its name in docs/errors.md, and what a user sees of an error ends with the link to it.
"""

from __future__ import annotations

import difflib
import errno
import gc
import os
import re
import sys
from collections.abc import Callable, Iterable

_PASSWORD = re.compile(r"(?<=://)[^/\s@'\"]+@")
_SECRET = re.compile(
    r"(?i)([?&;](?:[\w.-]*(?:token|signature|secret|password|passwd|credential|api_?key)|sig|auth|key)=)[^&\s'\"]+"
)


def redacted(text: str) -> str:
    """A text without the credentials of the addresses in it: `user:password@`, and tokens among the parameters."""
    return _SECRET.sub(r"\1***", _PASSWORD.sub("***@", text))


class ClipScalingError(Exception):
    """Base of all errors that are the input's or the machine's, not the code's.

    thing: what is wrong. place: the file, key or cell where it is. remedy: the next step, a sentence.
    """

    def __init__(self, thing: str, *, place: str = "", remedy: str = "") -> None:
        self.thing, self.place, self.remedy = thing, place, remedy
        super().__init__(f"{place}: {thing}" if place else thing)

    def __str__(self) -> str:
        text = super().__str__()
        return redacted(f"{text.rstrip('.')}. {self.remedy}" if self.remedy else text)

    def __reduce__(self) -> tuple[Callable[..., ClipScalingError], tuple[type[ClipScalingError], str, str, str]]:
        # Errors cross process pools, and the default would lose the keywords.
        return _rebuilt, (type(self), self.thing, self.place, self.remedy)


def _rebuilt(kind: type[ClipScalingError], thing: str, place: str, remedy: str) -> ClipScalingError:
    return kind(thing, place=place, remedy=remedy)


class ConfigError(ClipScalingError):
    """The study's YAML file asks for something that cannot be."""


class ManifestError(ClipScalingError):
    """A manifest is missing, malformed, or does not agree with the files it lists."""


class DataError(ClipScalingError):
    """A source, a shard or an evaluation set is missing, corrupt or too small."""


class TrainingError(ClipScalingError):
    """A training run cannot start or cannot go on."""


class EvaluationError(ClipScalingError):
    """A checkpoint and an evaluation set do not go together."""


class LawError(ClipScalingError):
    """A table cannot be fitted as asked."""


class DiskFullError(ClipScalingError):
    """No space is left where a file is being written, or it would be larger than it may be."""


class NotWritableError(ClipScalingError):
    """A file or a folder may not be written, or not be read."""


def entry(kind: str) -> str:
    """Where the failure catalogue has a kind of error."""
    return f"More: docs/errors.md#{kind.lower()}"


def full_message(error: ClipScalingError, place: str = "") -> str:
    """What a user sees of an error: `Kind: what, where, next step`, and a line that leads to the catalogue.

    place: where it was found, such as the study file, if the error does not say so itself.
    """
    kind = type(error).__name__
    return f"{kind}{f' in {place}' if place else ''}: {error}\n{entry(kind)}"


def run_script(main: Callable[[], None]) -> None:
    """Run a script's main; print a user's error as `full_message`, exit code 1.

    Errors of the code itself keep their traceback. Garbage is looked for less often than Python's default: importing
    torch allocates so much that the search is a sixth of a short job's start-up.
    """
    gc.set_threshold(100_000, 20, 100)
    try:
        main()
        sys.stdout.flush()
    except ClipScalingError as error:
        sys.exit(full_message(error))
    except BrokenPipeError:
        # Whoever read the output has enough: the interpreter must not try to flush the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        explained = _of_the_machine(error)
        if explained is None:
            raise
        sys.exit(full_message(explained))


def _of_the_machine(error: OSError) -> ClipScalingError | None:
    """The user's error that an error of the operating system is; None for one of the code."""
    place = str(error.filename or "the results folder")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            f"no space left while writing {place}. Nothing half-written was kept; "
            "free some space (or point results/ at a larger disk) and run the same command again."
        )
    if error.errno == errno.EFBIG:
        return DiskFullError(
            f"{place} would be larger than files may be here. Nothing half-written was kept; raise the limit "
            "(`ulimit -f unlimited`, or the file system's) and run the same command again."
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return NotWritableError(
            f"not permitted ({error.strerror})",
            place=place,
            remedy="Give this user the right to it, or use another folder, and run the same command again.",
        )
    return None


def close_matches(name: str, known: Iterable[str]) -> str:
    """` Close matches: a, b.` or, with none, all valid ones if they are few."""
    known = sorted(known)
    matches = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or (known if len(known) <= 12 else [])
    return f" Close matches: {', '.join(matches)}." if matches else ""
