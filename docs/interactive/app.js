/* The wiring: one state, controls that change it, and one function that draws it.
 *
 * Reading order: last. Every number on the page carries its full precision in `data-value`; the text beside it is
 * rounded. `window.explorer` shows state and surface to tests and to the curious.
 */
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const MODELS = Object.fromEntries(Object.entries(DATA.sets).map(([name, set]) => [name, new Model(set)]));
/** A second copy for the surface, which has its own parameters and modes. */
const SURFACE_MODELS = Object.fromEntries(Object.entries(DATA.sets).map(([name, set]) => [name, new Model(set)]));
/** Milliseconds of work on the surface between two looks at the controls, and at most for the last refinement. */
const SLICE = 10, PATIENCE = 2500;
/** The surface has so many intervals a side; it is computed on every 8th grid line first, then on every 4th, ... */
const INTERVALS = 64, STRIDES = [8, 4, 2, 1];

const state = {
  set: "cbpp", psi: [], group: 0, k: 5, u0: 0, // where the sliders stand; psi = (theta, beta)
  scope: "group", // PIRLS of one group or of "all"
  axis: 0, zoom: 1, method: "laplace", path: "", // the surface
};
const surface = { key: "", grid: null, done: false, timer: 0 };
const byId = (id) => document.getElementById(id);
const current = () => DATA.sets[state.set];
const rule = (k) => ({ z: DATA.rules[k - 1][0], w: DATA.rules[k - 1][1] });
/** The optimum that the library found with k nodes: {psi, value}. */
const optimum = (k) => current().optima[k - 1];

/* ---------------------------------------------------------------------------------------------- numbers */

/** Show a number rounded, and keep all of it for whoever wants to compare. */
function show(id, value, text, extra = {}) {
  const cell = byId(id);
  cell.textContent = text;
  cell.dataset.value = String(value);
  Object.assign(cell.dataset, extra);
}

const fixedDigits = (x, digits) => x.toFixed(digits).replace("-", "−");

/** A difference to the optimum: 0 where it is rounding. */
const difference = (x) => (Math.abs(x) < 5e-9 ? "0" : short(x, 4));

/* --------------------------------------------------------------------------------------------- controls */

/** A slider with a field beside it for an exact number; `onValue` is called with what was chosen. */
function bindSlider(id, onValue) {
  byId(id).addEventListener("input", (event) => onValue(Number(event.target.value)));
  byId(`${id}-number`).addEventListener("change", (event) => {
    if (event.target.value !== "" && event.target.checkValidity()) onValue(Number(event.target.value));
    else update();
  });
}

/** Put slider and field where the state is; the slider shows its nearest step, the field what can be read. */
function setSlider(id, value) {
  byId(id).value = value;
  const field = byId(`${id}-number`);
  field.value = Number(value.toFixed(Math.abs(value) < 1 ? 6 : 5));
  field.dataset.value = String(value);
}

/** Name of the m-th slider: theta first, then the coefficients. */
const sliderId = (m) => (m === 0 ? "theta" : `beta-${m - 1}`);

/** The sliders of one data set. */
function buildParameters() {
  byId("parameters").innerHTML = current().names.map((name, m) => {
    const { low, high, step } = current().ranges[m], least = m === 0 ? 'min="0"' : "";
    const label = m === 0 ? `θ, standard deviation of the ${current().factor} effect` : `β: ${name}`;
    return `<div class="slider"><label for="${sliderId(m)}">${label}</label>
      <input type="range" id="${sliderId(m)}" min="${low}" max="${high}" step="${step}">
      <input type="number" id="${sliderId(m)}-number" step="any" ${least} aria-label="${label}"></div>`;
  }).join("");
  current().names.forEach((_, m) => bindSlider(sliderId(m), (value) => {
    state.psi[m] = value;
    update();
  }));
}

/** Buttons that set all parameters at once. */
function buildPoints() {
  const points = [
    ["start", "start", "where the optimizer starts: θ = 1", () => current().points.start],
    ["stage1", "stage 1", "where stage 1 ends", () => current().points.stage1],
    ["laplace", "Laplace", "optimum of Laplace", () => optimum(1).psi],
    ["agq", "AGQ, k", "optimum with k nodes", () => optimum(state.k).psi],
    ["lme4", "lme4", "where lme4 stops", () => current().points.lme4],
  ];
  byId("points").innerHTML = "go to " + points.map(([name, label, title]) =>
    `<button type="button" id="go-${name}" title="${title}" aria-label="${title}">${label}</button>`).join("");
  for (const [name, , , psi] of points) {
    byId(`go-${name}`).addEventListener("click", () => {
      state.psi = [...psi()];
      update();
    });
  }
}

