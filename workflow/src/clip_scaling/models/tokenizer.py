"""A small byte-pair vocabulary of the training captions, in the file format of open_clip's SimpleTokenizer."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from ..errors import DataError
from ..records.files import atomic_path

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer

# SimpleTokenizer's rows that are no merges: 256 bytes, the same at a word's end, start and end of text.
_FIXED_ROWS = 2 * 256 + 2
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"  # SimpleTokenizer's own pattern
_HEADER = "#version: 0.2"
CLIP_ROWS = 49408
"""Of CLIP's own token table."""


def train_merges(captions: Iterable[str], vocabulary_size: int) -> list[str]:
    """Learn byte-pair merges, most frequent first, for a token table of at most `vocabulary_size` rows.

    A function of the captions alone, whatever their order. Of pairs that are equally frequent, the one whose first part
    is older comes first, then the one whose second part is: letters at a word's end, other letters, merges.
    """
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        # The size counts the letters, at most as many as the fixed rows: all merges that there is room for are learned.
        vocab_size=vocabulary_size,
        min_frequency=2,
        show_progress=False,
        end_of_word_suffix="</w>",
        # Equally frequent pairs are merged in the order of their parts' ids. The trainer numbers a letter at a word's
        # end when it first meets it, in the random order of its table of words, unless it is known before.
        special_tokens=[f"{letter}</w>" for letter in sorted(pre_tokenizers.ByteLevel.alphabet())],
    )
    tokenizer.train_from_iterator(captions, trainer)
    merges = _merges_of(tokenizer)
    return merges[: vocabulary_size - _FIXED_ROWS]


def _merges_of(tokenizer: Tokenizer) -> list[str]:
    return [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def write_merges(path: Path, merges: Iterable[str]) -> None:
    """Write merges as SimpleTokenizer reads them: gzip, a header line, one merge a line."""
    # No newline at the end: SimpleTokenizer would read the empty line as one more merge.
    text = "\n".join([_HEADER, *merges])
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))


def clip_merges() -> list[str]:
    """Read CLIP's own merges from the file that open_clip brings; SimpleTokenizer uses the first of a longer list."""
    from open_clip.tokenizer import default_bpe

    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode("utf-8").split("\n")
    return lines[1 : CLIP_ROWS - _FIXED_ROWS + 1]


def vocabulary_size(merges: Path) -> int:
    """Count the rows of the token table of a merges file."""
    return _FIXED_ROWS + len(_read_merges(merges))


def load_tokenizer(merges: Path, context_length: int) -> SimpleTokenizer:
    """Load open_clip's tokenizer with our merges: `tokenizer(texts)` -> (n, context_length) int64, zero-padded."""
    from open_clip.tokenizer import SimpleTokenizer

    _read_merges(merges)
    return SimpleTokenizer(bpe_path=str(merges), context_length=context_length)


def _read_merges(path: Path) -> list[str]:
    try:
        header, *merges = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    except FileNotFoundError:
        raise DataError(f"{path}: no such tokenizer. Run `snakemake --cores all {path}`.") from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path}: not a gzip file ({error}). Delete it and prepare the source again.") from None
    if header != _HEADER or not all(len(line.split(" ")) == 2 for line in merges):
        raise DataError(f"{path}: not a file of byte-pair merges. Delete it and prepare the source again.")
    return merges
