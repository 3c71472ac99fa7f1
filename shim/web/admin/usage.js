// The usage page: sums of days as charts and tables, and below them the log (calls.js).
import { ask, at, enter, leaves, make, put } from "./session.js";
import { draw, forget } from "./charts.js";
import * as calls from "./calls.js";
import * as recordings from "./recordings.js";

const MOST_SERIES = 6; // of a chart; what is beyond is added up as "others"
const WORDS = { key: "Key", account: "Account", model: "Model", api: "API" };
const whole = (number) => Math.round(number).toLocaleString("en");
const shortened = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const CHARTS = [
  { id: "chart-requests", of: (row) => row.requests, form: (number) => shortened.format(number) },
  { id: "chart-errors", of: (row) => row.errors, form: (number) => shortened.format(number) },
  { id: "chart-tokens", of: (row) => row.prompt_tokens + row.completion_tokens, form: (number) => shortened.format(number) },
  { id: "chart-first", of: (row) => (row.streams ? row.first_ms / row.streams : null), form: (number) => `${shortened.format(number)} ms` },
];
const SUMS = ["requests", "errors", "prompt_tokens", "completion_tokens", "streams", "first_ms"];

let shown = null; // what the charts were drawn of
let asked = 0; // the number of the newest request: answers to older ones are late

async function refresh() {
  const mine = ++asked;
  const days = Number(at("days").value);
  const by = at("by").value;
  at("csv").href = `api/usage?${new URLSearchParams({ days, by: ["day", by].filter(Boolean).join(","), format: "csv" })}`;
  try {
    const told = await ask("GET", `api/usage?${new URLSearchParams({ days, by: ["day", by].filter(Boolean).join(",") })}`);
    if (mine !== asked) return;
    say("");
    const first = shown === null;
    show(days, by, told.rows);
    // The browser has tried to go there when there was nothing of this yet.
    if (first && location.hash) document.querySelector(":target")?.scrollIntoView();
  } catch (refusal) {
    if (mine === asked && !leaves(refusal)) say(refusal.message);
  }
}

function say(text) {
  at("usage-message").hidden = !text;
  put(at("usage-message"), text);
}

function show(days, by, rows) {
  shown = { days, by, rows: rows.map((row) => ({ ...Object.fromEntries(SUMS.map((name) => [name, 0])), ...row })) };
  const dates = datesOf(days);
  const groups = grouped(shown.rows, by);
  for (const chart of CHARTS) {
    const series = groups.map(({ name, rows }) => ({ name, values: dates.map((day) => valueOf(rows.filter((row) => row.day === day), chart)) }));
    draw(at(chart.id), dates, series, chart.form);
  }
  showTotals(shown.rows, by);
}

function datesOf(days) {
  const today = Date.parse(new Date().toISOString().slice(0, 10));
  return Array.from({ length: days }, (_none, place) => new Date(today - (days - 1 - place) * 86_400_000).toISOString().slice(0, 10));
}

function added(rows) {
  const sum = Object.fromEntries(SUMS.map((name) => [name, 0]));
  for (const row of rows) for (const name of SUMS) sum[name] += row[name];
  return sum;
}

function valueOf(rows, chart) {
  return chart.of(added(rows));
}

// [{name, rows}], those with the most requests first, in the order in which they are drawn.
function grouped(rows, by) {
  if (!by) return [{ name: "All", rows }];
  const groups = [...Map.groupBy(rows, (row) => row[by] ?? "")]
    .map(([name, rows]) => ({ name: name || "none", rows }))
    .sort((one, two) => added(two.rows).requests - added(one.rows).requests);
  if (groups.length <= MOST_SERIES + 1) return groups.length ? groups : [{ name: "All", rows }];
  return [...groups.slice(0, MOST_SERIES), { name: "others", rows: groups.slice(MOST_SERIES).flatMap((group) => group.rows) }];
}

function showTotals(rows, by) {
  put(at("totals-of"), by ? WORDS[by] : "All");
  const groups = by
    ? [...Map.groupBy(rows, (row) => row[by] ?? "")].map(([name, rows]) => [name || "none", added(rows)])
    : [["All calls", added(rows)]];
  groups.sort(([, one], [, two]) => two.requests - one.requests);
  at("totals").replaceChildren(...groups.slice(0, 200).map(([name, sum]) => {
    const number = (text) => make("td", { text, className: "number" });
    return make(
      "tr", {}, make("th", { text: name, scope: "row" }), number(whole(sum.requests)), number(whole(sum.errors)),
      number(sum.requests ? `${(100 * sum.errors / sum.requests).toFixed(1)} %` : "–"),
      number(whole(sum.prompt_tokens)), number(whole(sum.completion_tokens)),
      number(sum.streams ? `${whole(sum.first_ms / sum.streams)} ms` : "–"),
    );
  }));
}

at("days").addEventListener("change", refresh);
at("by").addEventListener("change", refresh);
at("refresh").addEventListener("click", refresh);
// The colours of a canvas don't change by themselves.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (shown) show(shown.days, shown.by, shown.rows); });

enter(
  () => {
    refresh();
    calls.open();
    recordings.open();
  },
  () => {
    asked += 1;
    shown = null;
    for (const chart of CHARTS) forget(at(chart.id));
    at("totals").replaceChildren();
    calls.close();
    recordings.close();
  },
);
