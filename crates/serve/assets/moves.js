// Promoting and rolling back: the two changes that the page can make, each confirmed in a dialog that
// says what will be and asks for the admin key where none is kept.

import { keys, post } from "./api.js";
import { h, replace, say } from "./dom.js";

function dialog({ title, text, fields, action, run }) {
  const box = h("dialog", { "aria-labelledby": "move-title" });
  const trouble = h("div", { role: "alert" });
  const reason = h("input", { id: "move-why", type: "text", maxlength: "200", autocomplete: "off" });
  const key = keys.admin() ? null : h("input", { id: "move-key", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const submit = h("button", { type: "submit", class: "main" }, action);
  const go = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    const before = keys.admin();
    if (key) keys.keep(keys.client(), key.value.trim());
    try {
      const done = await run(reason.value.trim());
      box.close();
      say(done);
      document.dispatchEvent(new Event("moved"));
    } catch (why) {
      // A key that was refused is not kept.
      if (key && (why.status === 401 || why.status === 403)) keys.keep(keys.client(), before);
      replace(trouble, h("p", { class: "wrong" }, why.message), h("p", { class: "note" }, why.code));
    } finally {
      submit.disabled = false;
    }
  };
  replace(box, h("form", { method: "dialog", onsubmit: go },
    h("h2", { id: "move-title" }, title),
    h("p", {}, text),
    fields,
    h("label", { for: "move-why" }, "Why (the log keeps it)"), reason,
    key ? [h("label", { for: "move-key" }, "Admin key"), key] : null,
    trouble,
    h("div", { class: "actions" },
      h("button", { type: "button", class: "quiet", onclick: () => box.close() }, "Cancel"), submit)));
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  reason.focus();
}

/** What an alias would move from. */
function stands(state, name) {
  const alias = state.aliases.find((one) => one.name === name);
  return alias ? `It points to v${alias.version} now.` : "It is not set yet.";
}

/** Asks whether `version` is to be promoted, and does it. */
export function promote(state, version, done) {
  const alias = h("input", { id: "move-alias", type: "text", value: state.alias, required: true, autocomplete: "off", list: "aliases-known" });
  const now = h("p", { class: "note" }, stands(state, state.alias));
  alias.addEventListener("input", () => replace(now, stands(state, alias.value.trim())));
  dialog({
    title: `Promote v${version.number}`,
    text: `The alias moves to v${version.number} at once; running requests finish on the version they began with.`,
    fields: [h("label", { for: "move-alias" }, "Alias"), alias,
      h("datalist", { id: "aliases-known" }, state.aliases.map((one) => h("option", { value: one.name }))), now],
    action: "Promote",
    async run(why) {
      const name = alias.value.trim();
      const revision = state.aliases.find((one) => one.name === name)?.revision ?? 0;
      const { move } = await post("/admin/promote", { version: `v${version.number}`, alias: name, why, revision }, { admin: true });
      await done();
      return move ? `${name} points to v${move.to}.` : `${name} pointed to v${version.number} already.`;
    },
  });
}

/** Asks whether an alias is to be rolled back, and does it. */
export function rollback(state, alias, done) {
  dialog({
    title: `Roll back ${alias.name}`,
    text: `${alias.name} points to v${alias.version}. It goes back to where it stood before its last promotion; running requests finish on the version they began with.`,
    fields: null,
    action: "Roll back",
    async run(why) {
      const { move } = await post("/admin/rollback", { alias: alias.name, why, revision: alias.revision }, { admin: true });
      await done();
      return `${alias.name} points to v${move.to} again.`;
    },
  });
}
