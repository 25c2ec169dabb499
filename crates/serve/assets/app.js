// The frame of the page: which section is shown, the keys, the theme.

import { get, keys } from "./api.js";
import { h, replace, say } from "./dom.js";
import drift from "./drift.js";
import now from "./now.js";
import playground from "./playground.js";
import queue from "./queue.js";
import releases from "./releases.js";
import reports from "./reports.js";
import route from "./route.js";

const SECTIONS = [now, releases, reports, route, drift, queue, playground];

const main = document.getElementById("main");
const views = new Map();
let shown = null;
let timer = 0;
let asking = null;

/** A section's place on the page, made when it is first shown. */
function view(section) {
  if (!views.has(section.id)) {
    const heading = h("h1", { id: `${section.id}-title`, tabindex: "-1" }, section.title);
    const body = h("div", { class: "body" });
    const place = h("section", { id: `view-${section.id}`, "aria-labelledby": heading.id, class: "view" },
      h("header", { class: "head" }, heading, h("p", { class: "lead" }, section.lead)), body);
    main.append(place);
    views.set(section.id, { place, heading, refresh: section.build(body) });
  }
  return views.get(section.id);
}

/** Asks for a section's data now, and again after its interval. */
async function refresh() {
  clearTimeout(timer);
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  const section = shown;
  if (!document.hidden) {
    try {
      await view(section).refresh(signal);
    } catch (why) {
      if (why.name !== "AbortError") console.error(why);
    }
  }
  if (section.every && section === shown && !signal.aborted) timer = setTimeout(refresh, section.every);
}

function show(section, moved) {
  shown = section;
  const current = view(section);
  for (const { place } of views.values()) place.hidden = place !== current.place;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${section.id}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.querySelector("nav a[aria-current]").scrollIntoView({ block: "nearest", inline: "nearest" });
  document.title = `${section.title} · Sprat`;
  if (moved) {
    current.heading.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
  refresh();
}

const asked = () => SECTIONS.find((section) => `#${section.id}` === location.hash) ?? SECTIONS[0];

/** Which model the server answers with, in the corner. */
async function greet() {
  const served = document.getElementById("served");
  try {
    const { data } = await get("/v1/models");
    served.textContent = data.map((model) => model.version).join(", ");
  } catch (why) {
    served.textContent = why.status === 401 ? "needs a key" : "no answer";
  }
}

function keyDialog() {
  const field = (id, label, value, hint) => [
    h("label", { for: id }, label),
    h("input", { id, type: "password", autocomplete: "off", spellcheck: "false", value, "aria-describedby": `${id}-hint` }),
    h("p", { class: "note", id: `${id}-hint` }, hint),
  ];
  const dialog = h("dialog", { "aria-labelledby": "keys-title" });
  const keep = (event) => {
    event.preventDefault();
    keys.keep(dialog.querySelector("#client-key").value.trim(), dialog.querySelector("#admin-key").value.trim());
    dialog.close();
    say("The keys are kept for this tab.");
    greet();
    refresh();
  };
  replace(dialog, h("form", { method: "dialog", onsubmit: keep },
    h("h2", { id: "keys-title" }, "Keys"),
    h("p", {}, "They stay in this tab until it is closed, and go to this server only."),
    field("client-key", "API key", keys.client(), "Where the server asks for one: to see anything, and to ask models."),
    field("admin-key", "Admin key", keys.admin(), "To promote and to roll back."),
    h("div", { class: "actions" },
      h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel"),
      h("button", { type: "submit", class: "main" }, "Keep"))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function theme() {
  const button = document.getElementById("theme");
  const order = ["system", "light", "dark"];
  const put = (name) => {
    if (name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.textContent = `Theme: ${name}`;
  };
  let name = document.documentElement.dataset.theme ?? "system";
  put(name);
  button.addEventListener("click", () => {
    name = order[(order.indexOf(name) + 1) % order.length];
    put(name);
    try {
      localStorage.setItem("sprat.theme", name);
    } catch {
      // It holds until the page is left.
    }
  });
}

replace(document.getElementById("sections"), SECTIONS.map((section) =>
  h("li", {}, h("a", { href: `#${section.id}` }, section.title))));
document.getElementById("keys").addEventListener("click", keyDialog);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", () => show(asked(), true));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});
// The server follows an alias within a second.
document.addEventListener("moved", () => setTimeout(greet, 1000));
theme();
greet();
setInterval(() => document.hidden || greet(), 15_000);
show(asked(), false);
