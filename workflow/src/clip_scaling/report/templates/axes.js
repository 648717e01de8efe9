// Numbers and axes as the figures have them (report/axes.py, report/labels.py).
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const STEPS = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7], [1, 2, 3, 4, 5, 6, 7, 8, 9]];
for (const parts of [2, 5, 10, 20]) STEPS.push(Array.from({ length: 9 * parts }, (_, i) => 1 + i / parts));

function logTicks(low, high, wanted) {
  let found = [];
  for (const steps of STEPS) {
    found = [];
    for (let decade = Math.floor(Math.log10(low)); decade <= Math.ceil(Math.log10(high)); decade++)
      for (const step of steps) found.push(Number((step * 10 ** decade).toPrecision(6)));
    found = found.filter((tick) => tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9));
    if (found.length >= wanted) break;
  }
  return found;
}

const minus = (text) => text.replace("-", "−");
const plain = (value) => minus(String(Number(value.toPrecision(4))));

function powerText(value) {
  if (value >= 0.01 && value < 1e4) return plain(value);
  const exponent = Math.floor(Math.log10(value) + 1e-9);
  const mantissa = Number((value / 10 ** exponent).toPrecision(3));
  const power = "10" + (exponent < 0 ? "⁻" : "") + [...String(Math.abs(exponent))].map((n) => SUPERSCRIPTS[n]).join("");
  return mantissa === 1 ? power : `${mantissa} × ${power}`;
}

function countText(value) {
  const rounded = Number(value.toPrecision(2));
  for (const [unit, factor] of [["B", 1e9], ["M", 1e6], ["K", 1e3]])
    if (rounded >= factor) return `${Number((rounded / factor).toPrecision(3))}${unit}`;
  return String(rounded);
}

const macsText = (value) => (value < 0.1 ? `${plain(value * 1000)} MMAC` : `${plain(value)} GMAC`);

// A number and its interval, to the digits that the interval supports: its half-width is known to two figures.
function withInterval(value, low, high) {
  if (low == null || high == null || !(low < high)) return minus(value.toPrecision(3));
  const places = Math.max(0, 1 - Math.floor(Math.log10((high - low) / 2)));
  return minus(value.toFixed(places)) + ` [${minus(low.toFixed(places))}, ${minus(high.toFixed(places))}]`;
}

function limits(values, room) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const factor = Math.max(1.02, (high / low) ** room);
  return [low / factor, high * factor];
}

// Scale and axis of one logarithmic channel, the same in every layer of a chart.
function logAxis(title, domain, text, ticks) {
  const labels = Object.fromEntries(ticks.map((tick) => [tick, text(tick)]));
  return {
    scale: { type: "log", nice: false, domain },
    axis: { title, values: ticks, labelExpr: `${JSON.stringify(labels)}[datum.value]`, labelOverlap: true },
  };
}

function withAxes(spec, axes) {
  const copy = structuredClone(spec);
  for (const layer of copy.layer)
    for (const [channel, axis] of Object.entries(axes))
      if (layer.encoding[channel]) Object.assign(layer.encoding[channel], axis);
  return copy;
}
