// The interactive charts. Everything drawn comes from the files that the page holds; nothing is fetched.
const AXES = {
  compute_gmacs: ["compute (GMAC per sample × samples seen)", powerText],
  samples_seen: ["samples seen", countText],
  unique_pairs: ["unique training pairs", countText],
  gmacs_per_sample: ["model size (GMAC per sample)", plain],
};
const SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"];
const SCALE_COLOURS = { log: "#0072b2", logit: "#d55e00" };

class Explorer {
  constructor(files, data, charts) {
    this.files = files;
    this.charts = charts;
    this.data = data;
    this.laws = new Map();
    this.targets = this.data.targets.filter((target) => target.file in files);
    this.picked = null;
    this.queue = Promise.resolve();
    this.bySource = new Map(this.data.sources.map((source) => [source.name, source.title]));
    this.byData = new Map(this.data.data.map((data) => [data.name, data]));
    this.byModel = new Map(this.data.models.map((model) => [model.name, model]));
    this.several = this.data.sources.length > 1;
    this.fillControls();
    for (const control of $("controls").elements) control.addEventListener("change", () => this.update());
    $("cell").addEventListener("change", () => this.pick($("cell").value === "" ? null : Number($("cell").value)));
    $("quantity").addEventListener("change", () => this.update());
    $("save-points").addEventListener("click", () => this.savePoints());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.update());
    this.update();
  }

  fillControls() {
    options($("target"), this.targets.map((target, i) => [i, target.title]));
    options($("axis"), Object.entries(AXES).map(([key, [title]]) => [key, title.replace(/ \(GMAC per sample ×.*/, "")]));
    options($("cell"), [["", "none"], ...this.data.cells.map((cell, i) => [i, this.cellTitle(cell)])]);
    const swatch = (entry) => {
      const box = make("span", { class: "swatch", "aria-hidden": "true" });
      box.style.background = entry.colour;
      return box;
    };
    const shape = (entry) => {
      const path = { circle: "M-1 0A1 1 0 1 0 1 0A1 1 0 1 0-1 0Z", square: "M-.85-.85H.85V.85H-.85Z",
        "triangle-up": "M0-1L1 .8H-1Z", diamond: "M0-1.1L.8 0L0 1.1L-.8 0Z", "triangle-down": "M0 1L1-.8H-1Z",
        cross: "M-.35-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35Z" }[entry.shape] ?? entry.shape;
      const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      icon.setAttribute("viewBox", "-1.2 -1.2 2.4 2.4");
      icon.setAttribute("class", "swatch");
      icon.setAttribute("aria-hidden", "true");
      const drawn = document.createElementNS("http://www.w3.org/2000/svg", "path");
      drawn.setAttribute("d", path);
      icon.append(drawn);
      return icon;
    };
    const boxes = (id, entries, icon) => {
      if (entries.length < 2) $(id).hidden = true;
      for (const entry of entries) {
        const input = make("input", { type: "checkbox", checked: "", value: entry.name });
        $(id).append(make("label", {}, input, icon ? icon(entry) : "", entry.title ?? `${entry.name} (${entry.size})`));
      }
    };
    boxes("data-filter", this.data.data, swatch);
    boxes("model-filter", this.data.models, shape);
    boxes("source-filter", this.data.sources);
    const quantities = [...new Set(this.data.curves.map((curve) => curve.quantity))];
    options($("quantity"), quantities.map((name) => [name, this.data.quantities[name]]));
    $("curves").hidden = quantities.length === 0;
  }

  cellTitle(cell) {
    const seed = new Set(this.data.cells.map((other) => other.seed)).size > 1 ? `, seed ${cell.seed}` : "";
    const source = this.several ? `, ${this.bySource.get(cell.source)}` : "";
    return `${cell.model}, ${cell.data}, ${countText(cell.samples_seen)} samples${seed}${source}`;
  }

  law(target) {
    if (!this.laws.has(target.file)) this.laws.set(target.file, JSON.parse(this.files[target.file]));
    return this.laws.get(target.file);
  }

  shown(cell) {
    const checked = (id, name) => [...$(id).querySelectorAll("input")].every((box) => box.value !== name || box.checked);
    return checked("data-filter", cell.data) && checked("model-filter", cell.model) && checked("source-filter", cell.source);
  }

  update() {
    const target = this.targets[Number($("target").value)];
    const law = this.law(target);
    const methods = [...new Set(law.fits.map((fit) => fit.method))];
    options($("method"), [["", "the study's choice"], ...methods.map((name) => [name, name])]);
    const method = $("method").value;
    const fits = law.fits.filter((fit) => fit.method === (method || target.headline[fit.source]));
    this.queue = this.queue
      .then(() => this.drawLaw(target, law, fits))
      .then(() => this.drawCurves())
      .then(() => this.drawSensitivity(target, law, fits))
      .catch((error) => this.fail(error));
    this.tellVerdicts(target, fits);
    this.tellCell();
  }

  fail(error) {
    $("explorer-error").textContent = `This chart could not be drawn (${error.message}). The figures below show the same.`;
    throw error;
  }

  async draw(id, spec, datasets, label) {
    const place = $(id);
    this.views ??= {};
    this.views[id]?.finalize();
    // The chart is one picture with one description; its parts would be hundreds of unnamed ones.
    if (!place.firstChild) place.append(make("div", { class: "plot", "aria-hidden": "true" }));
    const result = await vegaEmbed(place.firstChild, { ...spec, datasets, config: theme() }, {
      mode: "vega-lite", renderer: "svg", actions: false, ast: true,
      tooltip: { theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light" },
    });
    this.views[id] = result.view;
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", label);
    place.dataset.drawn = Object.values(datasets).reduce((sum, rows) => sum + rows.length, 0);
    result.view.addEventListener("click", (event, item) => {
      if (item?.datum?.number !== undefined) this.pick(item.datum.number);
    });
  }

  ink(source) {
    return this.data.lines[source] ?? css("ink");
  }

  pointRows(target, law, fits) {
    const axis = $("axis").value;
    const error = (value) => (target.is_loss ? value : 1 - value);
    const said = new Map();
    for (const row of law.predictions)
      if (fits.some((fit) => fit.method === row.method && fit.source === row.source))
        said.set([row.source, row.model, row.data, row.samples_seen].join("|"), row);
    const points = [];
    const predicted = [];
    const hollow = (cell) => this.several && cell.source !== this.data.sources[0].name;
    for (const [number, value, low, high] of target.points) {
      const cell = this.data.cells[number];
      if (!this.shown(cell) || value <= 0) continue;
      const colour = this.byData.get(cell.data).colour;
      const row = {
        what: "measured", number, x: cell[axis], y: value, colour, shape: this.byModel.get(cell.model).shape,
        fill: hollow(cell) ? css("paper") : colour, stroke: hollow(cell) ? colour : css("ink"),
        width: number === this.picked ? 3 : hollow(cell) ? 1.6 : 0.7, area: 3 * cell.area,
        low: low > 0 ? low : null, high, model: cell.model, data: cell.data, samples: countText(cell.samples_seen),
        epochs: plain(cell.samples_seen / cell.unique_pairs), compute: powerText(Number(cell.compute_gmacs.toPrecision(3))),
        error: plain(value), interval: low == null || high == null ? "not measured" : `${plain(low)} to ${plain(high)}`,
        rate: cell.recipe?.learning_rate ?? "not recorded", code: cell.made?.code?.slice(0, 12) ?? "not recorded", cell: cell.cell,
      };
      const foretold = said.get([cell.source, cell.model, cell.data, cell.samples_seen].join("|"));
      row.said = "nothing";
      if (foretold && foretold.predicted !== null) {
        const ends = [foretold.low, foretold.high].map((end) => (end === null ? null : error(end)));
        if (!target.is_loss) ends.reverse();
        row.said = plain(error(foretold.predicted));
        const place = { ...row, what: "predicted", ink: colour, y: error(foretold.predicted),
          low: ends[0] > 0 ? ends[0] : null, high: ends[1] };
        if (place.y > 0) predicted.push(place);
      }
      if (!$("intervals").checked) row.low = row.high = null;
      points.push(row);
    }
    return { points, predicted: $("predictions").checked ? predicted : [] };
  }

  curveRows(fits) {
    const rows = [];
    if ($("axis").value !== "compute_gmacs") return rows;
    for (const fit of fits) {
      if (!fit.verdict.startsWith("law") || !this.shownSource(fit.source)) continue;
      const largest = Math.max(...this.data.cells.filter((c) => c.source === fit.source).map((c) => c.compute_gmacs));
      const inside = fit.curve.filter((point) => point.compute_gmacs <= largest);
      const beyond = [...inside.slice(-1), ...fit.curve.filter((point) => point.compute_gmacs > largest)];
      for (const [part, dash] of [[inside, [1, 0]], [beyond, [5, 4]]])
        for (const point of part)
          rows.push({ x: point.compute_gmacs, y: point.error, low: point.low ?? point.error, high: point.high ?? point.error,
            ink: this.ink(fit.source), dash, source: fit.source, part: `${fit.source} ${dash}` });
    }
    return rows;
  }

  shownSource(name) {
    return [...$("source-filter").querySelectorAll("input")].every((box) => box.value !== name || box.checked);
  }

  async drawLaw(target, law, fits) {
    const { points, predicted } = this.pointRows(target, law, fits);
    const curve = this.curveRows(fits);
    const [title, text] = AXES[$("axis").value];
    $("no-points").hidden = points.length > 0;
    $("law-chart").hidden = points.length === 0;
    $("shown-points").textContent = `${points.length} of ${target.points.length} points shown`;
    if (!points.length) return;
    const xs = [...points, ...curve].map((row) => row.x);
    const floor = Math.min(...points.map((row) => row.y)) / 1.5;
    const tails = curve.map((row) => row.y).filter((y) => y > floor);
    const [x, y] = [limits(xs, 0.06), limits([...points.map((row) => row.y), ...tails, ...points.flatMap((row) => [row.low, row.high])
      .filter((end) => end > floor)], 0.06)];
    const wide = $("law-chart").clientWidth > 560;
    const spec = withAxes(this.charts.law, {
      x: logAxis(title, x, text, logTicks(...x, wide ? 5 : 3)), y: logAxis(target.axis, y, plain, logTicks(...y, 4)),
    });
    await this.draw("law-chart", spec, { points, curve, predicted }, `${target.title}: ${target.axis} against ${title}, ${points.length} points. The table of cells holds the same numbers.`);
  }

  async drawCurves() {
    const quantity = $("quantity").value;
    const curves = [];
    const ends = [];
    for (const curve of this.data.curves) {
      const cell = this.data.cells[curve.cell];
      if (curve.quantity !== quantity || !this.shown(cell)) continue;
      const own = curve.samples.map((samples, i) => ({
        x: samples, y: curve.value[i], number: curve.cell, cell: cell.cell, colour: this.byData.get(cell.data).colour,
        shape: this.byModel.get(cell.model).shape, model: cell.model, data: cell.data, samples: countText(samples),
        value: curve.value[i] === null ? "" : plain(curve.value[i]), rate: cell.recipe?.learning_rate ?? "not recorded",
        opacity: this.picked === null ? 0.75 : curve.cell === this.picked ? 1 : 0.2, width: curve.cell === this.picked ? 2.6 : 1.3,
      }));
      curves.push(...own);
      ends.push(own.at(-1));
    }
    $("curve-chart").hidden = !curves.length;
    if (!curves.length) return;
    const x = limits(curves.map((row) => row.x), 0.03);
    const wide = $("curve-chart").clientWidth > 560;
    const spec = withAxes(this.charts.curves, { x: logAxis("samples seen", x, countText, logTicks(...x, wide ? 5 : 3)) });
    for (const layer of spec.layer) layer.encoding.y.axis = { title: this.data.quantities[quantity] };
    await this.draw("curve-chart", spec, { curves, ends }, `${this.data.quantities[quantity]} against samples seen, ${ends.length} cells.`);
  }

  async drawSensitivity(target, law, fits) {
    const rows = (law.sensitivity ?? []).filter((row) => this.shownSource(row.source));
    $("sensitivity").hidden = !rows.length;
    if (!rows.length) return;
    const estimators = [...new Set(rows.map((row) => row.estimator))];
    const name = (row) => (this.several ? `${this.bySource.get(row.source)}: ${row.points}` : row.points);
    const choices = rows.map((row) => ({
      row: name(row), alpha: row.alpha, points: row.points, scale: row.scale, estimator: row.estimator,
      "left out": row.left_out || "nothing", runs: row.n_points, "α": plain(row.alpha),
      colour: row.left_out ? css("muted") : SCALE_COLOURS[row.scale], shape: SHAPES[estimators.indexOf(row.estimator) % SHAPES.length],
    }));
    const headline = fits.filter((fit) => fit.alpha !== null && fit.verdict.startsWith("law") && this.shownSource(fit.source))
      .map((fit) => ({ alpha: fit.alpha, low: fit.alpha_low, high: fit.alpha_high, ink: this.ink(fit.source) }));
    const spec = structuredClone(this.charts.sensitivity);
    const ends = [...choices.map((choice) => choice.alpha), ...headline.flatMap((law) => [law.low ?? law.alpha, law.high ?? law.alpha])];
    const room = 0.04 * (Math.max(...ends) - Math.min(...ends)) || 0.01;
    const domain = [Math.min(...ends) - room, Math.max(...ends) + room];
    for (const layer of spec.layer) Object.assign(layer.encoding.x, { axis: { title: "exponent α" }, scale: { domain, nice: false } });
    spec.height = 60 + 26 * new Set(choices.map((choice) => choice.row)).size;
    const symbols = { circle: "●", square: "■", "triangle-up": "▲", diamond: "◆", cross: "✚", "triangle-down": "▼" };
    $("sensitivity-key").textContent = `${estimators.map((one, i) => `${symbols[SHAPES[i % SHAPES.length]]} ${one}`).join(", ")}; ` +
      "blue: fitted to the logarithm of the error, orange: to its logit; grey: one model or training set left out. Line and band: the law above with its 95 % interval.";
    await this.draw("sensitivity-chart", spec, { choices, headline }, `Exponents of ${target.title} by ${rows.length} choices of points, scale and estimator.`);
  }

  fileLink(path, text) {
    return make("a", { href: path, "data-file": path }, text);
  }

  tellVerdicts(target, fits) {
    const items = fits.map((fit) => {
      const item = make("li");
      if (this.several) item.append(make("strong", {}, `${this.bySource.get(fit.source)}: `));
      if (fit.verdict.startsWith("law") && fit.alpha !== null) {
        const [exponent, interval] = withInterval(fit.alpha, fit.alpha_low, fit.alpha_high).split(" [");
        const floor = fit.floor === null || fit.floor === undefined ? "" : ` + ${plain(fit.floor)}`;
        // A law of several factors has no one β: only the exponent of compute can be told.
        if (fit.beta === null) item.append(`Exponent of compute ${exponent}`);
        else item.append(make("i", {}, "E"), ` = ${powerText(Number(fit.beta.toPrecision(3)))} `, make("i", {}, "C"), make("sup", {}, exponent), floor);
        item.append(interval ? ` (95 % interval ${interval.slice(0, -1).replace(", ", " to ")}). ` : ". ");
      }
      const verdict = fit.verdict.replace(`${target.dataset} ${target.metric} (${fit.source}): `, "").replace(/\.$/, "");
      item.append(`${verdict[0].toUpperCase()}${verdict.slice(1)}. Method ${fit.method}, ${fit.n_points} points. `);
      return item;
    });
    $("verdicts").replaceChildren(...items);
    $("law-json").replaceChildren(this.fileLink(target.file, target.file));
  }

  pick(number) {
    this.picked = number;
    $("cell").value = number ?? "";
    this.update();
  }

  tellCell() {
    const place = $("cell-card");
    if (this.picked === null) {
      place.replaceChildren(make("p", { class: "quiet" }, "Click a point or a line, or choose a cell above, to see its results, recipe and provenance."));
      return;
    }
    const cell = this.data.cells[this.picked];
    const list = (entries) => make("dl", { class: "pairs" }, ...entries.filter(([, value]) => value != null).flatMap(([name, value]) => [
      make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value))]));
    const results = this.data.targets.flatMap((target) => target.points.filter(([number]) => number === this.picked)
      .map(([, value, low, high]) => [target.title, withInterval(value, low, high)]));
    const links = [`train/${cell.cell}/train.json`, `evaluate/${cell.cell}/metrics.json`].filter((path) => path in this.files);
    if (!links.length) links.push("tables/metrics.csv");
    place.replaceChildren(
      make("h4", {}, this.cellTitle(cell)),
      list([["cell", cell.cell], ["compute, GMAC", powerText(Number(cell.compute_gmacs.toPrecision(4)))], ["samples seen", cell.samples_seen.toLocaleString("en")],
        ["unique pairs", cell.unique_pairs.toLocaleString("en")], ["model, per sample", macsText(cell.gmacs_per_sample)]]),
      make("h5", {}, "Error, with 95 % interval"), list(results),
      ...(cell.recipe ? [make("h5", {}, "Recipe"), list(Object.entries(cell.recipe))] : []),
      ...(cell.made ? [make("h5", {}, "Provenance"), list(Object.entries(cell.made))] : []),
      make("p", {}, "In full: ", ...links.flatMap((path) => [this.fileLink(path, path.split("/").at(-1)), " "])),
    );
  }

  savePoints() {
    const target = this.targets[Number($("target").value)];
    const columns = ["cell", "source", "model", "data", "unique_pairs", "samples_seen", "seed", "gmacs_per_sample", "compute_gmacs"];
    const lines = [[...columns, "error", "error_low", "error_high"].join(",")];
    for (const [number, ...errors] of target.points) {
      const cell = this.data.cells[number];
      if (this.shown(cell)) lines.push([...columns.map((name) => cell[name]), ...errors.map((value) => value ?? "")].join(","));
    }
    save(`${target.dataset}-${target.metric}-points.csv`.replaceAll("/", "_"), lines.join("\n") + "\n", "text/csv");
  }
}

async function explore() {
  if (typeof DecompressionStream === "undefined") return; // an old browser keeps the figures, and links to files beside
  const files = await unpack();
  serveLinks(files);
  const data = JSON.parse(files["explorer.json"]);
  if (!data.targets.some((target) => target.file in files)) return; // no room for any law: the figures remain
  $("explore").hidden = false; // measured while hidden, a chart would have no width
  for (const link of document.querySelectorAll("[data-needs-charts]")) link.hidden = false;
  new Explorer(files, data, JSON.parse($("charts").textContent));
}
explore();
