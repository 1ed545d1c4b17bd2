/* The mathematics of the page: one random intercept per group, binomial responses, logit link.
 *
 * Reading order: first; then draw.js, then app.js. Nothing here knows of pictures. For observation i of group j
 *
 *     eta_i = x_i' beta + theta u_j,   u_j ~ N(0, 1),   l_i = base_i + size_i {y_i eta_i - log(1 + e^eta_i)}
 *
 * and the likelihood is a product of integrals over one u each,
 *
 *     L_j = ∫ e^{g_j(u)} du / sqrt(2 pi),   g_j(u) = sum of l_i - u^2 / 2.
 *
 * g_j is strictly concave (-g'' >= 1), so it has one mode, and its tails fall at least as fast as those of a normal
 * density of standard deviation 1. Names follow the library: s = dl/deta, w = -d2l/deta2, t = dw/deta.
 */
"use strict";

/** Newton decrement below which u counts as the mode, and below which a step that brings nothing is rounding. */
const DECREMENT = 1e-24, ROUNDING = 1e-9;
/** Below this decrement a full Newton step cannot overshoot: the library does not look at its value. */
const CERTAIN = 1e-4;
/** Share of the predicted increase that a step must bring (Armijo), and how often it may be halved. */
const ARMIJO = 1e-4, MAX_HALVINGS = 30, MAX_ITERATIONS = 200;

