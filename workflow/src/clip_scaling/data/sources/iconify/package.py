"""The npm package @iconify/json as a source: 380 K captioned icons of 240 vendors, each with its licence."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ....errors import DataError
from ..base import ClassificationHoldOut
from ..holdout import classification_set, drop_repeats, retrieval_set, widespread_captions
from ..pairs import HeldOutSet, Pair, SourceContent, hash_order
from .captions import caption_of, country_names, flag_caption, is_flag_set
from .config import IconifySource
from .raster import Raster, render_all

log = logging.getLogger(__name__)

_WEB = re.compile(r"https?://[^\s<>()|\[\]\"']+")
"""An address that may stand in ATTRIBUTION.md."""
_COUNTRY_SET = "twemoji"  # its `chars` spell every ISO 3166 code as code points


class Icon(NamedTuple):
    """A candidate pair before it is drawn. identity: `vendor:name`."""

    identity: str
    caption: str
    svg: str

    @property
    def vendor(self) -> str:
        return self.identity.split(":", 1)[0]


@dataclass(frozen=True)
class Credit:
    """What a licence asks to be named of a set, as cells of a Markdown table."""

    title: str
    author: str
    licence: str
    source: str

    @classmethod
    def of(cls, info: dict[str, Any]) -> Credit:
        """Read a set's `info`, as iconify writes it."""
        author, licence = info["author"], info["license"]
        return cls(
            _plain(info["name"]),
            _link(author["name"], author.get("url")),
            _link(licence["spdx"], licence.get("url")),
            _address(author.get("url")),
        )


@dataclass(frozen=True)
class Package:
    """icons: admitted candidates. parsed: all icons of the package. dropped: icons left out, by reason.
    sets: what ATTRIBUTION.md says of every admitted set."""

    icons: list[Icon]
    parsed: int
    dropped: Counter[str]
    sets: dict[str, Credit]


def build(archive: Path, recipe: IconifySource, workers: int) -> SourceContent:
    """Parse, hold out, draw and clean the package. The result does not depend on `workers`."""
    check_sha256(archive, recipe.sha256)
    package = read_package(archive, recipe)
    dropped = package.dropped
    vendors, pool = _reserve_vendors(package, recipe, dropped)
    pool = _cap_sets(pool, recipe.max_icons_per_set, dropped)

    spread = widespread_captions((icon.vendor, icon.caption) for icon in pool)
    # Of the held-out vendors only drawings of captions that training knows can become test images.
    candidates = [icon for icons in vendors.values() for icon in icons if icon.caption in spread]
    drawn = _draw([*pool, *candidates], recipe, workers)
    training, held_out = _hold_out(_drawn_pairs(pool, drawn, dropped), vendors, spread, drawn, recipe)
    evaluation = {name: {pair.pixels for pair in held.pairs} for name, held in held_out.items()}
    training = list(drop_repeats(training, evaluation, dropped))
    used = [*training, *(pair for held in held_out.values() for pair in held.pairs)]
    return SourceContent(training, held_out, package.parsed, dict(dropped), _attribution(package, used, recipe.version))


def _hold_out(
    training: list[Pair],
    vendors: dict[str, list[Icon]],
    spread: dict[str, int],
    drawn: dict[str, Raster],
    recipe: IconifySource,
) -> tuple[list[Pair], dict[str, HeldOutSet]]:
    """The training pairs that are left, and every evaluation set: classes first, then captions that name none."""
    held_out: dict[str, HeldOutSet] = {}
    for name, wanted in sorted(recipe.held_out.items()):
        if isinstance(wanted, ClassificationHoldOut):
            shown = [icon for icon in vendors[name] if icon.identity in drawn]
            held_out[name] = classification_set(
                name,
                _drawn_pairs(shown, drawn, Counter()),
                spread,
                wanted.classes,
                wanted.templates,
                len(vendors[name]),
            )
    for name, wanted in sorted(recipe.held_out.items()):
        if not isinstance(wanted, ClassificationHoldOut):
            reserved = {caption for held in held_out.values() for caption in held.classes}
            taken = {pair.pixels for held in held_out.values() for pair in held.pairs}
            held_out[name], captions = retrieval_set(name, training, wanted.pairs, reserved, taken)
            training = [pair for pair in training if pair.caption not in captions]
    return training, held_out


