/* The pictures: each function fills one <svg> (the surface a <canvas> as well) with what model.js computed.
 *
 * Reading order: after model.js. Colours and fonts are classes of the style sheet in page.html, so that a picture
 * follows the light or dark theme without being drawn anew; only the canvas asks for its colours.
 */
"use strict";

/* --------------------------------------------------------------------------------------- scales and axes */

/** A number with so many significant digits, without trailing zeros, and with a true minus sign. */
function short(x, digits = 4) {
  if (!Number.isFinite(x)) return x > 0 ? "∞" : x < 0 ? "−∞" : "–";
  const size = Math.abs(x);
  const extreme = size !== 0 && (size < 1e-4 || size >= 1e6);
  const rounded = Number(x.toPrecision(extreme ? Math.min(digits, 3) : digits));
  return (extreme ? rounded.toExponential() : String(rounded)).replace("e+", "e").replaceAll("-", "−");
}

/** About n round numbers between low and high. */
function ticks(low, high, n) {
  const rough = (high - low) / Math.max(n, 1), power = 10 ** Math.floor(Math.log10(rough));
  const step = [10, 5, 2, 1].find((m) => m * power <= 1.3 * rough) * power;
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, m) => Number(((first + m) * step).toPrecision(12)));
}

/** Pixels of one plot: its box inside the svg, and the functions X, Y from data to pixels. */
function makeFrame(box, x, y) {
  const X = (value) => box.left + ((value - x[0]) / (x[1] - x[0])) * (box.right - box.left);
  const Y = (value) => box.bottom - ((value - y[0]) / (y[1] - y[0])) * (box.bottom - box.top);
  return { ...box, x, y, X, Y };
}

/** Widths of the pictures, so that drawing one does not have the browser lay out what was drawn before. */
const widths = new Map();
function pictureWidth(svg) {
  if (!widths.has(svg)) widths.set(svg, Math.max(svg.parentElement.clientWidth, 240));
  return widths.get(svg);
}

/** Set the size of a picture; its user units are pixels. */
function openPicture(svg, height) {
  const width = pictureWidth(svg);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);
  return width;
}

/** One element each of an <svg>, as text; lengths in pixels. */
const text = (x, y, content, attributes = "") =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${content}</text>`;
const line = (x1, y1, x2, y2, kind) =>
  `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" class="${kind}"/>`;
const withTitle = (tag, attributes, title) => `<${tag} ${attributes}>${title && `<title>${title}</title>`}</${tag}>`;
const dot = (x, y, r, kind, title = "") =>
  withTitle("circle", `cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${r.toFixed(2)}" class="${kind}"`, title);
const upright = (left, right, top, bottom, kind, title = "") =>
  withTitle("rect", `x="${left.toFixed(1)}" width="${(right - left).toFixed(1)}" y="${top.toFixed(1)}" ` +
    `height="${(bottom - top).toFixed(1)}" class="${kind}"`, title);
const clipTo = ({ left, right, top, bottom }, id) =>
  `<clipPath id="${id}">${upright(left, right, top, bottom, "")}</clipPath>`;

/** Points of a curve as the d of a <path>. */
function curve(frame, xs, ys) {
  return xs.map((x, m) => `${m ? "L" : "M"}${frame.X(x).toFixed(1)},${frame.Y(ys[m]).toFixed(1)}`).join("");
}

/** Grid, tick labels and axis labels; the label of the vertical axis stands so far from it. */
function drawAxes(frame, { xLabel, yLabel, xTicks, yTicks, yText = short, away = 44 }) {
  const across = xTicks ?? ticks(...frame.x, Math.max(2, (frame.right - frame.left) / 75));
  const up = yTicks ?? ticks(...frame.y, Math.max(2, (frame.bottom - frame.top) / 45));
  const parts = [
    ...across.map((t) => line(frame.X(t), frame.top, frame.X(t), frame.bottom, "grid")),
    ...up.map((t) => line(frame.left, frame.Y(t), frame.right, frame.Y(t), "grid")),
    line(frame.left, frame.bottom, frame.right, frame.bottom, "axis"),
    line(frame.left, frame.top, frame.left, frame.bottom, "axis"),
    ...across.map((t) => text(frame.X(t), frame.bottom + 15, short(t), 'class="tick" text-anchor="middle"')),
    ...up.map((t) => text(frame.left - 6, frame.Y(t) + 4, yText(t), 'class="tick" text-anchor="end"')),
    text((frame.left + frame.right) / 2, frame.bottom + 32, xLabel, 'class="label" text-anchor="middle"'),
  ];
  const middle = (frame.top + frame.bottom) / 2, at = frame.left - away;
  parts.push(text(at, middle, yLabel, `class="label" text-anchor="middle" transform="rotate(-90 ${at} ${middle})"`));
  return parts.join("");
}

