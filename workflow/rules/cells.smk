"""The cells of a trained study, and the functions that rules ask for paths, params and resources."""

from types import SimpleNamespace

from clip_scaling.compute import gmacs_per_sample
from clip_scaling.config import PACKED_FORMAT, RECIPE_VERSION, ExistingSource, IconifySource, UrlListSource
from clip_scaling.counts import format_count
from clip_scaling.grid import Cell, trunk_name
from clip_scaling.study import close_matches, trunk_recipe
from snakemake_executor_plugin_submitit.launch import launcher

CELLS = list(RESOLVED.cells)


wildcard_constraints:
    source="|".join(map(re.escape, STUDY.sources)),
    data="|".join(map(re.escape, STUDY.data)),
    cell="Model-[^/]+",
    trunk="Model-[^/]+",
    samples="[0-9.]+[KMB]?",
    image_size="[0-9]+",
    context_length="[0-9]+",
    learning_rate=r"[0-9.e+-]+",


def study_cell(name):
    """The cell of that name; a name that is not in the grid is refused with its nearest neighbours."""
    if name not in RESOLVED.cells:
        raise refusal(f"{name!r} is not a cell of study {STUDY.study!r}.{close_matches(name, CELLS)}")
    return RESOLVED.cells[name]


def sweep_cell(model):
    """The cell that the learning rates of a model are compared on."""
    return Cell(model, STUDY.sweep.data, STUDY.sweep.samples_seen, STUDY.sweep.seed)


SWEEP_CELLS = {sweep_cell(model).name: sweep_cell(model) for model in STUDY.grid.models} if STUDY.sweep else {}


def cells_config(wildcards):
    """What the cells follow from, as JSON: the file's laws, title and resources change no table of cells.

    By a function: Snakemake would take the braces of a plain string for wildcards.
    """
    return canonical_json(
        STUDY.model_dump(mode="json", include={"study", "sources", "data", "grid", "recipe", "evaluation"})
    )


# ---------------------------------------------------------------- data


MADE_SOURCES = [name for name, source in STUDY.sources.items() if not isinstance(source, ExistingSource)]
"""For existing.smk's sources prepare_source is no second choice: Snakemake would take it where their files are missing."""


def archive_path(source):
    """Where a source's archive lies: the path in the config, or the file that `fetch_source` writes."""
    if not isinstance(source, IconifySource):
        return []
    return source.path or f"results/data/downloads/iconify-json-{source.version}.tgz"


def source_archive(wildcards):
    return archive_path(STUDY.sources[wildcards.source])


def fetched_source(wildcards):
    """The source whose archive has this version."""
    return next(s for s in STUDY.sources.values() if isinstance(s, IconifySource) and s.version == wildcards.version)


def archive_sha256(wildcards):
    return fetched_source(wildcards).sha256


def source_recipe(wildcards):
    """All of a source's settings but the place of its archive, which is known by its hash."""
    source = STUDY.sources[wildcards.source]
    return canonical_json(source.model_dump(exclude={"path"}))


def source_manifest(wildcards):
    return f"results/data/{RESOLVED.source_of(wildcards.data)}/manifest.json"


def data_tokenizer(wildcards):
    return f"results/data/{RESOLVED.source_of(wildcards.data)}/tokenizer/merges.txt.gz"


def subset_pairs(wildcards):
    return STUDY.data[wildcards.data].pairs


def evaluation_fingerprints(wildcards):
    return [f"results/data/eval-{dataset}/fingerprints.npy" for dataset in EVALUATION_SETS]


def source_fingerprints(wildcards):
    return f"results/data/{RESOLVED.source_of(wildcards.data)}/fingerprints.npy"


def subset_fingerprints(wildcards):
    """What a subset without repeats is chosen by; nothing for a subset of pairs as they come."""
    drop = STUDY.data[wildcards.data].drop_duplicates
    if drop is None:
        return []
    return [
        source_fingerprints(wildcards),
        *(evaluation_fingerprints(wildcards) if drop.evaluation is not None else []),
    ]


def subset_composition(wildcards):
    """Options of the script: in one param, so that a study without them has the command it always had."""
    data = STUDY.data[wildcards.data]
    options = [] if data.coloured_share is None else [f"--coloured-share {data.coloured_share}"]
    if data.drop_duplicates is not None:
        source, *sets = subset_fingerprints(wildcards)
        options.append(f"--fingerprints {source}")
        if data.drop_duplicates.within is not None:
            options.append(f"--within {data.drop_duplicates.within}")
        if data.drop_duplicates.evaluation is not None:
            options.append(f"--against {data.drop_duplicates.evaluation} --sets {' '.join(sets)}")
    if data.is_copied:
        options.append(f"--copy {STUDY.sources[data.source].shard_size}")
    return " ".join(options)


def evaluation_source(wildcards):
    """The source that holds the set out; none for a set from outside."""
    if RESOLVED.evaluation_sets[wildcards.dataset].origin != "held_out":
        return []
    return f"results/data/{RESOLVED.hold_out(wildcards.dataset)[0]}/manifest.json"


def evaluation_origin(wildcards):
    return RESOLVED.evaluation_sets[wildcards.dataset].origin


