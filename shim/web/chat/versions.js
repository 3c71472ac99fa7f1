// What was said in the place of something else: versions of a question or an answer, each with all that followed it.
// Rule: nothing is thrown away by asking again; the version on the screen is in `chat.messages`, the others in
// `chat.branches`, under the id of the message before them ("" where there is none).

const isWorthKeeping = (messages) => messages.some((message) => message.role === "user" || message.text);

const before = (chat, place) => chat.messages[place - 1]?.id ?? "";

/** Put `messages` in the place of what is there from `place` on, which becomes another version. Gives a function that
 * undoes it, or null where nothing was worth keeping. */
export function branchOff(chat, place, messages) {
  const parent = before(chat, place);
  const removed = chat.messages.splice(place, Infinity, ...messages);
  if (!isWorthKeeping(removed)) return null;
  const branch = (chat.branches[parent] ??= { tails: [null], at: 0 });
  const { at } = branch;
  branch.tails[at] = removed;
  branch.at = branch.tails.push(null) - 1;
  const made = branch.at;
  return () => {
    // What another tab did came in between: its versions stay, and so does this one.
    if (chat.branches[parent] !== branch) return turnTo(chat, parent, chat.branches[parent]?.tails.findIndex((tail) => tail?.[0] === removed[0]));
    if (branch.at === made) turnTo(chat, parent, at);
    branch.tails.splice(made, 1);
    if (branch.at > made) branch.at -= 1;
    if (branch.tails.length === 1) delete chat.branches[parent];
    return undefined;
  };
}

/** {at, count, parent} of the versions that the message at this place is one of, or null where it is the only one. */
export function versionsAt(chat, place) {
  const parent = before(chat, place);
  const branch = chat.branches[parent];
  return branch ? { at: branch.at, count: branch.tails.length, parent } : null;
}

/** Show another version of what follows `parent`. */
export function turnTo(chat, parent, at) {
  const branch = chat.branches[parent];
  const place = parent ? chat.messages.findIndex(({ id }) => id === parent) + 1 : 0;
  if (!branch?.tails[at] || (parent && !place)) return;
  branch.tails[branch.at] = chat.messages.splice(place, Infinity, ...branch.tails[at]);
  branch.tails[at] = null;
  branch.at = at;
}

/** Branches from what was stored, `read` making messages of a list. What does not fit is left out. */
export function readBranches(stored, read) {
  const branches = {};
  for (const [parent, branch] of Object.entries(stored ?? {})) {
    if (!/^(?:[0-9a-f]{24})?$/.test(parent)) continue;
    if (!Array.isArray(branch?.tails) || branch.tails[branch.at] !== null || branch.tails.length < 2) continue;
    const tails = branch.tails.map((tail, place) => (place === branch.at ? null : Array.isArray(tail) ? read(tail) : []));
    if (tails.every((tail, place) => place === branch.at || tail.length)) branches[parent] = { tails, at: branch.at };
  }
  return branches;
}