/** Evenly spaced numbers. */
function spaced(low, high, n) {
  return Array.from({ length: n }, (_, m) => low + ((high - low) * m) / (n - 1));
}

/* ---------------------------------------------------------------------------------------- 1. the integrand */

/** Where to draw an integrand: all that is visible of it and of Laplace's normal density. */
function integrandRange(model, j, at) {
  const visible = (u) => Math.exp(model.logIntegrand(j, u) - at.height) > 2e-3;
  const reach = (sign) => {
    let z = 3.7;
    while (z < 12 && visible(at.mode + sign * z * at.S)) z += 0.3;
    return at.mode + sign * z * at.S;
  };
  return [reach(-1), reach(1)];
}

/** The integrand of group j, Laplace's normal density, and the nodes with their shares of the sum. */
function drawIntegrand(svg, model, j, at) {
  const width = openPicture(svg, 330), x = integrandRange(model, j, at);
  const frame = makeFrame({ left: 56, right: width - 12, top: 12, bottom: 218 }, x, [0, 1.06]);
  const below = makeFrame({ left: 56, right: width - 12, top: 266, bottom: 318 }, x, [0, Math.max(...at.shares)]);
  const us = spaced(...x, Math.round((frame.right - frame.left) / 2));
  const integrand = us.map((u) => Math.exp(model.logIntegrand(j, u) - at.height));
  const normal = us.map((u) => Math.exp(-0.5 * ((u - at.mode) / at.S) ** 2));
  const back = [...us].reverse(), normalBack = [...normal].reverse();
  const between = `${curve(frame, us, integrand)}L${curve(frame, back, normalBack).slice(1)}Z`;
  const height = (u) => frame.Y(Math.exp(model.logIntegrand(j, u) - at.height));
  const shown = at.nodes.map((u, k) => [u, at.shares[k]]).filter(([u]) => u >= x[0] && u <= x[1]);
  const label = (u, share) => `u = ${short(u)}, share of the sum ${short(100 * share, 3)} %`;
  svg.innerHTML = [
    drawAxes(frame, { xLabel: "u", yLabel: "relative to the mode" }),
    `<path class="between" d="${between}"/>`,
    `<path class="prior" d="${curve(frame, us, us.map((u) => Math.exp(-0.5 * u * u)))}"/>`,
    ...shown.map(([u]) => line(frame.X(u), frame.bottom, frame.X(u), height(u), "stem")),
    `<path class="curve" d="${curve(frame, us, integrand)}"/>`,
    `<path class="reference" d="${curve(frame, us, normal)}"/>`,
    ...shown.map(([u, share]) =>
      dot(frame.X(u), height(u), 2.5 + 4 * Math.sqrt(share), "node", label(u, share))),
    line(below.left, below.bottom, below.right, below.bottom, "axis"),
    ...shown.map(([u, share]) =>
      upright(below.X(u) - 3, below.X(u) + 3, below.Y(share), below.bottom, "share", label(u, share))),
    text(below.left + 4, below.top - 2, "share of each node in the sum", 'class="tick"'),
  ].join("");
}

/* ---------------------------------------------------------------------------------------------- 2. PIRLS */

/** g along u with the iterates of one group (their index `r` in the path), and Newton's decrement by iteration. */
function drawPirls(svg, model, j, path, r) {
  const side = pictureWidth(svg) >= 430, height = side ? 300 : 540;
  const width = openPicture(svg, height), cut = side ? Math.round(0.58 * width) : width;
  const aside = { left: cut + 66, right: width - 12, top: 14, bottom: 252 };
  const lower = side ? aside : { left: 66, right: width - 12, top: 314, bottom: 496 };
  const upper = { left: 64, right: cut - 12, top: 14, bottom: side ? 252 : 232 };
  svg.innerHTML = drawIterates(upper, model, j, path, r) + drawDecrements(lower, path);
}

