import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from clip_scaling.errors import DataError
from clip_scaling.models.tokenizer import load_tokenizer, train_merges, vocabulary_size, write_merges

CAPTIONS = ["home", "home", "arrow left", "arrow right", "9:41", "café"]


def test_merges_are_learnt_from_the_commonest_neighbours() -> None:
    # "ab" twice and "cb" never: (a, b</w>) is the only pair that occurs twice.
    assert train_merges(["ab ab", "cd"], 600) == ["a b</w>"]


def test_the_table_has_no_more_rows_than_asked_for(tmp_path: Path) -> None:
    captions = [f"{first}{second}{first}" for first in "abcdefghij" for second in "klmnopqrst"] * 2
    merges = train_merges(captions, 600)
    assert len(merges) == 600 - 514
    write_merges(tmp_path / "merges.txt.gz", merges)
    assert vocabulary_size(tmp_path / "merges.txt.gz") == 600


def test_open_clip_s_tokenizer_has_a_row_for_every_byte_merge_and_special_token(tmp_path: Path) -> None:
    path = tmp_path / "merges.txt.gz"
    write_merges(path, train_merges(CAPTIONS, 600))
    tokenizer = load_tokenizer(path, 10)
    assert tokenizer.vocab_size == vocabulary_size(path)
    assert (tokenizer.sot_token_id, tokenizer.eot_token_id) == (tokenizer.vocab_size - 2, tokenizer.vocab_size - 1)


def test_a_caption_comes_back_from_its_tokens(tmp_path: Path) -> None:
    path = tmp_path / "merges.txt.gz"
    write_merges(path, train_merges(CAPTIONS, 600))
    tokenizer = load_tokenizer(path, 10)
    for caption in ("home", "arrow left", "an unseen word", "café"):
        assert tokenizer.decode(tokenizer.encode(caption)) == f"{caption} "
    assert len(tokenizer.encode("home")) == 1
    assert tokenizer("home").tolist()[0] == [
        tokenizer.sot_token_id,
        *tokenizer.encode("home"),
        tokenizer.eot_token_id,
        *[0] * 7,
    ]


def test_of_equally_frequent_pairs_the_one_of_older_letters_comes_first() -> None:
    # All four pairs occur twice. Letters in the order of the alphabet; then "ab" and "cd" are merges of their own.
    assert train_merges(["cdy cdy", "abx abx"], 600) == ["a b", "c d", "ab x</w>", "cd y</w>"]


MANY_TIES = """
import hashlib, random
from clip_scaling.models.tokenizer import train_merges
words = ["".join(random.Random(i).choices("abcdefghij", k=2 + i % 5)) for i in range(2000)]
captions = [" ".join(words[i : i + 4]) for i in range(0, 2000, 4)] * 2
random.shuffle(captions)
merges = train_merges(captions, 4096)
print(len(merges), hashlib.sha256("\\n".join(merges).encode()).hexdigest())
"""


def test_the_merges_follow_from_the_captions_whatever_their_order_and_the_process() -> None:
    # The trainer of `tokenizers` seeds its tables differently in each process.
    command = [sys.executable, "-c", MANY_TIES]
    found = {subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(50)}
    assert len(found) == 1
    assert int(found.pop().split()[0]) > 1000


@pytest.mark.parametrize("content", [b"not gzip", gzip.compress(b"#version: 0.2\na b c"), gzip.compress(b"a b")])
def test_a_damaged_merges_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="merges.txt.gz: not a"):
        load_tokenizer(path, 10)


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="merges.txt.gz: no such tokenizer"):
        vocabulary_size(tmp_path / "merges.txt.gz")