function buildChoices() {
  const set = current();
  byId("description").textContent = set.description;
  byId("formula").textContent = set.formula;
  byId("group-legend").textContent = `Group (${set.factor})`;
  byId("group").innerHTML = set.levels.map((level, j) => `<option value="${j}">${level}</option>`).join("");
  byId("axis").innerHTML = set.names.slice(1).map((name, c) => `<option value="${c}">${name}</option>`).join("");
  byId("path").innerHTML = set.paths.map(({ key, label }) => `<option value="${key}">${label}</option>`).join("");
}

/** Choose a data set: everything that depends on it starts afresh, at the Laplace optimum. */
function chooseSet(name) {
  const set = DATA.sets[name];
  Object.assign(state, { set: name, psi: [...set.optima[0].psi], group: 0, axis: 0, zoom: 1, path: set.paths[0].key });
  buildParameters();
  buildChoices();
  update();
}

function chooseGroup(j) {
  const groups = current().levels.length;
  state.group = (j + groups) % groups;
  update();
}

/** Controls that are there from the beginning. */
function bindControls() {
  byId("datasets").innerHTML = Object.entries(DATA.sets).map(([name, set]) =>
    `<label><input type="radio" name="set" id="data-${name}" value="${name}"> ${set.label}</label>`).join("");
  for (const name of Object.keys(DATA.sets)) byId(`data-${name}`).addEventListener("change", () => chooseSet(name));
  byId("k").max = byId("k-number").max = DATA.rules.length;
  bindSlider("k", (value) => choose("k", value));
  bindSlider("u0", (value) => choose("u0", value));
  for (const id of ["method", "path"]) byId(id).addEventListener("change", (event) => choose(id, event.target.value));
  for (const id of ["axis", "zoom"]) {
    byId(id).addEventListener("change", (event) => choose(id, Number(event.target.value)));
  }
  for (const scope of ["group", "all"]) byId(`scope-${scope}`).addEventListener("change", () => choose("scope", scope));
  byId("group").addEventListener("change", (event) => chooseGroup(Number(event.target.value)));
  byId("group-previous").addEventListener("click", () => chooseGroup(state.group - 1));
  byId("group-next").addEventListener("click", () => chooseGroup(state.group + 1));
  byId("group-worst").addEventListener("click", () => chooseGroup(worstGroup()));
  byId("errors").addEventListener("click", (event) => {
    const { frame, order } = errorBars, x = event.clientX - byId("errors").getBoundingClientRect().left;
    const place = Math.floor(((x - frame.left) / (frame.right - frame.left)) * order.length);
    if (place >= 0 && place < order.length) chooseGroup(order[place]);
  });
  byId("surface").addEventListener("pointerdown", startDragging);
  buildPoints();
}

function choose(name, value) {
  state[name] = value;
  update();
}

/** The group in which Laplace errs most, at the present parameters. */
function worstGroup() {
  const errors = groupErrors(1).map(Math.abs);
  return errors.indexOf(Math.max(...errors));
}

/* ------------------------------------------------------------------------------------------ the pictures */

let scheduled = 0;

/** Draw at the next frame; many changes in between are drawn once. */
function update() {
  scheduled ||= requestAnimationFrame(() => {
    scheduled = 0;
    drawAll();
  });
}

function drawAll() {
  const model = currentModel();
  state.psi.forEach((value, m) => setSlider(sliderId(m), value));
  setSlider("k", state.k);
  setSlider("u0", state.u0);
  byId(`data-${state.set}`).checked = true;
  Object.assign(byId("group"), { value: state.group });
  for (const id of ["axis", "zoom", "method", "path"]) byId(id).value = state[id];
  for (const span of document.querySelectorAll(".k-text")) span.textContent = `k = ${state.k}`;
  showGroup(model);
  showNumbers();
  showPirls(model);
  showSurface();
}

