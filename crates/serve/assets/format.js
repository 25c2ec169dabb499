// Numbers, times and names as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A count, its thousands apart. */
export const count = (n) => (Number.isFinite(n) ? whole.format(n) : "–");

/** A share as a percentage. */
export function percent(share, digits = 1) {
  return Number.isFinite(share) ? `${(share * 100).toFixed(digits)}%` : "–";
}

/** Three significant digits: `0.0123`, `12,300`, `1.23M`. */
export function short(x) {
  if (!Number.isFinite(x)) return "–";
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e12 || size < 1e-4) return x.toExponential(2);
  if (size >= 1e9) return `${Number((x / 1e9).toPrecision(3))}G`;
  if (size >= 1e6) return `${Number((x / 1e6).toPrecision(3))}M`;
  if (size >= 100) return whole.format(x);
  return String(Number(x.toPrecision(3)));
}

/** Milliseconds, in seconds where there are many. */
export function ms(x) {
  if (!Number.isFinite(x)) return "–";
  return x >= 10_000 ? `${short(x / 1000)} s` : `${short(x)} ms`;
}

/** US dollars. */
export function usd(x) {
  if (!Number.isFinite(x)) return "–";
  const size = Math.abs(x);
  if (size >= 1) return `$${x.toFixed(2)}`;
  return size === 0 ? "$0" : `$${Number(x.toPrecision(2))}`;
}

/** A size in bytes. */
export function bytes(n) {
  if (!Number.isFinite(n)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) {
    n /= 1024;
    at += 1;
  }
  return `${at === 0 ? n : n.toFixed(1)} ${units[at]}`;
}

const pad = (n) => String(n).padStart(2, "0");

/** A moment (milliseconds since 1970, or text of a date) in local time. */
export function moment(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return "–";
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${pad(date.getHours())}:${pad(date.getMinutes())}`;
}

/** The same as short as an axis wants it: the time of day, or the day in long windows. */
export function tick(at, span) {
  const date = new Date(at);
  if (span > 2 * DAY) return `${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${pad(date.getHours())}:${pad(date.getMinutes())}`;
}

const MINUTE = 60_000;
const DAY = 1440 * MINUTE;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 14_400];

/** At most `most` round moments from `low` to `high`, in local time. */
export function moments(low, high, most) {
  const step = MINUTE * (STEPS.find((n) => (high - low) / (n * MINUTE) <= most) ?? STEPS.at(-1));
  const shift = new Date(high).getTimezoneOffset() * MINUTE;
  const found = [];
  for (let at = Math.ceil((low - shift) / step) * step + shift; at <= high; at += step) found.push(at);
  return found;
}

/** How long ago. */
export function ago(at, now = Date.now()) {
  const seconds = Math.max(0, (now - new Date(at).getTime()) / 1000);
  if (!Number.isFinite(seconds)) return "–";
  for (const [unit, length] of [["d", 86_400], ["h", 3600], ["min", 60]]) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit} ago`;
  }
  return "just now";
}

/** An estimate with its interval: `93.1% [88.4, 96.0]`. */
export function interval(value, digits = 1) {
  if (!value || !Number.isFinite(value.estimate)) return "–";
  const bound = (x) => (x * 100).toFixed(digits);
  return `${percent(value.estimate, digits)} [${bound(value.low)}, ${bound(value.high)}]`;
}

/** The beginning of a digest. */
export const digest = (text) => String(text ?? "–").slice(0, 12);

/** `macro_f1` → `macro f1`. */
export const words = (name) => String(name).replaceAll("_", " ").replaceAll("-", " ");

/** The first letter large. */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** A JSON value in one line. */
export function value(x) {
  if (x === undefined || x === null) return "–";
  if (typeof x === "number") return Number.isInteger(x) ? count(x) : short(x);
  const text = typeof x === "string" ? x : JSON.stringify(x);
  if (/^[0-9a-f]{64}$/.test(text)) return digest(text);
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}
