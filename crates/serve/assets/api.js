// Asking the server. Keys live in this tab's session storage and nowhere else.

import { h } from "./dom.js";

const CLIENT = "sprat.key";
const ADMIN = "sprat.admin-key";

export const keys = {
  client: () => sessionStorage.getItem(CLIENT) ?? "",
  admin: () => sessionStorage.getItem(ADMIN) ?? "",
  keep(client, admin) {
    for (const [name, key] of [[CLIENT, client], [ADMIN, admin]]) {
      if (key) sessionStorage.setItem(name, key);
      else sessionStorage.removeItem(name);
    }
  },
};

/** What the server refused, with its status and its code. */
export class Refusal extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

function headers(admin) {
  const key = admin ? keys.admin() : keys.client() || keys.admin();
  return key ? { authorization: `Bearer ${key}` } : {};
}

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", credentials: "omit", ...options });
  } catch (why) {
    if (why.name === "AbortError") throw why;
    throw new Refusal(0, "", "The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // Whatever stands between this page and the server wrote the answer.
  }
  throw new Refusal(response.status, error.code ?? "", error.message ?? `The server answered ${response.status}.`);
}

/** The JSON at an address. */
export async function get(path, signal) {
  return (await send(path, { headers: headers(false), signal })).json();
}

function posting(body, admin, signal) {
  return {
    method: "POST",
    headers: { ...headers(admin), "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  };
}

/** The JSON that answers a body; with `admin` under the admin key. */
export async function post(path, body, { admin = false, signal } = {}) {
  return (await send(path, posting(body, admin, signal))).json();
}

/** Calls `each` with the JSON of every event of the stream that answers a body. */
export async function stream(path, body, each, signal) {
  const response = await send(path, posting(body, false, signal));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Refusal(0, event.error.code ?? "", event.error.message ?? "The stream broke off.");
      each(event);
    }
  }
}

/** What stands in the place of data that is not there: the reason, and what to do about it. */
export function explain(error, missing) {
  if (missing && error.status === 404 && error.code === "SPRAT-SERVE-ADDRESS") return missing;
  if (missing && error.status === 404 && error.code !== "SPRAT-SERVE-CONSOLE" && !error.code.startsWith("SPRAT-REGISTRY")) {
    return [missing, h("p", { class: "note" }, error.message)];
  }
  const box = h("div", { class: "notice bad", role: "alert" }, h("p", {}, error.message || String(error)));
  if (error.code) box.append(h("p", { class: "note" }, error.code));
  if (error.status === 401) {
    box.append(h("button", { type: "button", onclick: () => document.getElementById("keys").click() }, "Enter a key"));
  }
  return box;
}
