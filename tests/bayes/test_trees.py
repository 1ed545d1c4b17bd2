"""The tree: exact detailed balance, turns and divergences; the leapfrog."""

import numpy as np
import pytest

from refglmm.bayes import trees, whiten
from refglmm.bayes.trees import DIVERGED, FULL, OPEN, TURN_FIRST, TURN_SECOND, TURN_WHOLE

D = 2


def ridge(position, gradient, target, log_likelihood):
    """Quartic and correlated: energy errors of all sizes, and turns at different times."""
    x, y = position
    gradient[0] = -(x**3) - 0.9 * (x - y)
    gradient[1] = 0.9 * (x - y) - 0.2 * y
    return -0.25 * x**4 - 0.45 * (x - y) ** 2 - 0.1 * y**2


def flat(position, gradient, target, log_likelihood):
    gradient[:] = 0.0
    return 0.0


def cliff(position, gradient, target, log_likelihood):
    gradient[:] = 0.0
    return 0.0 if np.all(np.abs(position) < 1.0) else -np.inf


UNIT = whiten.diagonal(np.zeros(D), np.ones(D))


class Coin:
    """A uniform number that is only ever compared: both answers are followed, with their probabilities."""

    def __init__(self, stream):
        self.stream = stream

    def __lt__(self, probability):
        return self.stream.answer(float(probability))


class Stream:
    """Momentum and slice variable that are given, coins whose answers follow a script (then yes)."""

    def __init__(self, momentum, fixed, script):
        self.momentum, self.fixed, self.script = list(momentum), list(fixed), script
        self.answers, self.probability = [], 1.0

    def standard_normal(self):
        return self.momentum.pop(0)

    def random(self):
        return self.fixed.pop(0) if self.fixed else Coin(self)

    def answer(self, probability):
        if probability >= 1.0 or probability <= 0.0:
            return probability >= 1.0
        at = len(self.answers)
        yes = self.script[at] if at < len(self.script) else True
        self.answers.append(yes)
        self.probability *= probability if yes else 1.0 - probability
        return yes


def outcomes(xi, momentum, step, depth, is_slice=False, u=None, log_density=ridge):
    """Every outcome of a transition: probability, new point, why it ended."""
    space, script, found = trees.new_space(D, depth), [], []
    while script is not None:
        stream = Stream(momentum, [] if u is None else [1.0 - u], script)
        point, slope = xi.copy(), np.empty(D)
        value = trees.density(point, slope, space, UNIT, log_density, None, None)
        result = trees.transition(
            point, slope, value, step, depth, is_slice, stream, space, UNIT, log_density, None, None
        )
        found.append((stream.probability, point, result[5]))
        answers = stream.answers
        while answers and not answers[-1]:
            answers.pop()
        script = [*answers[:-1], False] if answers else None
    return found


def orbit(xi, momentum, step, n):
    """n leapfrog steps from a state: points, momenta, energies (written out, unit metric)."""
    x, p, gradient, states = xi.copy(), momentum.copy(), np.empty(D), []
    for _ in range(n + 1):
        value = ridge(x, gradient, None, None)
        states.append((x.copy(), p.copy(), 0.5 * p @ p - value))
        half = p + 0.5 * step * gradient
        x = x + step * half
        ridge(x, gradient, None, None)
        p = half + 0.5 * step * gradient
    points, momenta, energies = zip(*states, strict=True)
    return np.array(points), np.array(momenta), np.array(energies)


def transition_matrix(points, momenta, energies, starts, step, depth, level=None):
    """Probabilities from some states of an orbit to all of them, and the reasons seen."""
    matrix, reasons = np.zeros((len(starts), len(points))), set()
    for row, i in enumerate(starts):
        u = None if level is None else np.exp(level + energies[i])
        for probability, point, why in outcomes(points[i], momenta[i], step, depth, level is not None, u):
            distance = np.abs(points - point).max(axis=1)
            if distance.min() < 1e-9:  # else it went beyond the part of the orbit that is looked at
                matrix[row, np.argmin(distance)] += probability
            reasons.add(why)
    return matrix, reasons


class TestExactness:
    """Detailed balance between the states of one orbit: pi_i P(i -> j) = pi_j P(j -> i), all coins enumerated."""

    @pytest.mark.parametrize(
        ("step", "depth", "sees"),
        [(0.45, 3, {TURN_WHOLE, TURN_FIRST, TURN_SECOND, FULL}), (0.9, 3, {TURN_WHOLE, DIVERGED})],
    )
    def test_multinomial(self, step, depth, sees):
        points, momenta, energies = orbit(np.array([0.3, -1.2]), np.array([1.1, 0.4]), step, 5)
        matrix, reasons = transition_matrix(points, momenta, energies, range(6), step, 3)
        assert sees <= reasons
        weights = np.exp(energies.min() - energies)
        flow = weights[:, None] * matrix
        np.testing.assert_allclose(flow, flow.T, atol=1e-11)
        assert (matrix[0, 1:] > 0).sum() >= 2  # and it goes somewhere
        assert np.ptp(energies) > 0.01

    def test_slice(self):
        step = 0.9
        points, momenta, energies = orbit(np.array([0.3, -1.2]), np.array([1.1, 0.4]), step, 5)
        level = -np.sort(energies)[3] - 1e-6  # four of the six lie in the slice
        inside = np.flatnonzero(-energies >= level)
        assert len(inside) == 4
        matrix, _ = transition_matrix(points, momenta, energies, inside, step, 3, level)
        np.testing.assert_allclose(matrix[:, inside], matrix[:, inside].T, atol=1e-11)
        outside = np.setdiff1d(np.arange(6), inside)
        np.testing.assert_array_equal(matrix[:, outside], 0.0)

    def test_probabilities_sum_to_one(self):
        found = outcomes(np.array([0.3, -1.2]), np.array([1.1, 0.4]), 0.9, 3)
        assert sum(probability for probability, _, _ in found) == pytest.approx(1.0, abs=1e-12)


