// Where an answer may point. Rule: a link leads to http, https or mailto, and only when clicked; a picture comes from
// this origin or is in the text itself, so that showing an answer asks nobody for anything.

const LINKS = ["http:", "https:", "mailto:"];
const INLINE_PICTURE = /^data:image\/(?:png|jpeg|webp|gif);/i;

/** The address as a link may have it, or null. */
export function linkTarget(address) {
  const url = parsed(address);
  return url && LINKS.includes(url.protocol) ? url.href : null;
}

/** The address as a picture may have it, or null. */
export function pictureSource(address) {
  if (INLINE_PICTURE.test(address)) return address;
  const url = parsed(address);
  return url && url.origin === location.origin && ["http:", "https:", "blob:"].includes(url.protocol) ? url.href : null;
}

function parsed(address) {
  try {
    return new URL(address, document.baseURI);
  } catch {
    return null;
  }
}
