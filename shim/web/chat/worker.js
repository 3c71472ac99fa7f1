// Keeps the page's own files in the browser, so that it opens where the gateway can't be reached. Rule: the page is asked
// for first, always; only it and its files are kept, never an answer of the API. What a version has kept goes with it, but
// for the one before, which another tab may still show. Served as offline.js beside the page, its places filled.

const VERSION = "{version}";
const FILES = "{files}".split(" ");
const HERE = new URL("./", location).pathname;
const MINE = `chat2api ${HERE} `;
const NAME = `${MINE}${VERSION}`;
const MARK = "x-chat2api-page"; // the header with the version of a page that is ours
const DOWN = [502, 503, 504]; // a proxy stands in front of a gateway that is away
const GONE = [404, 410];

async function keep() {
  const page = await fetch(HERE, { cache: "no-cache" });
  if (page.headers.get(MARK) !== VERSION) throw new TypeError(page.statusText);
  const cache = await caches.open(NAME);
  await cache.addAll(FILES.map((name) => `web/${VERSION}/${name}`));
  await cache.put(HERE, page);
  await skipWaiting();
}

const kept = async () => (await caches.keys()).filter((name) => name.startsWith(MINE));

async function begin() {
  const others = (await kept()).filter((name) => name !== NAME);
  await Promise.all(others.slice(0, -1).map((name) => caches.delete(name)));
  await clients.claim();
}

// There is no such page here any more, or it is another's.
async function leave() {
  await registration.unregister();
  await Promise.all((await kept()).map((name) => caches.delete(name)));
}

async function pageFor(event) {
  const stored = () => caches.match(HERE, { cacheName: NAME });
  let answer;
  try {
    answer = await fetch(event.request);
  } catch {
    return (await stored()) ?? Response.error();
  }
  if (answer.headers.has(MARK)) return answer;
  if (DOWN.includes(answer.status)) return (await stored()) ?? answer;
  if (answer.ok || GONE.includes(answer.status)) event.waitUntil(leave());
  return answer;
}

async function fileFor(event) {
  const { request } = event;
  for (const name of await kept()) {
    const found = await caches.match(request, { cacheName: name });
    if (found) return found;
  }
  const answer = await fetch(request);
  const isMine = new URL(request.url).pathname.startsWith(`${HERE}web/${VERSION}/`);
  if (answer.status === 200 && isMine && (await caches.has(NAME))) event.waitUntil(keepFile(request, answer.clone()));
  return answer;
}

// A disk that is full keeps nothing more; the page has its file all the same.
async function keepFile(request, answer) {
  await (await caches.open(NAME)).put(request, answer).catch(() => undefined);
}

addEventListener("install", (event) => event.waitUntil(keep()));
addEventListener("activate", (event) => event.waitUntil(begin()));
addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  if (event.request.method !== "GET" || origin !== location.origin) return;
  if (pathname === HERE && event.request.mode === "navigate") event.respondWith(pageFor(event));
  else if (pathname.startsWith(`${HERE}web/`)) event.respondWith(fileFor(event));
});
