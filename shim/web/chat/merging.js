// One chat that two tabs have changed. Rule: what either has added is kept, as another version where both went on from the
// same message; what one has taken back stays away, unless the other went on from it. The path on the screen stays.

const SETTINGS = ["title", "model", "effort", "system", "wishes"];

/** What is known of a chat when it is read or stored: merging compares with it what has changed since. */
export function knownOf(chat) {
  const settings = Object.fromEntries(SETTINGS.map((name) => [name, JSON.stringify(chat[name])]));
  return { settings, prints: new Map([...treeOf(chat).nodes].map(([id, message]) => [id, printOf(message)])) };
}

/** Take into `chat` what `stored` has and `known` had not. Its messages stay the same objects. */
export function mergeInto(chat, stored, known) {
  const [mine, other] = [treeOf(chat), treeOf(stored)];
  if (!isTree(mine) || !isTree(other)) return; // What a file brought may have an id twice.
  for (const name of SETTINGS) if (JSON.stringify(chat[name]) === known.settings[name]) chat[name] = stored[name];
  for (const [id, message] of mine.nodes) {
    const theirs = other.nodes.get(id);
    const isLive = message.state === "streaming"; // It is stored as what broke off.
    if (theirs && !isLive && known.prints.get(id) === printOf(message) && printOf(theirs) !== printOf(message)) Object.assign(message, theirs);
  }
  const both = { nodes: new Map([...other.nodes, ...mine.nodes]), children: new Map(), chosen: new Map([...other.chosen, ...mine.chosen]) };
  const isKept = (id) => {
    if (mine.nodes.has(id) && other.nodes.has(id)) return true;
    return known.prints.get(id) !== printOf(both.nodes.get(id)) || [mine, other].some(({ children }) => children.get(id)?.some(isKept));
  };
  if ([...both.nodes.keys()].every((id) => mine.nodes.has(id) === isKept(id))) return;
  for (const { children } of [other, mine]) {
    for (const [parent, ids] of children) both.children.set(parent, [...new Set([...(both.children.get(parent) ?? []), ...ids.filter(isKept)])]);
  }
  Object.assign(chat, chatOf(both));
}

// What changes of a message: a question never does.
const printOf = ({ role, state, finish, text, reasoning, citations }) => (role === "user" ? "" : [state, finish, text.length, reasoning.length, citations.length].join());

function isTree({ nodes, children, count }) {
  const reached = new Set([""]);
  for (const parent of reached) for (const id of children.get(parent) ?? []) reached.add(id);
  return nodes.size === count && reached.size === count + 1;
}

/** A chat's messages by id, what follows each ("" is the beginning), and which of it is on its path; `count` is how many
 * messages there are, also of the same id. */
function treeOf({ messages, branches }) {
  const tree = { nodes: new Map(), children: new Map(), chosen: new Map(), count: 0 };
  const follow = (parent, list, isChosen) => {
    let before = parent;
    for (const message of list) {
      tree.nodes.set(message.id, message);
      tree.children.set(before, [...(tree.children.get(before) ?? []), message.id]);
      if (isChosen || before !== parent) tree.chosen.set(before, message.id);
      before = message.id;
      tree.count += 1;
    }
  };
  follow("", messages, true);
  for (const [parent, { tails }] of Object.entries(branches)) for (const tail of tails) follow(parent, tail ?? [], false);
  for (const [parent, { tails }] of Object.entries(branches)) {
    tree.children.set(parent, tails.map((tail) => (tail ? tail[0].id : tree.chosen.get(parent))).filter(Boolean));
  }
  return tree;
}

function chatOf({ nodes, children, chosen }) {
  const next = (parent) => {
    const ids = children.get(parent) ?? [];
    return ids.includes(chosen.get(parent)) ? chosen.get(parent) : ids[0];
  };
  const from = (first) => {
    const ids = new Set(); // An id that comes twice would go round for ever.
    for (let id = first; id && !ids.has(id); id = next(id)) ids.add(id);
    return [...ids].map((id) => nodes.get(id));
  };
  const several = [...children].filter(([, ids]) => ids.length > 1);
  const branches = several.map(([parent, ids]) => [parent, { tails: ids.map((id) => (id === next(parent) ? null : from(id))), at: ids.indexOf(next(parent)) }]);
  return { messages: from(next("")), branches: Object.fromEntries(branches) };
}