/** Panel 1. */
function showGroup(model) {
  const j = state.group, at = adaptiveQuadrature(model, j, rule(state.k));
  const laplace = at.height + Math.log(at.S), exact = exactLogLikelihood(model, j);
  drawIntegrand(byId("integrand"), model, j, at);
  const name = `${current().factor} ${current().levels[j]}`, part = short(Math.exp(laplace - exact));
  byId("integrand").setAttribute("aria-label",
    `Integrand of ${name} with mode ${short(at.mode)}; Laplace gives ${part} of the integral`);
  const values = { laplace, agq: at.logL, exact };
  for (const [name, logL] of Object.entries(values)) show(`group-${name}`, -2 * logL, fixedDigits(-2 * logL, 6));
  for (const name of ["laplace", "agq"]) {
    const ratio = Math.exp(values[name] - exact);
    show(`group-${name}-ratio`, ratio, ratio.toFixed(Math.abs(ratio - 1) < 1e-4 ? 9 : 6));
  }
  show("group-mode", at.mode, fixedDigits(at.mode, 6));
  show("group-sd", at.S, fixedDigits(at.S, 6));
  byId("group-rows").textContent = describeRows(j);
}

/** What was observed in a group, in a few words. */
function describeRows(j) {
  const { starts, y, size, unit } = current();
  let trials = 0, events = 0;
  for (let i = starts[j]; i < starts[j + 1]; i++) {
    trials += size[i];
    events += y[i] * size[i];
  }
  const rows = starts[j + 1] - starts[j];
  return `${rows} row${rows > 1 ? "s" : ""}: ${Math.round(events)} of ${trials} ${unit}`;
}

/** What depends on the parameters alone is computed once for them. */
const remembered = new Map();
function remember(name, compute) {
  const key = JSON.stringify([state.set, state.psi]);
  if (remembered.get("key") !== key) {
    remembered.clear();
    remembered.set("key", key);
  }
  if (!remembered.has(name)) remembered.set(name, compute());
  return remembered.get(name);
}

/** The model of the chosen data at the parameters of the sliders. */
function currentModel() {
  const model = MODELS[state.set];
  model.setParameters(state.psi[0], state.psi.slice(1));
  return model;
}

const quadrature = (k) => remember(k, () => devianceAndGradient(currentModel(), rule(k)));
function exactByGroup() {
  const model = currentModel();
  return remember("exact", () => current().levels.map((_, j) => exactLogLikelihood(model, j)));
}

/** Error of -2 log L_j with k nodes, by group. */
const groupErrors = (k) => exactByGroup().map((logL, j) => -2 * (quadrature(k).byGroup[j] - logL));

/** Panel 2. */
function showNumbers() {
  const laplace = quadrature(1), agq = quadrature(state.k), exact = exactByGroup();
  showMethod("laplace", laplace, optimum(1).value);
  showMethod("agq", agq, optimum(state.k).value);
  const whole = -2 * exact.reduce((a, b) => a + b, 0);
  show("exact-value", whole, fixedDigits(whole, 6));
  const errors = groupErrors(1), others = groupErrors(state.k);
  show("laplace-error", laplace.value - whole, short(laplace.value - whole, 4), { groups: JSON.stringify(errors) });
  show("agq-error", agq.value - whole, short(agq.value - whole, 3), { groups: JSON.stringify(others) });
  const order = [...errors.keys()].sort((a, b) => errors[b] - errors[a]);
  errorBars = { order, frame: drawErrors(byId("errors"), errors, others, order, state.group) };
}

/** Which group stands where in the picture of the errors. */
let errorBars;

function showMethod(name, { value, gradient }, best) {
  show(`${name}-value`, value, fixedDigits(value, 6));
  show(`${name}-best`, best, fixedDigits(best, 6));
  show(`${name}-excess`, value - best, difference(value - best));
  const largest = Math.max(...gradient.map(Math.abs));
  show(`${name}-gradient`, largest, short(largest, 3), { vector: JSON.stringify(gradient) });
}

