// One chart with its legend and its table. The chart is a picture of the table, and hidden from who can't see it.
/* global uPlot */
import { make } from "./session.js";

const COLOURS = 7; // of --series-0 and on, in usage.css
const HEIGHT = 220;

const drawn = new Map(); // place -> uPlot

// `days` are dates (UTC), `series` [{name, values}], one value for each day, null where there is none.
export function draw(place, days, series, form) {
  forget(place);
  const box = make("div", { className: "plot", ariaHidden: "true" });
  place.replaceChildren(legend(series), box, tableOf(days, series, form));
  const moments = days.map((day) => Date.parse(`${day}T00:00:00Z`) / 1000);
  const ink = tone("--soft");
  const grid = { stroke: tone("--line"), width: 1 };
  const axis = { stroke: ink, grid, ticks: grid, font: "12px system-ui, sans-serif" };
  const options = {
    width: Math.max(box.clientWidth, 200),
    height: HEIGHT,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { range: (_plot, low, high) => (low === high ? [low - 86_400, high + 86_400] : [low, high]) }, y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    axes: [{ ...axis, values: (_plot, ticks) => ticks.map(shortDay), incrs: [1, 2, 4, 7, 14, 28].map((days) => days * 86_400) }, { ...axis, size: 62, values: (_plot, ticks) => ticks.map(form) }],
    series: [{}, ...series.map((_one, place) => ({ stroke: tone(`--series-${place % COLOURS}`), width: 2, points: { show: days.length < 32, size: 6 } }))],
  };
  drawn.set(place, new uPlot(options, [moments, ...series.map((one) => one.values)], box));
}

export function forget(place) {
  drawn.get(place)?.destroy();
  drawn.delete(place);
  place.replaceChildren();
}

new ResizeObserver(() => {
  for (const plot of drawn.values()) {
    const width = plot.root.parentElement.clientWidth;
    if (width > 0 && width !== plot.width) plot.setSize({ width, height: HEIGHT });
  }
}).observe(document.documentElement);

function legend(series) {
  const items = series.map((one, place) => {
    const swatch = make("i", { className: `swatch series-${place % COLOURS}`, ariaHidden: "true" });
    return make("li", {}, swatch, one.name);
  });
  return make("ul", { className: "legend", ariaHidden: "true" }, ...items);
}

function tableOf(days, series, form) {
  const head = make("tr", {}, make("th", { text: "Day", scope: "col" }), ...series.map((one) => make("th", { text: one.name, scope: "col", className: "number" })));
  const rows = days.map((day, place) => make(
    "tr", {}, make("th", { text: day, scope: "row" }),
    ...series.map((one) => make("td", { text: one.values[place] === null ? "–" : form(one.values[place]), className: "number" })),
  )).reverse();
  const table = make("table", { className: "plain" }, make("thead", {}, head), make("tbody", {}, ...rows));
  const scrolls = make("div", { className: "scrolls", tabIndex: 0, role: "region", ariaLabel: "The numbers of the chart" }, table);
  return make("details", {}, make("summary", { text: "Table" }), scrolls);
}

function shortDay(seconds) {
  return new Date(seconds * 1000).toLocaleDateString([], { month: "short", day: "numeric", timeZone: "UTC" });
}

function tone(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