/** log(1 + e^x) without overflow. */
function logOnePlusExp(x) {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

/** 1 / (1 + e^-x) without overflow. */
function logistic(x) {
  const e = Math.exp(-Math.abs(x));
  return (x > 0 ? 1 : e) / (1 + e);
}

/** The data of one model at one point (theta, beta), with the mode of every group as it was found last. */
class Model {
  /**
   * @param data y (proportions), size, base: one number a row; X: one array a column; starts: where each group's rows
   *     begin, and the number of rows.
   */
  constructor(data) {
    this.y = Float64Array.from(data.y);
    this.size = Float64Array.from(data.size);
    this.base = Float64Array.from(data.base);
    this.X = data.X.map((column) => Float64Array.from(column));
    this.starts = data.starts;
    this.groups = data.starts.length - 1;
    this.fixed = new Float64Array(this.y.length);
    this.modes = new Float64Array(this.groups);
  }

  /** Fix theta and beta, and with them the fixed part x'beta of every linear predictor. */
  setParameters(theta, beta) {
    this.theta = theta;
    this.beta = beta;
    this.fixed.fill(0);
    this.X.forEach((column, c) => {
      for (let i = 0; i < column.length; i++) this.fixed[i] += column[i] * beta[c];
    });
  }

  /** Rows of group j. */
  rowCount(j) {
    return this.starts[j + 1] - this.starts[j];
  }

  /** g_j(u): log of the integrand, all constants of the binomial included. */
  logIntegrand(j, u) {
    let total = -0.5 * u * u;
    for (let i = this.starts[j]; i < this.starts[j + 1]; i++) {
      const eta = this.fixed[i] + this.theta * u;
      total += this.base[i] + this.size[i] * (this.y[i] * eta - logOnePlusExp(eta));
    }
    return total;
  }

  /** Sums over the rows of group j of the derivatives of l at u: {s, w, t}. */
  sums(j, u) {
    let s = 0, w = 0, t = 0;
    for (let i = this.starts[j]; i < this.starts[j + 1]; i++) {
      const p = logistic(this.fixed[i] + this.theta * u);
      const weight = this.size[i] * p * (1 - p);
      s += this.size[i] * (this.y[i] - p);
      w += weight;
      t += weight * (1 - 2 * p);
    }
    return { s, w, t };
  }

  /** g'(u) and H = -g''(u). */
  slope(j, u) {
    const { s, w } = this.sums(j, u);
    return { gradient: this.theta * s - u, H: 1 + this.theta * this.theta * w };
  }

  /**
   * Mode of g_j: Newton steps from the mode found last, or a bisection where a step leaves the bracket. At the mode
   * u = theta sum s, and s lies between -size (1 - p) and size p: that is the bracket.
   */
  findMode(j) {
    let low = 0, high = 0;
    for (let i = this.starts[j]; i < this.starts[j + 1]; i++) {
      low -= this.theta * this.size[i] * (1 - this.y[i]);
      high += this.theta * this.size[i] * this.y[i];
    }
    let u = Math.min(Math.max(this.modes[j], low), high), previous = Infinity;
    for (let iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
      const { gradient, H } = this.slope(j, u);
      const decrement = (gradient * gradient) / H;
      if (decrement <= DECREMENT || (decrement < ROUNDING && decrement >= 0.25 * previous)) break;
      if (gradient > 0) low = u;
      else high = u;
      const next = u + gradient / H;
      u = next > low && next < high ? next : 0.5 * (low + high);
      previous = decrement;
    }
    this.modes[j] = u;
    return u;
  }
}

/* ------------------------------------------------------------------------------------------- the integral */

/**
 * Adaptive Gauss-Hermite quadrature for group j: nodes u_k = mode + S z_k with S = H^-1/2, and
 * log L_j = g(mode) + log S + log sum of omega_k exp{z_k^2 / 2 + g(u_k) - g(mode)}. One node gives Laplace.
 */
function adaptiveQuadrature(model, j, rule) {
  const mode = model.findMode(j);
  const { H } = model.slope(j, mode);
  const S = 1 / Math.sqrt(H), height = model.logIntegrand(j, mode);
  const nodes = rule.z.map((z) => mode + S * z);
  const masses = nodes.map((u, k) => rule.w[k] * Math.exp(0.5 * rule.z[k] ** 2 + model.logIntegrand(j, u) - height));
  const total = masses.reduce((a, b) => a + b, 0);
  const shares = masses.map((mass) => mass / total);
  return { mode, S, height, nodes, shares, logL: height + Math.log(S) + Math.log(total) };
}

/**
 * log L_j to rounding: the trapezoidal rule, outward from the mode until the terms (which only fall) are negligible. It
 * converges exponentially for an integrand that is analytic in a strip; this one is for |Im u| < pi / theta.
 */
function exactLogLikelihood(model, j) {
  const mode = model.findMode(j), height = model.logIntegrand(j, mode);
  const step = Math.min(0.4 / Math.sqrt(model.slope(j, mode).H), 0.45 / Math.max(model.theta, 0.1));
  let total = 1;
  for (const way of [-step, step]) {
    let term = 1;
    for (let m = 1; term > 1e-18; m++) {
      term = Math.exp(model.logIntegrand(j, mode + m * way) - height);
      total += term;
    }
  }
  return height + Math.log((total * step) / Math.sqrt(2 * Math.PI));
}

/** -2 log L by quadrature with the nodes of a rule: the value alone. */
function deviance(model, rule) {
  let total = 0;
  for (let j = 0; j < model.groups; j++) total += adaptiveQuadrature(model, j, rule).logL;
  return -2 * total;
}

/**
 * Derivatives of -2 log L_j in (theta, beta), added to `gradient`. With pi_k the nodes' shares of the sum,
 *
 *     d log L_j = sum pi_k dg(u_k) + A dmode - (1 + S B) dH / (2 H),  A = sum pi_k g'(u_k),  B = sum pi_k g'(u_k) z_k,
 *
 * where the mode moves by dmode = d(g') / H, and H by its own derivative and through the mode.
 */
function addGroupGradient(model, j, rule, at, gradient) {
  const { theta, fixed, size, y, X } = model, p = X.length;
  const first = model.starts[j], last = model.starts[j + 1];
  let A = 0, B = 0;
  at.nodes.forEach((u, k) => {
    let score = 0;
    for (let i = first; i < last; i++) {
      const s = size[i] * (y[i] - logistic(fixed[i] + theta * u));
      score += s;
      for (let c = 0; c < p; c++) gradient[1 + c] -= 2 * at.shares[k] * s * X[c][i];
    }
    gradient[0] -= 2 * at.shares[k] * score * u;
    A += at.shares[k] * (theta * score - u);
    B += at.shares[k] * (theta * score - u) * rule.z[k];
  });
  const u = at.mode, { s, w, t } = model.sums(j, u), H = 1 / (at.S * at.S);
  const add = (index, dSlope, dH) => {
    const dMode = dSlope / H;
    const whole = dH + theta ** 3 * t * dMode;
    gradient[index] += -2 * A * dMode + ((1 + at.S * B) * whole) / H;
  };
  add(0, s - theta * u * w, 2 * theta * w + theta * theta * u * t);
  for (let c = 0; c < p; c++) {
    let wx = 0, tx = 0;
    for (let i = first; i < last; i++) {
      const mu = logistic(fixed[i] + theta * u), weight = size[i] * mu * (1 - mu);
      wx += weight * X[c][i];
      tx += weight * (1 - 2 * mu) * X[c][i];
    }
    add(1 + c, -theta * wx, theta * theta * tx);
  }
}

/** -2 log L, its derivatives in (theta, beta), and every group's log L_j. */
function devianceAndGradient(model, rule) {
  const gradient = new Array(1 + model.X.length).fill(0), byGroup = new Float64Array(model.groups);
  let total = 0;
  for (let j = 0; j < model.groups; j++) {
    const at = adaptiveQuadrature(model, j, rule);
    addGroupGradient(model, j, rule, at, gradient);
    byGroup[j] = at.logL;
    total += at.logL;
  }
  return { value: -2 * total, gradient, byGroup };
}

/* ------------------------------------------------------------------------------------------------- PIRLS */

/**
 * The library's PIRLS from u = start in each of the groups, with every iterate: Newton steps on the sum of their g,
 * all halved together until the sum rises by a share of what Newton's model promises.
 *
 * Returns {start, steps, u, value, decrement}; a step holds what it started from (decrement), what was tried
 * and refused, and where it ended (u, value, halvings).
 */
function pirlsPath(model, groups, start) {
  let u = groups.map(() => start);
  const objective = (at) => groups.reduce((sum, j, r) => sum + model.logIntegrand(j, at[r]), 0);
  const rows = groups.reduce((n, j) => n + model.rowCount(j), 0);
  let value = objective(u), previous = Infinity;
  const path = { start: { u, value }, steps: [] };
  for (let iteration = 1; iteration <= MAX_ITERATIONS; iteration++) {
    const slopes = groups.map((j, r) => model.slope(j, u[r]));
    const direction = slopes.map(({ gradient, H }) => gradient / H);
    const decrement = slopes.reduce((sum, { gradient }, r) => sum + gradient * direction[r], 0);
    path.decrement = decrement;
    if (decrement <= DECREMENT || (decrement < ROUNDING && decrement >= 0.25 * previous)) break;
    const step = advance(objective, u, value, direction, decrement, decrement < Math.min(CERTAIN, previous), rows);
    path.steps.push({ iteration, decrement, ...step });
    ({ u, value } = step);
    previous = decrement;
  }
  return Object.assign(path, { u, value });
}

/** One step: the whole of it where it is certain, else as much as passes Armijo's test. */
function advance(objective, u, value, direction, decrement, certain, rows) {
  const slack = 1e-14 * (Math.abs(value) + rows); // rounding of a sum of that many terms
  const refused = [];
  for (let halvings = 0, length = 1; ; halvings++, length *= 0.5) {
    const trial = u.map((x, r) => x + length * direction[r]);
    const reached = objective(trial);
    if (certain || reached >= value + ARMIJO * length * decrement - slack || halvings === MAX_HALVINGS) {
      return { u: trial, value: reached, halvings, refused };
    }
    refused.push({ u: trial, value: reached });
  }
}