/** Panel 3. */
function showPirls(model) {
  const alone = state.scope === "group";
  const groups = alone ? [state.group] : Array.from({ length: model.groups }, (_, j) => j);
  const path = pirlsPath(model, groups, state.u0), r = alone ? 0 : state.group;
  byId(`scope-${state.scope}`).checked = true;
  byId("pirls-objective").textContent = alone ? "g" : "g, all groups";
  drawPirls(byId("pirls"), model, state.group, path, r);
  const halvings = path.steps.reduce((sum, step) => sum + step.halvings, 0);
  byId("pirls").setAttribute("aria-label",
    `PIRLS from ${short(state.u0)}: ${path.steps.length} steps, ${halvings} halvings`);
  byId("pirls-table").tBodies[0].innerHTML = pirlsRows(path, r);
}

/** The path as rows of a table. */
function pirlsRows(path, r) {
  const cell = (name, value, text) => `<td data-name="${name}" data-value="${value}">${text}</td>`;
  const row = (name, ...cells) => `<tr><th scope="row">${name}</th>${cells.join("")}</tr>`;
  const place = ({ u, value }) => cell("u", u[r], fixedDigits(u[r], 6)) + cell("g", value, fixedDigits(value, 5));
  const decrement = (name, value) => cell(name, value, short(value, 3));
  return [
    row("start", place(path.start), "<td></td><td></td>"),
    ...path.steps.map((step) => row(step.iteration, place(step), decrement("decrement", step.decrement),
      cell("halvings", step.halvings, step.halvings || ""))),
    row("stop", "<td></td><td></td>", decrement("last", path.decrement), "<td></td>"),
  ].join("");
}

/* --------------------------------------------------------------------------------------------- the surface */

/** Panel 4: bands and contours when they are new, the place of the sliders always. */
function showSurface() {
  const set = current(), k = state.method === "agq" ? state.k : 1, column = 1 + state.axis;
  const held = state.psi.map((value, m) => (m === 0 || m === column ? "" : value));
  const key = JSON.stringify([planeKey(), k, held]);
  if (key !== surface.key) startSurface(key, column, k);
  drawSurfaceNow();
}

/** Which axes the surface has. */
const planeKey = () => `${state.set} ${state.axis} ${state.zoom}`;

/** Ends of one axis: those of its slider, or a part of them around the Laplace optimum. */
function viewRange(m) {
  const { low, high } = current().ranges[m], wide = (high - low) / state.zoom;
  const begin = Math.min(Math.max(optimum(1).psi[m] - wide / 2, low), high - wide);
  return state.zoom === 1 ? [low, high] : [begin, begin + wide];
}

/** Begin the grid at its coarsest; what an earlier grid still had to do is dropped. */
function startSurface(key, column, k) {
  clearTimeout(surface.timer);
  const model = SURFACE_MODELS[state.set], psi = [...state.psi];
  const xs = spaced(...viewRange(0), INTERVALS + 1), ys = spaced(...viewRange(column), INTERVALS + 1);
  const best = optimum(k).value, order = rule(k);
  Object.assign(surface, { key, xs, ys, done: false, known: new Map(), spent: 0, plane: planeKey() });
  surface.heightAt = (a, b) => {
    const place = b * (INTERVALS + 1) + a;
    if (!surface.known.has(place)) {
      psi[0] = xs[a];
      psi[column] = ys[b];
      model.setParameters(psi[0], psi.slice(1));
      surface.known.set(place, deviance(model, order) - best);
    }
    return surface.known.get(place);
  };
  surface.here = Number(byId(state.method === "agq" ? "agq-excess" : "laplace-excess").dataset.value);
  refine(0, 0);
}

/** Work on one level of the grid until the slice of time is used up; go on at the next chance. */
function refine(level, next) {
  const stride = STRIDES[level], side = INTERVALS / stride + 1, begin = performance.now();
  let place = next;
  for (; place < side * side && performance.now() - begin < SLICE; place++) {
    surface.heightAt((place % side) * stride, Math.floor(place / side) * stride);
  }
  surface.spent += performance.now() - begin;
  if (place < side * side) {
    surface.timer = setTimeout(() => refine(level, place));
    return;
  }
  finishLevel(level, stride, side);
}

