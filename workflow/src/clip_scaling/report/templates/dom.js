// Elements, and the look of the charts in the colours of the page.
const $ = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function options(select, entries) {
  const before = select.value;
  select.replaceChildren(...entries.map(([value, text]) => make("option", { value }, text)));
  if (entries.some(([value]) => String(value) === before)) select.value = before;
}

function theme() {
  const text = { labelColor: css("ink"), titleColor: css("ink"), labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500 };
  return {
    background: null, font: getComputedStyle(document.body).fontFamily, view: { stroke: null },
    axis: { ...text, gridColor: css("rule"), domainColor: css("muted"), tickColor: css("muted"), labelPadding: 5 },
    rule: { color: css("ink") },
  };
}