function drawIterates(box, model, j, path, r) {
  const points = [path.start, ...path.steps].map((step) => step.u[r]);
  const refused = path.steps.flatMap((step) => step.refused.map((trial) => trial.u[r]));
  const ends = [...points, ...refused, points.at(-1) - 2, points.at(-1) + 2];
  const low = Math.min(...ends), high = Math.max(...ends), margin = 0.05 * (high - low);
  const x = [low - margin, high + margin], us = spaced(...x, 240);
  const top = model.logIntegrand(j, points.at(-1)), heights = us.map((u) => model.logIntegrand(j, u) - top);
  const bottom = Math.min(...ends.map((u) => model.logIntegrand(j, u) - top));
  const frame = makeFrame(box, x, [1.08 * bottom, -0.06 * bottom]);
  const Y = (u) => frame.Y(model.logIntegrand(j, u) - top);
  const hops = points.slice(1).map((u, m) => line(frame.X(points[m]), Y(points[m]), frame.X(u), Y(u), "hop"));
  return [
    clipTo(box, "clip-iterates"),
    drawAxes(frame, { xLabel: "u", yLabel: "g(u) − g(mode)", away: 50 }),
    `<path class="curve" clip-path="url(#clip-iterates)" d="${curve(frame, us, heights)}"/>`,
    ...hops,
    ...refused.map((u) => dot(frame.X(u), Y(u), 4, "refused", `refused: u = ${short(u)}`)),
    ...points.map((u, m) =>
      dot(frame.X(u), Y(u), m ? 4 : 5, m ? "iterate" : "begin", `iterate ${m}: u = ${short(u, 6)}`)),
    ...labelIterates(points.map((u) => [frame.X(u), Y(u)])),
  ].join("");
}

/** Numbers beside the iterates, as far as they do not cover each other. */
function labelIterates(places) {
  const apart = ([x, y]) => ([c, d]) => Math.abs(x - c) > 12 || Math.abs(y - d) > 12;
  const free = places.map((place, m) => places.slice(0, m).every(apart(place)));
  return places.map(([x, y], m) => (free[m] ? text(x + 7, y - 6, m, 'class="tick strong"') : ""));
}

/** 10 to a whole power, as the text of a tick. */
const powerOfTen = (t) => (t ? `10<tspan dy="-4" font-size="9">${short(t)}</tspan>` : "1");

/** Where Newton converges quadratically, the logarithm of the decrement doubles with every step. */
function drawDecrements(box, path) {
  const values = [...path.steps.map((step) => step.decrement), path.decrement];
  const logs = values.map((value) => Math.log10(Math.max(value, 1e-34)));
  const highest = Math.ceil(Math.max(...logs, 0)), lowest = Math.floor(Math.min(...logs, -6));
  const frame = makeFrame(box, [0.7, Math.max(values.length, 4) + 0.3], [lowest - 0.5, highest + 0.5]);
  const every = Math.ceil((highest - lowest) / 8 / 2) * 2, wide = Math.ceil(values.length / 12);
  const yTicks = spaced(0, lowest, 1 - lowest).filter((t) => t % every === 0).concat(highest > every ? [highest] : []);
  const xTicks = values.map((_, m) => m + 1).filter((m) => (m - 1) % wide === 0);
  const limit = Math.log10(DECREMENT);
  return [
    drawAxes(frame, { xLabel: "iteration", yLabel: "Newton decrement", xTicks, yTicks, yText: powerOfTen, away: 50 }),
    lowest < limit ? line(frame.left, frame.Y(limit), frame.right, frame.Y(limit), "limit") : "",
    `<path class="hop" d="${curve(frame, logs.map((_, m) => m + 1), logs)}"/>`,
    ...logs.map((value, m) =>
      dot(frame.X(m + 1), frame.Y(value), 4, "iterate", `iteration ${m + 1}: ${short(values[m], 3)}`)),
    ...path.steps.filter((step) => step.halvings).map(({ iteration, halvings }) =>
      text(frame.X(iteration), frame.Y(logs[iteration - 1]) - 9, halvings, 'class="tick alert" text-anchor="middle"')),
  ].join("");
}

/* -------------------------------------------------------------------------------------------- 3. the surface */

/** "#rrggbb" as three numbers. */
function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.trim().slice(at, at + 2), 16));
}

/** Where n pixels fall between the m lines of a grid: the line before each, and how far it is past it. */
function between(n, m) {
  const at = spaced(0, m - 1, n), line = at.map((a) => Math.min(Math.floor(a), m - 2));
  return { line, past: at.map((a, pixel) => a - line[pixel]) };
}

/** Colours of the bands, from the lowest up, as the canvas wants them (alpha, blue, green, red). */
function bandColours(count) {
  const style = getComputedStyle(document.documentElement);
  const near = channels(style.getPropertyValue("--near")), far = channels(style.getPropertyValue("--far"));
  return spaced(0, 1, count).map((share) => {
    const [red, green, blue] = near.map((c, m) => Math.round(c + share ** 0.8 * (far[m] - c)));
    return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  });
}

