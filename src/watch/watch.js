"use strict";
// Ask about once a second what has changed, and draw only that.
const get = id => document.getElementById(id);
const EVERY = 700, LATE = 6000, MOST_CHARTS = 3, MOST_CURVES = 8, STATES = ["running", "finished", "untested", "failed", "stopped", "damaged"];
const known = {word: "", version: -1, order: [], runs: new Map(), rows: new Map(), only: "", opened: "", have: -1};
let heard = Date.now();

const number = v => v === null || v === undefined ? "" : v.toFixed(4);
function age(seconds) {
  const s = Math.max(0, Date.now() / 1000 - seconds);
  return s < 90 ? `${Math.round(s)} s` : s < 5400 ? `${Math.round(s / 60)} min` : s < 129600 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
}
const cell = (head, text, kind = "") => make("td", text, kind + (text === "" ? " filled" : ""), {"data-label": head});

const HEADS = [["run", "text"], ["state", "text"], ["data", "text"], ["epoch", ""], ["now", ""], ["best", ""], ["test", ""], ["curve", ""], ["changed", ""]];

function drawRow(id, run) {
  const row = make("tr");
  const name = make("td", "", "text", {"data-label": "run"}), inner = make("span");
  const button = make("button", run.place, "open", {type: "button"});
  button.addEventListener("click", () => { location.hash = `run=${id}`; });
  inner.append(button);
  if (run.differing) inner.append(make("span", run.differing, "under"));
  if (run.early) inner.append(make("span", `will end at ${number(run.early.low)} to ${number(run.early.high)} (${run.early.n} finished ones)`, "under"));
  if (run.reason) inner.append(make("span", run.reason, "under flag"));
  name.append(inner);
  const state = make("td", "", "text", {"data-label": "state"});
  state.append(make("span", run.state, `word state-${run.state}`));
  const data = cell("data", `${run.data} · ${run.model}${run.seed === null ? "" : ` · seed ${run.seed}`}`, "text");
  const epoch = make("td", "", "", {"data-label": "epoch"}), steps = make("span", run.planned ? `${run.epochs} of ${run.planned}` : String(run.epochs));
  if (run.planned && run.state === "running") steps.append(make("progress", "", "", {max: run.planned, value: run.epochs}));
  epoch.append(steps);
  const curve = make("td", "", run.curve.length > 1 ? "" : "empty", {"data-label": run.metric || "curve"});
  curve.append(drawSpark(run.curve));
  row.append(name, state, data, epoch, cell("now", number(run.now)), cell("best", number(run.best)), cell("test", number(run.test)), curve, cell("changed", age(run.changed), "age"));
  for (const each of row.cells) if (each.classList.contains("filled")) each.className = "empty";
  return row;
}

const shown = run => (!known.only || run.state === known.only) &&
  `${run.place} ${run.data} ${run.model} ${run.settings || ""}`.toLowerCase().includes(get("filter").value.trim().toLowerCase());

function placeRows() {
  const body = get("run-rows");
  const rows = known.order.filter(id => known.runs.has(id)).map(id => {
    const row = known.rows.get(id);
    row.hidden = !shown(known.runs.get(id));
    row.style.display = row.hidden ? "none" : "";
    return row;
  });
  if (rows.length !== body.rows.length || rows.some((row, i) => body.rows[i] !== row)) body.replaceChildren(...rows);
}

function drawStates() {
  const counts = {};
  for (const run of known.runs.values()) counts[run.state] = (counts[run.state] || 0) + 1;
  get("states").replaceChildren(...STATES.filter(state => counts[state]).map(state => {
    const button = make("button", `${state} ${counts[state]}`, "", {type: "button", "aria-pressed": String(known.only === state)});
    button.addEventListener("click", () => { known.only = known.only === state ? "" : state; drawStates(); placeRows(); });
    return button;
  }));
  const total = known.runs.size;
  get("headline").textContent = total ? `${total} run${total === 1 ? "" : "s"}: ` + STATES.filter(s => counts[s]).map(s => `${counts[s]} ${s}`).join(", ")
    : "No runs yet; this page shows them as they begin";
  document.title = counts.running ? `${counts.running} running · ${total} runs` : `${total} runs`;
}

// A chart for each data set and metric, of its running runs, or else of the newest.
function drawOverview() {
  const groups = new Map();
  for (const id of known.order) {
    const run = known.runs.get(id);
    if (!run || !run.metric || run.curve.length < 1) continue;
    const title = `${run.data}, val/${run.metric}`;
    groups.set(title, [...groups.get(title) || [], run]);
  }
  const charts = [...groups].slice(0, MOST_CHARTS).map(([title, runs]) => {
    const live = runs.filter(run => run.state === "running"), few = (live.length ? live : runs).slice(0, MOST_CURVES);
    const name = run => `${run.model}${run.seed === null ? "" : ` seed ${run.seed}`}${run.differing ? ` ${run.differing.slice(0, 40)}` : ""}`;
    return drawChart(`${title}: ${live.length ? "running" : "the newest"}`, few.map(run => ({name: name(run), points: run.curve})));
  });
  get("charts").replaceChildren(...charts);
  get("overview").hidden = !charts.length;
}