class TestJoin:
    @staticmethod
    def space(a, b):
        """Rows 0 and 1 from momenta of the points of two subtrees."""
        space = trees.new_space(D, 1)
        for row, momenta in enumerate((np.array(a, float), np.array(b, float))):
            space.first[row], space.last[row], space.rho[row] = momenta[0], momenta[-1], momenta.sum(axis=0)
            space.log_weight[row] = np.log(len(momenta))
        return space

    @staticmethod
    def literal(a, b):
        """Betancourt's criterion on three stretches of points."""
        for why, part in ((TURN_WHOLE, a + b), (TURN_FIRST, a + b[:1]), (TURN_SECOND, a[-1:] + b)):
            rho = np.sum(part, axis=0)
            if rho @ part[0] <= 0 or rho @ part[-1] <= 0:
                return why
        return OPEN

    def test_against_the_literal_criterion(self):
        rng, seen = np.random.default_rng(5), set()
        for _ in range(400):
            a, b = (list(rng.normal(0.6, 1.0, size=(2, D))) for _ in range(2))
            space = self.space(a, b)
            why = trees.join(space, 0, 1)
            assert why == self.literal(a, b)
            seen.add(why)
            np.testing.assert_allclose(space.rho[0], np.sum(a + b, axis=0))
            np.testing.assert_array_equal(space.last[0], b[-1])
            assert space.log_weight[0] == pytest.approx(np.log(4.0))
        assert seen == {OPEN, TURN_WHOLE, TURN_FIRST, TURN_SECOND}

    def test_order_of_the_halves_does_not_matter(self):
        rng = np.random.default_rng(6)
        for _ in range(100):
            a, b = (list(rng.normal(0.6, 1.0, size=(2, D))) for _ in range(2))
            forward, backward = trees.join(self.space(a, b), 0, 1), trees.join(self.space(b[::-1], a[::-1]), 0, 1)
            assert (forward == OPEN) == (backward == OPEN)


class TestEnds:
    @staticmethod
    def run(log_density, depth, step=0.5, seed=1):
        space, xi, slope = trees.new_space(D, depth), np.zeros(D), np.zeros(D)
        rng = np.random.Generator(np.random.Philox(seed))
        return xi, trees.transition(xi, slope, 0.0, step, depth, False, rng, space, UNIT, log_density, None, None)

    def test_without_forces_it_grows_as_far_as_it_may(self):
        _, (_, _, accept, depth, n, why, span) = self.run(flat, 5)
        assert (accept, depth, n, why, span) == (1.0, 5, 31, FULL, 32)

    def test_infinite_energy_is_a_divergence_and_its_point_is_never_taken(self):
        for seed in range(20):
            xi, (value, _, accept, depth, n, why, span) = self.run(cliff, 10, seed=seed)
            assert (why, span, value) == (DIVERGED, 1, 0.0)
            assert np.all(np.abs(xi) < 1.0)
            assert accept == pytest.approx((n - 1) / n)
            assert depth < 10

    def test_nan_is_a_divergence(self):
        def broken(position, gradient, target, log_likelihood):
            gradient[:] = np.nan
            return np.nan

        _, result = self.run(broken, 3)
        assert result[5] == DIVERGED
        assert result[2] == 0.0


class TestLeapfrog:
    @staticmethod
    def steps(step, n):
        space, xi, momentum, slope = trees.new_space(D, 1), np.array([0.3, -1.2]), np.array([1.1, 0.4]), np.empty(D)
        value = trees.density(xi, slope, space, UNIT, ridge, None, None)
        start = trees.kinetic(momentum) - value
        for _ in range(n):
            value = trees.leapfrog(xi, momentum, slope, step, space, UNIT, ridge, None, None)
        return xi, momentum, slope, trees.kinetic(momentum) - value - start

    def test_reversible(self):
        xi, momentum, slope, _ = self.steps(0.2, 25)
        space = trees.new_space(D, 1)
        for _ in range(25):
            trees.leapfrog(xi, momentum, slope, -0.2, space, UNIT, ridge, None, None)
        np.testing.assert_allclose(xi, [0.3, -1.2], atol=1e-12)
        np.testing.assert_allclose(momentum, [1.1, 0.4], atol=1e-12)

    def test_energy_error_is_of_second_order(self):
        errors = [self.steps(1.0 / n, n)[3] for n in (40, 80, 160)]
        assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.01)
        assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.003)


def test_chance():
    assert trees.chance(-np.inf, -np.inf) == 0.0
    assert trees.chance(3.0, -np.inf) == 1.0
    assert trees.chance(np.log(0.2), np.log(0.8)) == pytest.approx(0.25)