def evaluation_set(wildcards):
    """Key of the source's held-out sets; the folder of a webdataset; the name of any other."""
    entry = RESOLVED.evaluation_sets[wildcards.dataset]
    if entry.origin == "held_out":
        return RESOLVED.hold_out(wildcards.dataset)[1]
    return str(RESOLVED.suite.folder_of(entry)) if entry.origin in ("idx", "webdataset") else wildcards.dataset


# ---------------------------------------------------------------- cells


def packed_manifest(cell):
    """The packed pairs of a cell: its data, at its model's image size and context length."""
    model = RESOLVED.models[cell.model]
    size, context = model["vision_cfg"].get("image_size", 224), model["text_cfg"].get("context_length", 77)
    return f"results/data/{cell.data}/packed/{size}px-{context}tokens/manifest.json"


def pairs_manifest(cell):
    """What a cell reads: packed pairs, or the tars of its subset."""
    is_packed = STUDY.resources.train_of(cell).input == "packed" and RESOLVED.recipe(cell).trainer == "clip_scaling"
    return packed_manifest(cell) if is_packed else f"results/data/{cell.data}/manifest.json"


def train_input(wildcards):
    return pairs_manifest(study_cell(wildcards.cell))


def sweep_input(wildcards):
    return pairs_manifest(SWEEP_CELLS[wildcards.cell])


def train_tokenizer(wildcards):
    return data_tokenizer(study_cell(wildcards.cell))


def sweep_tokenizer(wildcards):
    return data_tokenizer(SWEEP_CELLS[wildcards.cell])


VALIDATION_SETS = STUDY.evaluation.validation.datasets if STUDY.evaluation.validation else []
VALIDATION_OPTIONS = (
    f"--validation-times {STUDY.evaluation.validation.times}"
    f" --validation-samples {STUDY.evaluation.validation.max_samples}"
    if STUDY.evaluation.validation
    else ""
)


# ---------------------------------------------------------------- parts of cells that are evaluated on their way

PARTS = {name: RESOLVED.curve_steps(cell) for name, cell in RESOLVED.cells.items()}
"""By cell, the steps before its end after which it is evaluated."""


def part_state(name, step):
    """The state of a cell after a step on its way."""
    return f"{STUDY_DIR}/train/{name}/parts/{step}/state.pt"


def cell_steps(wildcards):
    """Steps of the whole cell; a part that the study does not ask for is refused."""
    cell = study_cell(wildcards.cell)
    if int(wildcards.step) not in PARTS[cell.name]:
        raise refusal(f"{cell.name}: step {wildcards.step} is none of {PARTS[cell.name]} (evaluation.learning_curve)")
    return RESOLVED.steps(cell)


# ---------------------------------------------------------------- trunks (schedule wsd)

TRUNKS = {trunk_name(cell): RESOLVED.trunk(cell) for cell in RESOLVED.cells.values() if RESOLVED.branch_step(cell)}


def trunk_cell(wildcards):
    """The cell that branches off a trunk at this budget."""
    cells = TRUNKS.get(wildcards.trunk, [])
    found = [cell for cell in cells if format_count(cell.samples_seen) == wildcards.samples]
    if not found:
        raise refusal(
            f"{wildcards.trunk}/{wildcards.samples} is no branch point of study {STUDY.study!r}."
            + close_matches(wildcards.trunk, TRUNKS)
        )
    return found[0]


def trunk_state(cell):
    """The state that a cell's cooldown starts from."""
    return f"{STUDY_DIR}/trunk/{trunk_name(cell)}/{format_count(cell.samples_seen)}/state.pt"


def train_start(wildcards):
    """The state that a cell's training, or its next part, goes on from; none at its beginning."""
    cell = study_cell(wildcards.cell)
    if RESOLVED.branch_step(cell):
        return trunk_state(cell)
    until = int(getattr(wildcards, "step", RESOLVED.steps(cell)))
    before = [step for step in PARTS[cell.name] if step < until]
    return part_state(cell.name, before[-1]) if before else []


def trunk_start(wildcards):
    cell = trunk_cell(wildcards)
    cells = TRUNKS[wildcards.trunk]
    place = cells.index(cell)
    return trunk_state(cells[place - 1]) if place else []


def trunk_input(wildcards):
    return pairs_manifest(trunk_cell(wildcards))


def trunk_tokenizer(wildcards):
    return data_tokenizer(trunk_cell(wildcards))


def trunk_cell_name(wildcards):
    return trunk_cell(wildcards).name


def trunk_stop(wildcards):
    return RESOLVED.branch_step(trunk_cell(wildcards))


def trunk_recipe_params(wildcards):
    """The recipe of a trunk: one for all its budgets, so that a changed cooldown leaves the trunk alone."""
    cell = trunk_cell(wildcards)
    return canonical_json(
        {
            "recipe": trunk_recipe(RESOLVED.recipe(cell)),
            "model_config": RESOLVED.models[cell.model],
            "recipe_version": RECIPE_VERSION,
        }
    )


# ---------------------------------------------------------------- states that are evaluated