def check_sha256(archive: Path, expected: str) -> None:
    """DataError with both hashes where the archive is another one, or missing."""
    try:
        with open(archive, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError(
            f"{archive}: no such file. Run `snakemake --cores all {archive}` or set `path` to a tarball."
        ) from None
    if found != expected:
        raise DataError(
            f"{archive}: sha256 is {found}, the recipe says {expected}. "
            "Delete the file to fetch it again, or correct `version` and `sha256` in the source."
        )


def read_package(archive: Path, recipe: IconifySource) -> Package:
    """Captioned SVGs of every admitted icon. DataError where the archive is no such package."""
    try:
        return _read_package(archive, recipe)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataError(
            f"{archive}: an icon set is not in iconify's format ({type(error).__name__}: {error}). "
            "Is it a tarball of @iconify/json?"
        ) from error


def _read_package(archive: Path, recipe: IconifySource) -> Package:
    sets = {raw["prefix"]: raw for raw in _read_sets(archive)}
    if not sets:
        raise DataError(f"{archive}: holds no package/json/*.json. Is it a tarball of @iconify/json?")
    asked = {*(recipe.include_sets or ()), *(_named_vendors(recipe))}
    if unknown := asked - set(sets):
        raise DataError(
            f"{archive}: no icon set named {', '.join(sorted(unknown))}. See package/collections.json in it."
        )
    countries = country_names(sets.get(_COUNTRY_SET, {}).get("chars", {}))
    dropped: Counter[str] = Counter()
    icons: list[Icon] = []
    admitted: dict[str, Credit] = {}
    for vendor, raw in sets.items():
        if reason := _refusal(raw["info"], vendor, recipe):
            dropped[reason] += len(raw["icons"])
            continue
        admitted[vendor] = Credit.of(raw["info"])
        captions = _captions(raw, countries)
        for name, icon in raw["icons"].items():
            if icon.get("hidden"):
                dropped["hidden_icon"] += 1
            elif caption := captions[name]:
                icons.append(Icon(f"{vendor}:{name}", caption, _svg(icon, raw, recipe.image_size)))
            else:
                dropped["no_caption"] += 1
    parsed = len(icons) + sum(dropped.values())
    log.info("parsed=%d sets=%d admitted=%d admitted_sets=%d", parsed, len(sets), len(icons), len(admitted))
    return Package(icons, parsed, dropped, admitted)


def _read_sets(archive: Path) -> Iterator[dict[str, Any]]:
    try:
        with tarfile.open(archive, "r:gz") as package:
            for member in package:
                if member.isreg() and member.name.startswith("package/json/") and member.name.endswith(".json"):
                    file = package.extractfile(member)
                    assert file is not None  # a regular member
                    found = json.load(file)
                    if not isinstance(found["prefix"], str):
                        raise TypeError(f"{member.name}: its prefix is no text")
                    yield found
    except (tarfile.TarError, OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise DataError(f"{archive}: corrupt tarball ({error}). Delete it and fetch it again.") from error


def _named_vendors(recipe: IconifySource) -> Iterator[str]:
    for wanted in recipe.held_out.values():
        if isinstance(wanted, ClassificationHoldOut):
            yield from wanted.sets
            yield from wanted.near_twins


def _refusal(info: dict[str, Any], vendor: str, recipe: IconifySource) -> str:
    """Why a whole set is left out, or ""."""
    if info["license"].get("spdx") not in recipe.licences:
        return "licence"
    if info.get("category") in recipe.exclude_categories:
        return "category"
    if recipe.include_sets is not None and vendor not in {*recipe.include_sets, *_named_vendors(recipe)}:
        return "not_included_set"
    return ""


def _captions(raw: dict[str, Any], countries: dict[str, str]) -> dict[str, str | None]:
    suffixes = raw.get("suffixes", ())
    if is_flag_set(raw["icons"], countries):
        return {name: flag_caption(name, countries, suffixes) for name in raw["icons"]}
    return {name: caption_of(name, raw.get("prefixes", ()), suffixes) for name in raw["icons"]}


def _svg(icon: dict[str, Any], raw: dict[str, Any], size: int) -> str:
    """The icon's body as a square SVG of `size` pixels; a view box of another aspect is centred in it.

    Icons override the set's defaults, as iconify's format says.
    """
    left, top, width, height = (
        icon.get(field, raw.get(field, default))
        for field, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="black" '
        f'width="{size}" height="{size}" viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
    )


def _reserve_vendors(
    package: Package, recipe: IconifySource, dropped: Counter[str]
) -> tuple[dict[str, list[Icon]], list[Icon]]:
    """Icons of the held-out vendors by evaluation set, and the training pool; both in hash order."""
    owner: dict[str, str] = {}
    twins: set[str] = set()
    for name, wanted in sorted(recipe.held_out.items()):
        if isinstance(wanted, ClassificationHoldOut):
            twins.update(wanted.near_twins)
            for vendor in wanted.sets:
                if vendor not in package.sets:
                    raise DataError(
                        f"held_out.{name}: icon set {vendor!r} is left out by `licences` or `exclude_categories`. "
                        "Name another set or admit it."
                    )
                if owner.setdefault(vendor, name) != name:
                    raise DataError(f"icon set {vendor!r} is held out by both {owner[vendor]} and {name}. Keep one.")
    held: dict[str, list[Icon]] = {name: [] for name in set(owner.values())}
    pool = []
    for icon in sorted(package.icons, key=lambda icon: hash_order(icon.identity)):
        if icon.vendor in owner:
            held[owner[icon.vendor]].append(icon)
        elif icon.vendor in twins:
            dropped["near_twin_of_held_out_set"] += 1
        else:
            pool.append(icon)
    return held, pool


def _cap_sets(pool: list[Icon], limit: int, dropped: Counter[str]) -> list[Icon]:
    taken: Counter[str] = Counter()
    kept = []
    for icon in pool:
        taken[icon.vendor] += 1
        if taken[icon.vendor] <= limit:
            kept.append(icon)
    dropped["over_set_cap"] += len(pool) - len(kept)
    return kept


def _draw(icons: list[Icon], recipe: IconifySource, workers: int) -> dict[str, Raster]:
    rasters = render_all([icon.svg for icon in icons], recipe.image_size, workers)
    return {icon.identity: raster for icon, raster in zip(icons, rasters, strict=True)}


def _drawn_pairs(icons: list[Icon], drawn: dict[str, Raster], dropped: Counter[str]) -> list[Pair]:
    pairs = []
    for icon in icons:
        raster = drawn[icon.identity]
        if raster.refused:
            dropped[raster.refused] += 1
        else:
            pairs.append(Pair(icon.identity, icon.caption, raster.png, raster.pixels))
    return pairs


def _attribution(package: Package, used: list[Pair], version: str) -> str:
    """A Markdown table of every set that is used, with what its licence asks to be named."""
    counts = Counter(pair.identity.split(":", 1)[0] for pair in used)
    lines = [
        "# Attribution",
        "",
        f"Images drawn from the npm package @iconify/json {version}. Each icon set keeps its own licence.",
        "",
        "| set | title | author | licence | source | icons used |",
        "|---|---|---|---|---|---|",
    ]
    for vendor, count in sorted(counts.items()):
        credit = package.sets[vendor]
        lines.append(f"| {vendor} | {credit.title} | {credit.author} | {credit.licence} | {credit.source} | {count} |")
    return "\n".join(lines) + "\n"


def _link(text: str, url: str | None) -> str:
    """A Markdown link, or the text alone where the address is none of the web's."""
    address = _address(url)
    return f"[{_plain(text)}]({address})" if address else _plain(text)


def _plain(text: str) -> str:
    """A text that stays one in a cell of a Markdown table."""
    return " ".join(str(text).replace("<", "&lt;").replace(">", "&gt;").replace("|", "&#124;").split())


def _address(url: str | None) -> str:
    """An address of the web as it is; empty for others, such as `javascript:`."""
    return url if url and _WEB.fullmatch(url) else ""
