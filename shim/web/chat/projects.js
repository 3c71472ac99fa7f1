// The projects of the account, to choose from where a field asks for one. Rule: where they can't be listed, the field stays
// as it is, and a project's id is written into it.

import { call } from "./client.js";
import { el } from "./dom.js";
import { plain, t } from "./texts.js";
import { PROJECT } from "./wishes.js";

const ADDRESS = "backend-api/gizmos/snorlax/sidebar?owned_only=true&conversations_per_gizmo=0&limit=50";
const MOST_PAGES = 5;
const known = new Map();

/** Put a list in the place of the `field`, with what is chosen in it. */
export async function offerProjects(field, key) {
  if (!known.has(key)) known.set(key, listed(key));
  const projects = await known.get(key).catch(() => known.delete(key) && null);
  if (!projects || !field.isConnected) return;
  const { id, name, value, disabled } = field;
  const all = !value || projects.some((one) => one.id === value) ? projects : [{ id: value, name: value }, ...projects];
  const none = t(all.length ? "project.none" : "project.empty");
  const select = el("select", { id, name }, el("option", { value: "", text: none }), ...all.map((one) => el("option", { value: one.id, text: one.name })));
  Object.assign(select, { value, disabled });
  field.replaceWith(select);
}

async function listed(key) {
  const found = new Map();
  let cursor = "";
  for (let pages = 0; pages < MOST_PAGES; pages += 1) {
    const page = await (await call(`${ADDRESS}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`, { key })).json();
    for (const item of Array.isArray(page?.items) ? page.items : []) {
      const gizmo = item?.gizmo?.gizmo;
      if (PROJECT.test(gizmo?.id)) found.set(gizmo.id, { id: gizmo.id, name: plain(String(gizmo.display?.name || gizmo.id)) });
    }
    cursor = page?.cursor ? String(page.cursor) : "";
    if (!cursor) break;
  }
  return [...found.values()];
}