EVALUATED_STATES = [
    *(f"{STUDY_DIR}/train/{name}/parts/{step}/metrics.json" for name, steps in PARTS.items() for step in steps),
    *(
        f"{STUDY_DIR}/trunk/{trunk}/{format_count(cell.samples_seen)}/metrics.json"
        for trunk, cells in TRUNKS.items()
        for cell in cells
    ),
]


def state_run(wildcards):
    """What a saved state is of, as the rules that write it have it: ("train", cell, step) or ("trunk", trunk, samples)."""
    parts = wildcards.run.split("/")
    return parts[0], parts[1], parts[-1]


def state_wildcards(wildcards):
    """The wildcards of the rule that writes the state."""
    kind, run, place = state_run(wildcards)
    return SimpleNamespace(cell=run, step=place) if kind == "train" else SimpleNamespace(trunk=run, samples=place)


def state_tokenizer(wildcards):
    found = state_wildcards(wildcards)
    return trunk_tokenizer(found) if hasattr(found, "trunk") else train_tokenizer(found)


def state_recipe(wildcards):
    found = state_wildcards(wildcards)
    return trunk_recipe_params(found) if hasattr(found, "trunk") else train_recipe(found)


def state_name(wildcards):
    return state_run(wildcards)[1]


# ---------------------------------------------------------------- resources


TRAIN_RESOURCES = canonical_json(STUDY.resources.model_dump(mode="json", exclude_unset=True))
"""For the scripts' command lines: a global, since resources among a rule's params would retrain what they change."""


def cell_resources(wildcards):
    """Resources of the cell, the sweep's cell or the trunk that a job trains."""
    if hasattr(wildcards, "trunk"):
        return STUDY.resources.train_of(trunk_cell(wildcards))
    return STUDY.resources.train_of(SWEEP_CELLS.get(wildcards.cell) or study_cell(wildcards.cell))


def train_threads(wildcards):
    """CPU cores a node: Snakemake counts a job's on one."""
    resources = cell_resources(wildcards)
    return resources.threads * resources.ranks_per_node


def train_mem_mb(wildcards):
    return cell_resources(wildcards).mem_mb


def train_runtime(wildcards):
    return cell_resources(wildcards).runtime_minutes


def train_nodes(wildcards):
    return cell_resources(wildcards).nodes


def train_gpus(wildcards):
    """GPUs of the whole job, on all its nodes."""
    resources = cell_resources(wildcards)
    return resources.gpus * resources.nodes


def train_tasks_per_node(wildcards):
    return cell_resources(wildcards).ranks_per_node


def train_launcher(wildcards):
    """What starts the ranks: nothing for one, else srun in a Slurm allocation or local processes."""
    resources = cell_resources(wildcards)
    return launcher(resources.nodes, resources.ranks_per_node)


def recipe_params(cell, **changes):
    """All that decides a cell's numbers, in canonical form: recipe, model config, recipe version."""
    recipe = RESOLVED.recipe(cell).model_dump() | changes
    return canonical_json(
        {"recipe": recipe, "model_config": RESOLVED.models[cell.model], "recipe_version": RECIPE_VERSION}
    )


def train_recipe(wildcards):
    return recipe_params(study_cell(wildcards.cell))


def sweep_recipe(wildcards):
    return recipe_params(SWEEP_CELLS[wildcards.cell], learning_rate=float(wildcards.learning_rate))


def cell_compute(name):
    """Compute of a cell in GMACs."""
    cell = RESOLVED.cells[name]
    return gmacs_per_sample(RESOLVED.models[cell.model])["total"] * cell.samples_seen


# Longest cells first: the last job to start should be a short one. Data before any cell, or the cells that need the
# largest set would come last.
TRAIN_PRIORITY = {name: rank for rank, name in enumerate(sorted(CELLS, key=cell_compute), start=1)}
DATA_PRIORITY = len(CELLS) + 1


def train_priority(wildcards):
    return TRAIN_PRIORITY[study_cell(wildcards.cell).name]


def evaluate_tokenizer(wildcards):
    return data_tokenizer(study_cell(wildcards.cell))


def evaluate_suite(wildcards):
    """What an evaluation measures beside the sets' own metrics: which of them get laws changes no number."""
    probes = {name: entry.linear_probe for name, entry in RESOLVED.evaluation_sets.items() if entry.linear_probe}
    suite = RESOLVED.suite.model_dump(mode="json", include={"aggregates"} | ({"linear_probe"} if probes else set()))
    # Only where it is not the default: another key would evaluate every cell anew.
    skip = {"on_unreadable": "skip"} if RESOLVED.suite.on_unreadable == "skip" else {}
    return canonical_json(suite | {"probes": probes} | skip)


def fine_tune_settings(wildcards):
    """How a tower is fine-tuned: which cells are changes no number."""
    return canonical_json(RESOLVED.suite.fine_tuning.model_dump(mode="json", exclude={"cells", "control"}))


def fine_tune_model(wildcards):
    return study_cell(wildcards.cell).model


def fine_tune_control(wildcards):
    control = RESOLVED.suite.fine_tuning.control
    return f"results/data/eval-{control}/manifest.json" if control else []