function drawSweeps(sweeps) {
  const heads = ["network", "data", "epochs", "ended", "running", "lost", "val", "test"];
  get("sweep-heads").replaceChildren(...heads.map((head, i) => make("th", head, i < 2 ? "text" : "", {scope: "col"})));
  const spread = (mean, sd) => mean === null ? "" : number(mean) + (sd === null ? "" : ` ± ${number(sd)}`);
  get("sweep-rows").replaceChildren(...sweeps.map(each => {
    const row = make("tr"), name = make("td", "", "text", {"data-label": "network"}), inner = make("span", each.model);
    if (each.settings) inner.append(make("span", each.settings, "under"));
    name.append(inner);
    row.append(name, cell("data", `${each.data}${each.metric ? `, ${each.metric}` : ""}`, "text"), cell("epochs", String(each.epochs)), cell("ended", `${each.ended} of ${each.runs}`), cell("running", each.running ? String(each.running) : ""),
      cell("lost", each.lost ? String(each.lost) : ""), cell("val", spread(each.val, each.val_sd)), cell("test", spread(each.test, each.test_sd)));
    for (const one of row.cells) if (one.classList.contains("filled")) one.className = "empty";
    return row;
  }));
  get("sweep").hidden = !sweeps.length;
}

function take(state) {
  if (state.word !== known.word) Object.assign(known, {word: state.word, version: -1, runs: new Map(), rows: new Map(), have: -1});
  if (!state.order) return;
  known.version = state.version;
  known.order = state.order;
  get("root").textContent = `Runs below ${state.root}`;
  const present = new Set(state.order);
  for (const id of [...known.runs.keys()]) if (!present.has(id)) { known.runs.delete(id); known.rows.delete(id); }
  for (const [id, run] of Object.entries(state.changed)) { known.runs.set(id, run); known.rows.set(id, drawRow(id, run)); }
  get("more").textContent = state.left_out ? `${state.left_out} more runs are not shown: name a folder with fewer.` : "";
  drawStates();
  placeRows();
  drawOverview();
  drawSweeps(state.sweeps);
  offerDrop(state.predict);
}

async function ask(address) {
  const answer = await fetch(address, {signal: AbortSignal.timeout(10000), cache: "no-store"});
  return {ok: answer.ok, content: await answer.json()};
}

function drawFacts(run) {
  const facts = {state: run.state, why: run.reason, network: `${run.model} on ${run.data}`, seed: run.seed, epochs: run.planned ? `${run.epochs} of ${run.planned}` : run.epochs,
    [run.metric || "metric"]: [["now", run.now], ["best", run.best], ["test", run.test]].filter(([, v]) => v !== null).map(([n, v]) => `${n} ${number(v)}`).join(", "),
    "early verdict": run.early ? `will end at ${number(run.early.low)} to ${number(run.early.high)}, a 90 % range by ${run.early.n} finished runs of this recipe` : "",
    settings: run.settings, changed: `${age(run.changed)} ago`};
  get("facts").replaceChildren(...Object.entries(facts).filter(([, v]) => v !== "" && v !== null && v !== undefined).flatMap(([n, v]) => [make("dt", n), make("dd", String(v))]));
}

async function showRun() {
  const id = known.opened, run = known.runs.get(id);
  if (!run) return;
  get("run-title").textContent = run.place;
  drawFacts(run);
  const {ok, content} = await ask(`/run?id=${id}&have=${known.have}`);
  if (!ok || id !== known.opened) return;
  if (content.curves) {
    const groups = new Map();
    for (const [name, points] of Object.entries(content.curves)) {
      const kind = name.slice(name.indexOf("/") + 1);
      groups.set(kind, [...groups.get(kind) || [], {name: name.split("/")[0], points}]);
    }
    get("run-charts").replaceChildren(...[...groups].map(([kind, series]) => drawChart(kind, series)));
    known.have = content.version;
  }
  const log = get("log"), end = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  get("log-title").hidden = !content.log.length;
  log.textContent = content.log.join("\n");
  if (end) log.scrollTop = log.scrollHeight;
}

function openRun() {
  const found = /^#run=([0-9a-f]{16})$/.exec(location.hash), dialog = get("run");
  const id = found ? found[1] : "";
  if (id !== known.opened) { known.have = -1; get("run-charts").replaceChildren(); get("log").textContent = ""; }
  known.opened = id;
  if (id && known.runs.has(id) && !dialog.open) dialog.showModal();
  if (!id && dialog.open) dialog.close();
}

async function renew() {
  try {
    const {ok, content} = await ask(`/state?since=${known.version}&word=${known.word}`);
    if (ok) { take(content); heard = Date.now(); }
    openRun();
    if (known.opened) await showRun();
  } catch (error) { /* the pulse says it */ }
  const late = Date.now() - heard > LATE;
  get("pulse").classList.toggle("late", late);
  get("pulse").textContent = late ? `Nothing was heard for ${Math.round((Date.now() - heard) / 1000)} s: has python -m src.watch ended?` : `Live; as of ${new Date(heard).toLocaleTimeString()}.`;
  for (const [id, row] of known.rows) row.cells[row.cells.length - 1].textContent = age(known.runs.get(id).changed);
  setTimeout(renew, EVERY);
}

get("run-heads").replaceChildren(...HEADS.map(([head, kind]) => make("th", head, kind, {scope: "col"})));
get("filter").addEventListener("input", placeRows);
get("close").addEventListener("click", () => get("run").close());
get("run").addEventListener("close", () => { if (location.hash) history.replaceState(null, "", location.pathname); known.opened = ""; });
addEventListener("hashchange", () => { openRun(); showRun().catch(() => {}); });
renew();