/** Show a finished level, and go on with the next where that does not take too long. */
function finishLevel(level, stride, side) {
  const indices = Array.from({ length: side }, (_, m) => m * stride);
  surface.grid = {
    key: surface.key,
    plane: surface.plane,
    known: surface.here,
    xs: indices.map((a) => surface.xs[a]),
    ys: indices.map((b) => surface.ys[b]),
    values: indices.flatMap((b) => indices.map((a) => surface.heightAt(a, b))),
  };
  surface.done = level + 1 === STRIDES.length || 4 * surface.spent > PATIENCE;
  byId("surface").dataset.state = surface.done ? "done" : "coarse";
  surface.drawn = "";
  if (!scheduled) drawSurfaceNow();
  if (!surface.done) surface.timer = setTimeout(() => refine(level + 1, 0));
}

/** The grid (the one before, where the axes are the same, until the new one has its first level), paths, sliders. */
function drawSurfaceNow() {
  const set = current(), column = 1 + state.axis, svg = byId("surface");
  const frame = surfaceFrame(svg, viewRange(0), viewRange(column));
  const { key, xs } = surface.grid ?? {};
  const look = JSON.stringify([key, xs?.length, planeKey(), state.path, state.k, frame.right]);
  if (look !== surface.drawn) {
    surface.drawn = look;
    if (surface.grid?.key !== surface.key) svg.dataset.state = "coarse";
    const grid = surface.grid?.plane === planeKey() ? surface.grid : null;
    drawSurface(svg, byId("bands"), frame, grid, surfaceContents(set, column));
  }
  const [x, y] = [frame.X(state.psi[0]), frame.Y(state.psi[column])];
  const visible = x >= frame.left && x <= frame.right && y >= frame.top && y <= frame.bottom;
  byId("here").innerHTML = visible ? sight(x, y, 9) : "";
  const here = `${short(state.psi[0])} and ${short(state.psi[column])}`;
  svg.setAttribute("aria-label", `−2 log L over theta and ${set.names[column]}; the sliders stand at ${here}`);
}

/** Paths and optima in the plane of theta and one coefficient. */
function surfaceContents(set, column) {
  const plane = (psi) => [psi[0], psi[column]];
  const path = set.paths.find(({ key }) => key === state.path);
  const optima = [{ point: plane(set.optima[0].psi), kind: "star-laplace", title: "optimum of Laplace" }];
  if (state.k > 1) {
    optima.push({ point: plane(optimum(state.k).psi), kind: "star-agq", title: `optimum with ${state.k} nodes` });
  }
  byId("surface-note").textContent = path.note;
  return {
    xLabel: "θ",
    yLabel: set.names[column],
    stages: path.stages.map((stage) => stage.map(({ psi, value }) => [...plane(psi), value])),
    orders: set.optima.map(({ psi }) => plane(psi)),
    optima,
  };
}

/** Let the pointer carry theta and the coefficient along. */
function startDragging(event) {
  const svg = byId("surface"), column = 1 + state.axis;
  const move = ({ clientX, clientY }) => {
    const box = svg.getBoundingClientRect(), frame = surfaceFrame(svg, [0, 1], [0, 1]);
    const share = (value, from, to) => Math.min(Math.max((value - from) / (to - from), 0), 1);
    const across = share(clientX - box.left, frame.left, frame.right);
    const up = share(clientY - box.top, frame.bottom, frame.top);
    [[0, across], [column, up]].forEach(([m, part]) => {
      const [low, high] = viewRange(m);
      state.psi[m] = Number((low + part * (high - low)).toPrecision(6));
    });
    update();
  };
  move(event);
  svg.addEventListener("pointermove", move);
  addEventListener("pointerup", () => svg.removeEventListener("pointermove", move), { once: true });
  addEventListener("pointercancel", () => svg.removeEventListener("pointermove", move), { once: true });
}

/* ------------------------------------------------------------------------------------------- beginning */

/** In the book the page stands in a frame, and takes the theme that the book says it has: light, dark or auto. */
function joinBook() {
  addEventListener("message", ({ data }) => {
    if (["auto", "light", "dark"].includes(data?.theme)) applyTheme(data.theme);
  });
  if (window.parent === window) return;
  document.documentElement.classList.add("framed");
  window.parent.postMessage("which theme?", "*");
}

function applyTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  surface.drawn = "";
  update();
}

bindControls();
chooseSet("cbpp");
joinBook();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  surface.drawn = ""; // the canvas took the colours of the theme before
  update();
});
addEventListener("resize", () => {
  widths.clear();
  update();
});
window.explorer = { state, surface };
