// Charts as inline SVG. Each is drawn for the width that it has, says what it shows to those who do
// not see it, is read off with the pointer or the arrow keys, and has its data as a table below.

import { h, s, replace, table } from "./dom.js";

const LEFT = 52;
const RIGHT = 14;
const TOP = 10;
const BOTTOM = 24;

/** Round steps of an axis from `low` to `high`. */
function steps(low, high, most) {
  const span = high - low || 1;
  const raw = span / most;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= raw);
  const first = Math.ceil(low / step - 1e-9) * step;
  const found = [];
  for (let x = first; x <= high + step * 1e-6; x += step) found.push(Number(x.toPrecision(12)));
  return found;
}

const path = (points) => points.map(([x, y], at) => `${at ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/** Points in runs without gaps. */
function runs(points) {
  const found = [[]];
  for (const point of points) {
    if (Number.isFinite(point[1])) found.at(-1).push(point);
    else if (found.at(-1).length) found.push([]);
  }
  return found.filter((run) => run.length);
}

/**
 * Lines over a common axis.
 *
 * `series`: `{ name, points: [[x, y]…] }`; where y is no number, the line has a gap. `levels`:
 * horizontal lines `{ name, y }`. `spots`: single points `{ name, x, y }`. `x` and `y` say how the
 * axes are written (`show`, for `x` also `long` and `name`), where they begin and end (`low`,
 * `high`), and which ticks stand on `x` (`steps`).
 */
export function lines({ title, summary, series, levels = [], spots = [], x, y, height = 200 }) {
  const all = series.flatMap((one) => one.points).concat(spots.map((spot) => [spot.x, spot.y]));
  const xs = all.map((point) => point[0]);
  const ys = all.map((point) => point[1]).concat(levels.map((level) => level.y)).filter(Number.isFinite);
  const [x0, x1] = [x.low ?? Math.min(...xs), x.high ?? Math.max(...xs)];
  const y0 = y.low ?? Math.min(...ys);
  const y1 = Math.max(y.high ?? Math.max(...ys), y0 + (y.least ?? 1e-9));
  const axis = steps(y0, y1, 4);
  const top = y.high ?? Math.max(axis.at(-1) ?? y1, y1);
  const canvas = h("div", { class: "canvas" });
  const read = h("p", { class: "readout", "aria-live": "polite" });
  const legend = h("ul", { class: "legend", "aria-hidden": "true" },
    series.map((one, at) => h("li", { class: `k${at}` }, one.name)),
    levels.map((level) => h("li", { class: "level" }, level.name)),
    spots.map((spot) => h("li", { class: "spot" }, spot.name)));

  let drawn = 0;
  const draw = (width) => {
    drawn = width;
    const px = (v) => LEFT + ((v - x0) / (x1 - x0 || 1)) * (width - LEFT - RIGHT);
    const py = (v) => TOP + (1 - (v - y0) / (top - y0 || 1)) * (height - TOP - BOTTOM);
    const grid = axis.map((v) => [
      s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: py(v), y2: py(v) }),
      s("text", { class: "tick", x: LEFT - 6, y: py(v) + 4, "text-anchor": "end" }, y.show(v)),
    ]);
    const room = Math.max(2, Math.floor((width - LEFT - RIGHT) / 80));
    const ticks = (x.steps ?? steps)(x0, x1, room)
      .map((v) => s("text", { class: "tick", x: px(v), y: height - 6, "text-anchor": "middle" }, x.show(v)));
    const shapes = series.map((one, at) => {
      const points = one.points.map(([a, b]) => [px(a), Number.isFinite(b) ? py(b) : NaN]);
      return runs(points).map((run) => (run.length > 1
        ? s("path", { class: `line k${at}`, d: path(run) })
        : s("circle", { class: `dot k${at}`, cx: run[0][0], cy: run[0][1], r: 2.5 })));
    });
    const rules = levels.map((level) => s("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: py(level.y), y2: py(level.y) }));
    const marks = spots.map((spot) => s("circle", { class: "spot", cx: px(spot.x), cy: py(spot.y), r: 5 }));
    const cross = s("line", { class: "cross", x1: 0, x2: 0, y1: TOP, y2: height - BOTTOM, visibility: "hidden" });
    const shown = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: "0", "aria-label": `${title}. ${summary ?? ""} Arrow keys read single values.` },
      grid, ticks, shapes, rules, marks, cross);
    const stops = [...new Set(xs)].sort((a, b) => a - b);
    let stop = stops.length;
    const point = (at) => {
      stop = Math.min(Math.max(at, 0), stops.length - 1);
      const here = stops[stop];
      cross.setAttribute("x1", px(here));
      cross.setAttribute("x2", px(here));
      cross.setAttribute("visibility", "visible");
      const values = series.map((one) => {
        const found = one.points.find((p) => p[0] === here);
        return found ? `${one.name} ${y.show(found[1])}` : null;
      });
      read.textContent = [(x.long ?? x.show)(here), ...values.filter(Boolean)].join(" · ");
    };
    const leave = () => {
      cross.setAttribute("visibility", "hidden");
      read.textContent = "";
    };
    shown.addEventListener("pointermove", (event) => {
      const at = x0 + ((event.offsetX - LEFT) / (width - LEFT - RIGHT)) * (x1 - x0);
      let best = 0;
      stops.forEach((v, n) => {
        if (Math.abs(v - at) < Math.abs(stops[best] - at)) best = n;
      });
      point(best);
    });
    shown.addEventListener("pointerleave", leave);
    shown.addEventListener("blur", leave);
    shown.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      point(stop + by);
    });
    replace(canvas, shown);
  };

  const nothing = !all.length || !ys.length;
  const picture = nothing ? h("p", { class: "empty" }, "Nothing to draw yet.") : canvas;
  if (!nothing) {
    new ResizeObserver(([entry]) => {
      const width = Math.floor(entry.contentRect.width);
      if (width > 0 && width !== drawn) draw(width);
    }).observe(canvas);
  }
  const places = [...new Set(xs)].sort((a, b) => a - b);
  const rows = () => places.map((at) => [(x.long ?? x.show)(at), ...series.map((one) => {
    const found = one.points.find((p) => p[0] === at);
    return found ? y.show(found[1]) : "–";
  })]);
  const data = h("details", {}, h("summary", {}, "As a table"));
  data.addEventListener("toggle", () => {
    if (data.open && data.childElementCount === 1) {
      data.append(...table(title, [x.name, ...series.map((one) => ({ name: one.name, n: true }))], rows()).filter(Boolean));
    }
  });
  const frame = h("figure", { class: "chart" }, h("figcaption", {}, title), legend, picture, read, data);
  canvas.style.height = `${height}px`;
  return frame;
}

/** An estimate with its interval on a scale from `low` to `high`, for a table's cell. */
export function whisker(value, low, high) {
  if (!value || !Number.isFinite(value.estimate)) return null;
  const width = 120;
  const px = (v) => 4 + ((Math.min(Math.max(v, low), high) - low) / (high - low || 1)) * (width - 8);
  return s("svg", { class: "whisker", width, height: 14, viewBox: `0 0 ${width} 14`, "aria-hidden": "true" },
    s("line", { class: "grid", x1: 0, x2: width, y1: 7, y2: 7 }),
    s("line", { class: "span", x1: px(value.low), x2: px(value.high), y1: 7, y2: 7 }),
    s("circle", { class: "mid", cx: px(value.estimate), cy: 7, r: 3.5 }));
}

/** A share as a bar, for a table's cell. `mark`: where a threshold stands. */
export function share(part, mark) {
  const width = 160;
  const at = (v) => Math.min(Math.max(v, 0), 1) * width;
  return s("svg", { class: "share", viewBox: `0 0 ${width} 10`, preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "back", x: 0, y: 0, width, height: 10 }),
    s("rect", { class: "part", x: 0, y: 0, width: at(part), height: 10 }),
    Number.isFinite(mark) ? s("line", { class: "mark", x1: at(mark), x2: at(mark), y1: 0, y2: 10 }) : null);
}
