// Making elements. Text only ever becomes text: nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.setAttribute("class", value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  add(node, children);
  return node;
}

function add(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** An HTML element. Attributes that begin with `on` are listeners; children are nodes or text. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Puts children in the place of what a node holds. */
export function replace(node, ...children) {
  const fresh = document.createDocumentFragment();
  add(fresh, children);
  node.replaceChildren(fresh);
}

/**
 * A table that scrolls sideways by itself where it is too wide. `columns` are names, or
 * `{ name, n: true }` for numbers; the first cell of a row names it.
 */
export function table(caption, columns, rows, note) {
  const heads = columns.map((column) => (typeof column === "string" ? { name: column } : column));
  const cell = (content, at) =>
    h(at === 0 ? "th" : "td", { scope: at === 0 ? "row" : null, class: heads[at]?.n ? "n" : null }, content);
  const grid = h("table", {},
    h("caption", {}, caption),
    h("thead", {}, h("tr", {}, heads.map((head) =>
      h("th", { scope: "col", class: head.n ? "n" : null }, head.name)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell)))));
  const wide = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, grid);
  return [wide, note ? h("p", { class: "note" }, note) : null];
}

/** Numbers shown large: `{ value, label, detail, tone }`. */
export function figures(list) {
  return h("dl", { class: "figures" }, list.map(({ value, label, detail, tone }) =>
    h("div", { class: `figure ${tone ?? ""}` },
      h("dt", {}, label),
      h("dd", { class: "value" }, value),
      h("dd", { class: "detail" }, detail ?? ""))));
}

/** Named values. */
export function facts(list) {
  return h("dl", { class: "facts" }, list
    .filter(([, value]) => value !== undefined && value !== null && value !== "")
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** A paragraph that stands out. */
export function notice(tone, ...children) {
  return h("div", { class: `notice ${tone}` }, children);
}

/** A section's heading of second order with its content. */
export function part(title, ...children) {
  return h("section", { class: "part" }, h("h2", {}, title), children);
}

/** Tells people who do not see the page what happened. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** Buttons of which one is chosen: radio buttons underneath, so the arrow keys work. */
export function choice(legend, name, options, chosen, change) {
  return h("fieldset", { class: "choice" },
    h("legend", { class: "unseen" }, legend),
    options.map((option) => h("label", {},
      h("input", { type: "radio", name, value: option, checked: option === chosen, onchange: () => change(option) }),
      h("span", {}, option))));
}
