"""clip-benchmark's webdataset layout of an evaluation set, readable by `clip_benchmark eval --dataset wds/...`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...records.data import CLASSIFICATION, MULTILABEL, RETRIEVAL, Task
from ...records.files import FileEntry, write_text

TASKS: dict[str, Task] = {"classification": CLASSIFICATION, "multilabel": MULTILABEL, "retrieval": RETRIEVAL}
"""By the word in dataset_type.txt."""
TYPE, CLASSES, TEMPLATES = "dataset_type.txt", "classnames.txt", "zeroshot_classification_templates.txt"


def tar_path(split: str, number: int = 0) -> str:
    """Path of a tar of a split."""
    return f"{split}/{number}.tar"


def count_path(split: str) -> str:
    """Path of the text file with a split's number of tars."""
    return f"{split}/nshards.txt"


def tar_paths(folder: Path, split: str) -> list[str]:
    """Paths of a split's tars, by its own count."""
    count = int((folder / count_path(split)).read_text(encoding="utf-8"))
    return [tar_path(split, number) for number in range(count)]


def write_texts(
    root: Path, task: Task, classes: Sequence[str], templates: Sequence[str], splits: Sequence[str]
) -> list[FileEntry]:
    """Write the text files of splits of one tar each.

    Returns: the entries of texts and tars, in the manifest's order.
    """
    texts = {count_path(split): ["1"] for split in splits}
    texts[TYPE] = [next(word for word, its in TASKS.items() if its == task)]
    if task != RETRIEVAL:
        texts |= {CLASSES: list(classes), TEMPLATES: list(templates)}
    for name, lines in texts.items():
        write_text(root / name, "".join(f"{line}\n" for line in lines))
    return [FileEntry.of(root / name, root) for name in sorted([*texts, *map(tar_path, splits)])]
