// Draws diagrams in a frame that may do nothing else: an origin of its own, no network, no way out but the message with the
// drawing. Rule: whatever a diagram makes of this frame, the page takes an SVG from it and judges that by itself. This is a
// classic script, put into diagram.html as it stands.
const SVG = "http://www.w3.org/2000/svg";
const EDGES = 400;
// What a look is made of; as attributes, they need no style sheet to go with the picture.
const LOOKS = [
  "color", "dominant-baseline", "fill", "fill-opacity", "font-family", "font-size", "font-style", "font-weight", "letter-spacing", "marker-end",
  "marker-mid", "marker-start", "opacity", "paint-order", "stop-color", "stop-opacity", "stroke", "stroke-dasharray", "stroke-dashoffset",
  "stroke-linecap", "stroke-linejoin", "stroke-opacity", "stroke-width", "text-anchor", "text-decoration-line", "visibility",
];

let made = 0;

async function drawn({ text, theme, fontFamily }) {
  window.mermaid.initialize({
    startOnLoad: false, securityLevel: "strict", theme, fontFamily, htmlLabels: false, flowchart: { htmlLabels: false }, class: { htmlLabels: false },
    maxTextSize: text.length, maxEdges: EDGES, suppressErrorRendering: true, deterministicIds: true,
    secure: ["secure", "securityLevel", "startOnLoad", "maxTextSize", "maxEdges", "suppressErrorRendering", "htmlLabels", "fontFamily", "themeCSS", "dompurifyConfig"],
  });
  const place = document.createElement("div");
  document.body.append(place);
  try {
    const { svg } = await window.mermaid.render(`diagram-${(made += 1)}`, text, place);
    place.innerHTML = svg;
    return standingAlone(place.querySelector("svg"));
  } finally {
    place.remove();
  }
}

function standingAlone(svg) {
  const { width, height } = (svg.viewBox.baseVal?.width ? svg.viewBox.baseVal : svg.getBoundingClientRect());
  const plain = document.createElementNS(SVG, "text");
  document.body.append(svg);
  svg.append(plain);
  const usual = { ...lookOf(plain) };
  plain.remove();
  const all = [...svg.querySelectorAll("*")].filter((node) => node.namespaceURI === SVG);
  const looks = new Map(all.map((node) => [node, lookOf(node)]));
  for (const [node, look] of looks) {
    const above = looks.get(node.parentNode) ?? usual; // What differs from that would be inherited.
    for (const name of LOOKS) if (look[name] !== usual[name] || look[name] !== above[name] || node.hasAttribute(name)) node.setAttribute(name, look[name]);
  }
  for (const node of [svg, ...all]) ["class", "style"].forEach((name) => node.removeAttribute(name));
  svg.querySelectorAll("a").forEach(unlink);
  for (const name of ["color", "fill", "font-family", "font-size", "font-weight"]) svg.setAttribute(name, getComputedStyle(svg)[name]);
  svg.querySelectorAll("style, script, foreignObject").forEach((node) => node.remove());
  svg.setAttribute("width", String(Math.ceil(width)));
  svg.setAttribute("height", String(Math.ceil(height)));
  const text = new XMLSerializer().serializeToString(svg);
  svg.remove();
  return text;
}

// A picture has no links; what a link moved stays where it was.
function unlink(link) {
  const group = document.createElementNS(SVG, "g");
  for (const name of ["transform", "id"]) if (link.hasAttribute(name)) group.setAttribute(name, link.getAttribute(name));
  group.append(...link.childNodes);
  link.replaceWith(group);
}

function lookOf(node) {
  const style = getComputedStyle(node);
  return Object.fromEntries(LOOKS.map((name) => [name, style.getPropertyValue(name)]));
}

addEventListener("message", async ({ data, source }) => {
  if (source !== parent) return;
  try {
    parent.postMessage({ asked: data.asked, svg: await drawn(data) }, "*");
  } catch (failure) {
    parent.postMessage({ asked: data.asked, wrong: String(failure?.message ?? failure).slice(0, 2000) }, "*");
  }
});
parent.postMessage({ ready: true }, "*");
