"""The cells of a trained study, and what rules ask of them: inputs, params, priorities."""

from types import SimpleNamespace

from clip_scaling.models.compute import gmacs_per_sample
from clip_scaling.study.config.training import RECIPE_VERSION
from clip_scaling.study.counts import format_count
from clip_scaling.study.grid import Cell, trunk_name

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
    """What the cells follow from, as JSON: the file's laws, title, resources and jobs change no table.

    By a function: Snakemake would take the braces of a plain string for wildcards.
    """
    sections = {"study", "sources", "data", "grid", "recipe", "evaluation"}
    # A key that studies of an older release do not know, where it is not used.
    usual = {"precision"} if STUDY.evaluation.precision == "fp32" else set()
    return canonical_json(STUDY.model_dump(mode="json", include=sections, exclude={"evaluation": {"jobs"} | usual}))


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
            "recipe": RESOLVED.recipe(cell).of_trunk(),
            "model_config": RESOLVED.models[cell.model],
            "recipe_version": RECIPE_VERSION,
        }
    )


# ---------------------------------------------------------------- what a training job is of, for its command line


def whole_cell(wildcards):
    return Untracked(f"cell --cell {wildcards.cell}")


def part_of_cell(wildcards):
    steps = f"--stop {wildcards.step} --steps {cell_steps(wildcards)}"
    return Untracked(f"part --run {wildcards.cell} --cell {wildcards.cell} {steps}")


def part_of_trunk(wildcards):
    cell = f"--cell {trunk_cell_name(wildcards)} --stop {trunk_stop(wildcards)}"
    return Untracked(f"part --run {wildcards.trunk} {cell}")


# ---------------------------------------------------------------- params and priorities


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
