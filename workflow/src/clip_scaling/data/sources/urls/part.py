"""One part of a source of kind url_list: ask for what is missing, then say what became of every row of its list."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Hashable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ....errors import DataError
from ....records.data import PartRecord
from ....records.files import atomic_path, remake
from ..filters import rows_as_json
from .attempts import RESULT, blank_removed, next_batch, read_attempts, remove_unfinished
from .config import UrlListSource
from .download import fetch_batch
from .failures import PASSING
from .lists import WantedRows, wanted_rows
from .removal import RemovalList

log = logging.getLogger(__name__)

SAME_PICTURE_BITS = 6
"""Of 64 bits of difference hash: an image that was encoded again or resized differs in fewer."""
_KEPT = ["identity", "url", "caption", "metadata", "tar", *RESULT]


def download_part(
    root: Path, name: str, lists: tuple[Path, str], recipe: UrlListSource, removal: RemovalList, round: int
) -> None:
    """Fetch what this round has to ask for into root/fetched, and write root/round-{round}.{parquet,json}.

    lists: the part's list and its suffix. round: 0 asks for every row, a later one for what failed for a passing
    reason. Safe to repeat after any interruption; the result does not depend on processes, threads or interruptions.
    """
    fetched = root / "fetched"
    fetched.mkdir(parents=True, exist_ok=True)
    remove_unfinished(fetched)
    wanted = wanted_rows(*lists, recipe, removal)
    attempts = read_attempts(fetched)
    if blanked := blank_removed(fetched, attempts, removal):
        log.info("part=%s removed_images_overwritten=%d", name, blanked)
    missing = _to_ask(wanted, attempts, round, removal)
    log.info("part=%s round=%d rows=%d wanted=%d to_ask=%d", name, round, wanted.rows, len(wanted.table), len(missing))
    if missing:
        is_missing = pa.array([identity in missing for identity in wanted.table["identity"].to_pylist()])
        rows = wanted.table.filter(is_missing).select(["identity", "url"])
        fetch_batch(next_batch(fetched, round), rows, recipe)
        attempts = read_attempts(fetched)
    _write_state(root, name, wanted, outcomes(wanted, attempts, round, removal), round)


def _removed_by_hash(attempts: pd.DataFrame, removal: RemovalList) -> set[str]:
    """Identities that ever gave an image on the removal list."""
    return set(attempts.loc[attempts["sha256"].isin(removal.hashes), "identity"])


def _to_ask(wanted: WantedRows, attempts: pd.DataFrame, round: int, removal: RemovalList) -> set[str]:
    """Identities without an image that this round has not asked for: never asked, lost since, or failed in passing."""
    have = set(attempts.loc[attempts["is_present"].astype(bool), "identity"]) | _removed_by_hash(attempts, removal)
    asked_now = set(attempts.loc[attempts["round"] == round, "identity"])
    was_fetched = set(attempts.loc[attempts["outcome"] == "fetched", "identity"])
    last = dict(zip(attempts["identity"], attempts["outcome"], strict=True))
    return {
        identity
        for identity in wanted.table["identity"].to_pylist()
        if identity not in have
        and (
            identity not in last  # never asked
            or identity in was_fetched  # its tar was lost
            or (round > 0 and identity not in asked_now and last[identity] in PASSING)
        )
    }


def outcomes(wanted: WantedRows, attempts: pd.DataFrame, round: int, removal: RemovalList) -> pd.DataFrame:
    """One row a wanted row, in the list's order: `outcome` and, where there is an image, where it lies.

    Of several attempts the last one with an image counts, up to this round; without any the last one. An image that is
    another one than was fetched before, or than the list's sha256 promises, is `image_changed`.
    """
    frame = wanted.table.select(["identity", "url", "caption"]).to_pandas()
    extra = [name for name in wanted.table.column_names if name not in ("identity", "url", "caption")]
    frame["metadata"] = rows_as_json(wanted.table.select(extra)) if extra else "{}"
    until = attempts[attempts["round"] <= round]
    # An image that a later round fetched, before this one was run again, is as good.
    pool = pd.concat([until, attempts[(attempts["round"] > round) & (attempts["outcome"] == "fetched")]])
    pool = pool[pool["is_present"].astype(bool) | (pool["outcome"] != "fetched")]
    chosen = (
        pool.assign(has_image=pool["outcome"] == "fetched")
        .sort_values(["has_image", "batch"], kind="stable")
        .drop_duplicates("identity", keep="last")
    )
    first = attempts[attempts["outcome"] == "fetched"].drop_duplicates("identity", keep="first")
    frame = frame.merge(chosen[["identity", "outcome", "tar", *RESULT]], on="identity", how="left")
    earlier = first.set_index("identity")[["sha256", "dhash"]].reindex(frame["identity"]).reset_index(drop=True)
    promised = wanted.table["sha256"].to_pandas() if "sha256" in wanted.table.column_names else None
    outcome = frame["outcome"].fillna("no_record")
    is_fetched = outcome == "fetched"
    is_other = is_fetched & (frame["sha256"] != earlier["sha256"])
    for row in is_other[is_other].index:
        if (int(frame["dhash"][row]) ^ int(earlier["dhash"][row])).bit_count() > SAME_PICTURE_BITS:
            outcome[row] = "image_changed"
    if promised is not None:
        outcome[is_fetched & promised.notna() & (frame["sha256"] != promised)] = "image_changed"
    outcome[frame["identity"].isin(_removed_by_hash(attempts, removal))] = "removal_list"
    return frame.assign(outcome=outcome)


def _write_state(root: Path, name: str, wanted: WantedRows, state: pd.DataFrame, round: int) -> None:
    counts = Counter(state["outcome"])
    kept = state[state["outcome"] == "fetched"]
    table = pa.Table.from_pandas(kept[_KEPT].astype({"offset": "int64", "size": "int64"}), preserve_index=False)
    with atomic_path(root / f"round-{round}.parquet") as temporary:
        pq.write_table(table, temporary)
    digest = hashlib.sha256()
    for line in zip(state["identity"], state["outcome"], state["stored_sha256"].fillna(""), strict=True):
        digest.update(("\t".join(line) + "\n").encode())
    fetched = counts.pop("fetched", 0)
    PartRecord(
        part=name,
        round=round,
        rows=wanted.rows,
        not_asked=dict(sorted(wanted.dropped.items())),
        asked=len(state),
        fetched=fetched,
        failed=_by_name(counts),
        may_pass=sum(count for reason, count in counts.items() if reason in PASSING),
        outcomes_digest=digest.hexdigest(),
    ).write(root / f"round-{round}.json")
    log.info("part=%s round=%d fetched=%d %s", name, round, fetched, _by_name(counts))


def _by_name(counts: Counter[Hashable]) -> dict[str, int]:
    return {str(reason): count for reason, count in sorted(counts.items(), key=lambda item: str(item[0]))}


def read_part(path: Path) -> tuple[PartRecord, pd.DataFrame]:
    """Read a part's record and the table of its images. DataError where the numbers do not add up."""
    record, beside = PartRecord.read(path), path.with_suffix(".parquet")
    try:
        table = pq.read_table(beside).to_pandas()
    except (OSError, ValueError) as error:
        raise DataError(str(error), place=str(beside), remedy=remake(path)) from None
    balance = sum(record.not_asked.values()) + sum(record.failed.values()) + record.fetched
    if balance != record.rows or len(table) != record.fetched:
        remedy = f"Delete it and run `snakemake --cores all {path}`."
        raise DataError(f"{record.rows} rows, {balance} accounted for", place=str(path), remedy=remedy)
    return record, table
