"""A linear mixed model with its n x n covariance matrix written out: what the q-space formulas are checked against.

Shares no code with the library: V is dense, derivatives in psi are fourth-order differences, and gamma, the components
that V is linear in, are differenced too.
"""

from __future__ import annotations

import numpy as np


def random_columns(codes, Z, E):
    """Z (I kron E) Z' for one term, dense."""
    same = codes[:, None] == codes[None, :]
    return np.where(same, Z @ E @ Z.T, 0.0)


class DenseLinear:
    """y, X, weights and terms (codes, Z, T(par), slice of par) of one model."""

    def __init__(self, y, X, weights, terms, reml):
        self.y, self.X, self.weights, self.terms, self.reml = y, X, weights, terms, reml

    def V(self, psi):
        """Covariance of y at psi = (par, sigma)."""
        total = np.diag(1.0 / self.weights)
        for codes, Z, factor, part in self.terms:
            T = factor(psi[:-1][part])
            total = total + random_columns(codes, Z, T @ T.T)
        return psi[-1] ** 2 * total

    def phi(self, V):
        return np.linalg.inv(self.X.T @ np.linalg.solve(V, self.X))

    def criterion(self, psi):
        """-2 log L or the REML criterion, beta profiled out."""
        V = self.V(psi)
        Phi = self.phi(V)
        beta = Phi @ self.X.T @ np.linalg.solve(V, self.y)
        r = self.y - self.X @ beta
        n, p = self.X.shape
        value = np.linalg.slogdet(V)[1] + r @ np.linalg.solve(V, r)
        if not self.reml:
            return value + n * np.log(2 * np.pi)
        return value + (n - p) * np.log(2 * np.pi) - np.linalg.slogdet(Phi)[1]

    def satterthwaite(self, psi, row):
        """2 (l'Vl)^2 / (g'Ag)."""

        def variance(x):
            return row @ self.phi(self.V(x)) @ row

        H = hessian(self.criterion, psi)
        g = np.array([difference(lambda t, k=k: variance(moved(psi, k, t)), psi[k]) for k in range(psi.size)])
        return 2.0 * variance(psi) ** 2 / (g @ (2.0 * np.linalg.inv(H)) @ g)

    def kenward_roger(self, V, components, L):
        """(Phi_A, ddf, lambda) from dense matrices; ``components`` are the V_i."""
        X, Vi, q = self.X, np.linalg.inv(V), len(L)
        Phi = self.phi(V)
        r = range(len(components))
        P = [-X.T @ Vi @ C @ Vi @ X for C in components]
        Q = [[X.T @ Vi @ components[i] @ Vi @ components[j] @ Vi @ X for j in r] for i in r]
        info = np.array(
            [
                [
                    np.trace(Vi @ components[i] @ Vi @ components[j])
                    - 2 * np.trace(Phi @ Q[i][j])
                    + np.trace(Phi @ P[i] @ Phi @ P[j])
                    for j in r
                ]
                for i in r
            ]
        )
        W = 2.0 * np.linalg.inv(info)
        inner = sum(W[i, j] * (Q[i][j] - P[i] @ Phi @ P[j]) for i in r for j in r)
        Theta = L.T @ np.linalg.inv(L @ Phi @ L.T) @ L
        A1 = sum(
            W[i, j] * np.trace(Theta @ Phi @ P[i] @ Phi) * np.trace(Theta @ Phi @ P[j] @ Phi) for i in r for j in r
        )
        A2 = sum(W[i, j] * np.trace(Theta @ Phi @ P[i] @ Phi @ Theta @ Phi @ P[j] @ Phi) for i in r for j in r)
        B = (A1 + 6 * A2) / (2 * q)
        g = ((q + 1) * A1 - (q + 4) * A2) / ((q + 2) * A2)
        d = 3 * q + 2 * (1 - g)
        E = 1 / (1 - A2 / q)  # Kenward and Roger (1997): moments of F
        variance = 2 / q * (1 + g / d * B) / ((1 - (q - g) / d * B) ** 2 * (1 - (q + 2 - g) / d * B))
        rho = variance / (2 * E**2)
        nu = 4 + (q + 2) / (q * rho - 1)
        return Phi + 2 * Phi @ inner @ Phi, nu, nu / (E * (nu - 2))


def moved(x, k, value):
    out = x.copy()
    out[k] = value
    return out


def difference(f, x, h=1e-3):
    """Fourth-order first derivative."""
    h = h * max(1.0, abs(x))
    return (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h)


def hessian(f, x, h=2e-3):
    """Fourth-order Hessian."""
    d = x.size
    H = np.empty((d, d))
    for j in range(d):
        for k in range(d):
            H[j, k] = difference(
                lambda s, j=j, k=k: difference(lambda t: f(moved(moved(x, j, s), k, t)), x[k], h), x[j], h
            )
            if j == k:
                s = h * max(1.0, abs(x[j]))
                v = [f(moved(x, j, x[j] + i * s)) for i in (-2, -1, 0, 1, 2)]
                H[j, j] = (-v[0] + 16 * v[1] - 30 * v[2] + 16 * v[3] - v[4]) / (12 * s * s)
    return H
