"""A byte-pair vocabulary of ours in the layout that `open_clip.get_tokenizer("local-dir:...")` finds by itself.

open_clip 3.3 takes SimpleTokenizer's `bpe_path` relative to the process, not to the model's folder, so a vocabulary
that is to travel with a model must be one of transformers: `hf_tokenizer_name` in `text_cfg` makes open_clip look for
tokenizer.json in the folder (of `local-dir:`), or in the repository of that name (of `hf-hub:`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from open_clip.tokenizer import SimpleTokenizer
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from ..models.tokenizer import load_tokenizer
from ..records.files import write_json, write_text

START, END = "<start_of_text>", "<end_of_text>"
PAD = "<PAD>"
"""Capitals: no text holds it once it has been made lower-case."""
OPTIONS = {"clean": "lower", "strip_sep_token": True}
"""`tokenizer_kwargs` in text_cfg. SimpleTokenizer pads with 0, the row of `!`; transformers wants a token of its
own to pad with. That one is called the separator too, and open_clip then writes 0 for it."""
# SimpleTokenizer's pattern, in the syntax of `tokenizers`.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


def is_open_clips_own(merges: Path) -> bool:
    """Whether a merges file is the vocabulary that open_clip uses where none is named."""
    return bool(load_tokenizer(merges, 77).encoder == SimpleTokenizer().encoder)


def as_tokenizers(tokenizer: SimpleTokenizer) -> Tokenizer:
    """The same vocabulary for the library `tokenizers`, with one more row for padding that no model is given."""
    vocabulary = {**tokenizer.encoder, PAD: max(tokenizer.encoder.values()) + 1}
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    made = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.add_special_tokens([START, END, PAD])
    made.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, vocabulary[START]), (END, vocabulary[END])]
    )
    return made


def write_tokenizer(folder: Path, merges: Path, context_length: int) -> dict[str, Any]:
    """Write tokenizer.json and tokenizer_config.json; returns `tokenizer_kwargs` for text_cfg."""
    tokenizer = load_tokenizer(merges, context_length)
    write_text(folder / "tokenizer.json", as_tokenizers(tokenizer).to_str(pretty=True) + "\n")
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": context_length,
            "bos_token": START,
            "eos_token": END,
            "pad_token": PAD,
            "sep_token": PAD,
        },
    )
    return dict(OPTIONS)