/** The bands between the contours, on a canvas as large as the plot; heights by bilinear interpolation. */
function paintBands(canvas, frame, grid, levels) {
  const width = Math.round(frame.right - frame.left), height = Math.round(frame.bottom - frame.top);
  Object.assign(canvas.style, { left: `${frame.left}px`, top: `${frame.top}px` });
  [canvas.width, canvas.height] = [width, height];
  const { values } = grid, n = grid.xs.length, colours = bandColours(levels.length + 1);
  const across = between(width, n), up = between(height, grid.ys.length);
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let row = 0, at = 0; row < height; row++) {
    const lower = up.line[height - 1 - row] * n, q = up.past[height - 1 - row];
    for (let column = 0, band = 0; column < width; column++, at++) {
      const i = lower + across.line[column], p = across.past[column];
      const below = (1 - p) * values[i] + p * values[i + 1], above = (1 - p) * values[i + n] + p * values[i + n + 1];
      const value = (1 - q) * below + q * above;
      while (band > 0 && value <= levels[band - 1]) band--;
      while (band < levels.length && value > levels[band]) band++;
      pixels[at] = colours[band];
    }
  }
  context.putImageData(image, 0, 0);
}

/** Segments of the contour at one level (marching squares), in data units: [[x1, y1, x2, y2], ...]. */
function contour(grid, level) {
  const { xs, ys, values } = grid, n = xs.length, segments = [];
  for (let j = 0; j + 1 < ys.length; j++) {
    for (let i = 0; i + 1 < n; i++) {
      const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
      const crossings = [];
      corners.forEach(([a, b], m) => {
        const [c, d] = corners[(m + 1) % 4], v = values[b * n + a] - level, w = values[d * n + c] - level;
        if (v > 0 === w > 0) return;
        const share = v / (v - w);
        crossings.push([xs[a] + share * (xs[c] - xs[a]), ys[b] + share * (ys[d] - ys[b])]);
      });
      for (let m = 0; m + 1 < crossings.length; m += 2) segments.push([...crossings[m], ...crossings[m + 1]]);
    }
  }
  return segments;
}

/**
 * Levels above the optimum, each twice the one before: 1/2, 1, 2, ..., or smaller ones in a close view. They are
 * counted from the lowest known point of the plane where that lies well above the optimum.
 */
function contourLevels(grid) {
  const lowest = Math.min(grid.known, ...grid.values), highest = Math.max(...grid.values);
  const from = lowest > 1 ? lowest : 0, top = Math.floor(Math.log2(Math.max(highest - from, 1e-9)));
  const first = Math.min(-1, top - 6);
  return Array.from({ length: top - first + 1 }, (_, m) => from + 2 ** (first + m));
}

/** Contours with their heights written where they cross the diagonal below the lowest point. */
function drawContours(frame, grid, levels) {
  const least = grid.values.indexOf(Math.min(...grid.values)), n = grid.xs.length;
  const centre = [frame.X(grid.xs[least % n]), frame.Y(grid.ys[Math.floor(least / n)])];
  const placed = [];
  return levels.map((level) => {
    const segments = contour(grid, level).map(([a, b, c, d]) => [frame.X(a), frame.Y(b), frame.X(c), frame.Y(d)]);
    const pixels = segments.map((segment) => segment.map((x) => x.toFixed(1)));
    const d = pixels.map(([a, b, c, e]) => `M${a},${b}L${c},${e}`).join("");
    const readable = ([a, b]) =>
      a > frame.left + 16 && a < frame.right - 16 && b > frame.top + 10 && b < frame.bottom - 8;
    const inside = segments.filter(readable);
    const turn = ([a, b]) => Math.abs(Math.atan2(b - centre[1], a - centre[0]) - 0.6);
    const free = inside.filter(([a, b]) => placed.every(([c, e]) => Math.abs(a - c) > 30 || Math.abs(b - e) > 13));
    const best = free.reduce((one, other) => (one && turn(one) <= turn(other) ? one : other), null);
    if (best) placed.push(best);
    const label = best ? text(best[0], best[1] + 3.5, short(level, 3), 'class="height" text-anchor="middle"') : "";
    return `<path class="contour" d="${d}"/>${label}`;
  }).join("");
}

/** Points joined by a line. */
function trail(frame, points, kind) {
  return `<path class="${kind}" d="${curve(frame, points.map(([x]) => x), points.map(([, y]) => y))}"/>`;
}

