"""Law files: verdicts, and files that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_scaling.errors import ManifestError
from clip_scaling.records.files import read_json, write_json
from clip_scaling.records.laws import FittedLaw, LawFile, Verdict

from .filled import filled, law_file


@pytest.mark.parametrize(
    ("text", "parts", "short"),
    [
        ("law", ("law", "", ""), "law"),
        ("law, not significant: 3 points: few", ("law", "not significant", "3 points: few"), "law, not significant"),
        ("no law: icons acc1 (a): flat", ("no law", "", "icons acc1 (a): flat"), "no law"),
    ],
)
def test_a_verdict_is_a_kind_a_reservation_and_a_reason(text: str, parts: tuple[str, str, str], short: str) -> None:
    verdict = Verdict.parse(text)
    assert (verdict.kind, verdict.reservation, verdict.reason) == parts
    assert (str(verdict), verdict.short, verdict.is_law) == (text, short, parts[0] == "law")


def test_other_words_are_no_verdict() -> None:
    with pytest.raises(ValueError, match="'lawless' is no verdict"):
        Verdict.parse("lawless")


def test_a_law_file_is_read_as_it_was_written_and_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    law = law_file(fits=[filled(FittedLaw, verdict="law, not significant: 3 points", alpha=-1, r2=1.0)])
    path = tmp_path / law.place
    law.write(path)
    assert LawFile.read(path) == law
    raw = read_json(path)
    assert (raw["fits"][0]["verdict"], raw["fits"][0]["alpha"]) == ("law, not significant: 3 points", -1)
    raw["fits"][0]["verdict"] = "perhaps"
    write_json(path, raw)
    with pytest.raises(ManifestError, match=r"acc1.json.*fits\.0\.verdict: .*'perhaps' is no verdict.*snakemake"):
        LawFile.read(path)
