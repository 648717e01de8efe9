"""Bytes and files of a study by stage: what stays when it is done, and what lies there at its fullest."""

from __future__ import annotations

from ..models.size import ModelSize
from ..records.plan import Stage
from ..study.grid import Cell
from ..study.resolved import ResolvedStudy

CURVE_BYTES = 100 * 250
"""About a hundred points a curve."""
STATE_BYTES_A_PARAMETER = 12
"""fp32 weights and two moments."""
METRICS_BYTES = 20_000


def storage(study: ResolvedStudy, sizes: dict[str, ModelSize], concurrent_jobs: int) -> list[Stage]:
    """Sources, subsets, packed pairs, trunks, training and evaluation, in the order of the DAG.

    concurrent_jobs: runs whose saved states lie there at the same time; the largest are assumed.
    """
    stages = [_sources(study), _subsets(study), _packed(study)]
    cells = list(study.cells.values())
    checkpoints = sum(4 * sizes[cell.model].parameters + CURVE_BYTES for cell in cells)
    states = sorted((_states(study, sizes, cell.model, cell.name) for cell in cells), reverse=True)
    stages.append(
        _stage("train", checkpoints / 1e9, 5 * len(cells), peak_gb=(checkpoints + sum(states[:concurrent_jobs])) / 1e9)
    )
    parts = sum(_part_bytes(study, sizes, cell) for cell in cells) / 1e9
    if parts:
        stages.append(_stage("parts", parts, sum(2 * len(study.curve_steps(cell)) for cell in cells)))
    branching = [cell for cell in cells if study.branch_step(cell)]
    if branching:
        trunks = sum(STATE_BYTES_A_PARAMETER * sizes[cell.model].parameters for cell in branching) / 1e9
        stages.append(_stage("trunk", trunks, 2 * len(branching)))
    evaluated = len(cells) * METRICS_BYTES / 1e9
    stages.append(_stage("evaluate", evaluated, 3 * len(cells)))
    return stages


def cell_storage_gb(study: ResolvedStudy, sizes: dict[str, ModelSize], name: str) -> float:
    """What a cell leaves behind: checkpoint, curve, metrics, states on its way or, under schedule wsd, its branch's."""
    cell = study.cells[name]
    parameters = sizes[cell.model].parameters
    branch = STATE_BYTES_A_PARAMETER * parameters if study.branch_step(cell) else 0
    return (4 * parameters + CURVE_BYTES + METRICS_BYTES + branch + _part_bytes(study, sizes, cell)) / 1e9


def _part_bytes(study: ResolvedStudy, sizes: dict[str, ModelSize], cell: Cell) -> float:
    """The states at which a cell is evaluated on its way."""
    return STATE_BYTES_A_PARAMETER * sizes[cell.model].parameters * len(study.curve_steps(cell))


def _states(study: ResolvedStudy, sizes: dict[str, ModelSize], model: str, name: str) -> float:
    resources = study.config.resources.train_of(study.cells[name])
    held = resources.keep_states * STATE_BYTES_A_PARAMETER * sizes[model].parameters
    newest = STATE_BYTES_A_PARAMETER * sizes[model].parameters
    return held if resources.max_state_gb is None else max(newest, min(held, resources.max_state_gb * 1e9))


def bytes_per_pair(study: ResolvedStudy, source: str) -> float:
    """Of a stored pair in a tar: image, caption, metadata and headers."""
    return study.config.sources[source].estimate(1).bytes_per_pair


def _sources(study: ResolvedStudy) -> Stage:
    total, files = 0.0, 0
    for name in {study.source_of(data) for data in study.config.data}:
        source = study.config.sources[name]
        largest = max(data.pairs for data in study.config.data.values() if data.source == name)
        estimate = source.estimate(max(largest, source.expected_pairs or 0))
        total, files = total + estimate.bytes, files + estimate.files
    return _stage("source", total / 1e9, files)


def _subsets(study: ResolvedStudy) -> Stage:
    total, files = 0.0, 0
    for data in study.config.data.values():
        source = study.config.sources[data.source]
        if source.is_in_place and not data.is_copied:  # a list of pairs
            total += data.pairs * 20
            files += -(-(source.expected_pairs or 0) // source.shard_size) + 2
            continue
        total += data.pairs * (bytes_per_pair(study, data.source) + 16)
        files += -(-data.pairs // study.config.sources[data.source].shard_size) + 2
    return _stage("subset", total / 1e9, files)


def _packed(study: ResolvedStudy) -> Stage:
    packed = set()
    for cell in study.cells.values():
        if study.config.resources.train_of(cell).input == "packed":
            model = study.models[cell.model]
            side, words = model["vision_cfg"].get("image_size", 224), model["text_cfg"].get("context_length", 77)
            packed.add((cell.data, side, words))
    total = sum(study.config.data[data].pairs * (3 * side**2 + 4 * words) for data, side, words in packed)
    return _stage("packed", total / 1e9, 3 * len(packed))


def _stage(name: str, gb: float, files: int, peak_gb: float | None = None) -> Stage:
    """peak_gb: None where the stage never holds more than at rest."""
    return Stage(stage=name, gb=gb, peak_gb=gb if peak_gb is None else peak_gb, files=files)