/** A path of the optimizer: all evaluations, those that were the lowest so far joined. */
function drawPath(frame, evaluations, kind) {
  const seen = ([x, y]) => x >= frame.x[0] && x <= frame.x[1] && y >= frame.y[0] && y <= frame.y[1];
  const lowest = [];
  let least = Infinity;
  for (const point of evaluations) {
    if (point[2] < least) {
      least = point[2];
      lowest.push(point);
    }
  }
  const others = evaluations.filter((point) => seen(point) && !lowest.includes(point));
  return [
    ...others.map(([x, y]) => dot(frame.X(x), frame.Y(y), 2, `${kind} other`)),
    trail(frame, lowest, `${kind} trail`),
    ...lowest.filter(seen).map(([x, y, value]) =>
      dot(frame.X(x), frame.Y(y), 3.2, `${kind} best`, `−2 log L = ${short(value, 8)}`)),
  ].join("");
}

/** Where the sliders stand: a ring with four ticks, which leaves free what is under it. */
function sight(x, y, r) {
  const ring = `a${r},${r} 0 1 1 ${2 * r},0h6m-6,0a${r},${r} 0 1 1 ${-2 * r},0`;
  return `<path class="here" d="M${x - r - 6},${y}h6${ring}M${x},${y - r - 6}v6m0,${2 * r}v6"/>`;
}

/** An optimum. */
function star(x, y, r, kind, title) {
  const corners = spaced(0, 9, 10).map((m) => {
    const radius = m % 2 ? 0.42 * r : r, angle = (m * Math.PI) / 5;
    return `${(x + radius * Math.sin(angle)).toFixed(1)},${(y - radius * Math.cos(angle)).toFixed(1)}`;
  });
  return `<polygon class="${kind}" points="${corners.join(" ")}"><title>${title}</title></polygon>`;
}

/** Plot area of the surface: the same whether there is a grid yet or not. */
function surfaceFrame(svg, x, y) {
  const width = openPicture(svg, 440);
  return makeFrame({ left: 56, right: width - 12, top: 12, bottom: 392 }, x, y);
}

/** Everything that does not depend on where the sliders stand. */
function drawSurface(svg, canvas, frame, grid, { xLabel, yLabel, stages, optima, orders }) {
  let under = "";
  if (grid) {
    const levels = contourLevels(grid);
    paintBands(canvas, frame, grid, levels);
    under = drawContours(frame, grid, levels);
  }
  svg.innerHTML = [
    clipTo(frame, "clip-surface"),
    drawAxes(frame, { xLabel, yLabel }),
    `<g clip-path="url(#clip-surface)">${under}`,
    trail(frame, orders, "orders"),
    ...orders.map(([x, y], m) =>
      dot(frame.X(x), frame.Y(y), 2.6, "order", `optimum with ${m + 1} node${m ? "s" : ""}`)),
    ...stages.map((evaluations, m) => drawPath(frame, evaluations, `stage${m + 1}`)),
    ...optima.map(({ point: [x, y], kind, title }) => star(frame.X(x), frame.Y(y), 9, kind, title)),
    '</g><g id="here" aria-hidden="true"></g>',
  ].join("");
}

/* --------------------------------------------------------------------------------------- 4. error by group */

/** The scale of the errors ends here at least, so that rounding is not blown up to fill the picture. */
const ROUNDING_ERROR = 1e-9;

/** -2 log of (approximate / exact) integral for every group, in the given order; the chosen one marked. */
function drawErrors(svg, errors, others, order, chosen) {
  const width = openPicture(svg, 220);
  const low = Math.min(0, ...errors, ...others), high = Math.max(ROUNDING_ERROR, ...errors, ...others);
  const room = 0.06 * (high - low), box = { left: 66, right: width - 12, top: 12, bottom: 184 };
  const frame = makeFrame(box, [0, errors.length], [low - room, high + room]);
  const wide = (frame.right - frame.left) / errors.length, bar = wide > 6 ? wide - 2 : wide;
  const zero = frame.Y(0).toFixed(1);
  const outline = (j, m) =>
    `M${frame.X(m).toFixed(2)},${zero}V${frame.Y(errors[j]).toFixed(1)}h${bar.toFixed(2)}V${zero}Z`;
  const place = order.indexOf(chosen), middle = frame.X(place) + bar / 2;
  svg.innerHTML = [
    drawAxes(frame, { xLabel: "groups, sorted by Laplace's error", yLabel: "", xTicks: [] }),
    `<path class="bar" d="${order.map(outline).join("")}"/><path class="bar chosen" d="${outline(chosen, place)}"/>`,
    `<path class="nodeline" d="${curve(frame, order.map((_, m) => m + 0.5), order.map((j) => others[j]))}"/>`,
    `<path class="marker" d="M${middle.toFixed(1)},${frame.bottom + 3}l-5,8h10z"/>`,
  ].join("");
  return frame;
}
