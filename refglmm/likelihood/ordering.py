r"""Minimum-degree ordering: which variable to eliminate next so that the Cholesky factor stays sparse.

Place in the reading order: first in :mod:`refglmm.likelihood`; :mod:`.sparse_kernels` uses the permutation.

Eliminating variable p from a symmetric matrix connects all its neighbours with each other. The *quotient
graph* records that clique as one *element*: the list L_p of the neighbours. A variable i is then adjacent to

* variables A_i, edges of the original matrix that no element covers yet, and
* elements E_i: i is adjacent to all their members.

Eliminating p: L_p is the union of A_p and the members of the elements in E_p, which L_p covers from now on
(they are *absorbed*). L_p is also the pattern of column p of the factor, so storing it costs no more than the
factor will. The next pivot is a variable of smallest degree, where the degree is bounded from above by

.. math:: d_i = |A_i \setminus L_p| + |L_p \setminus i| + \sum_{e \in E_i,\, e \ne p} |L_e \setminus L_p| .

An element with nothing outside L_p is absorbed as well. Rows with very many entries would make the bound
expensive and are put last, where minimum degree would have put most of them anyway.

Source: Amestoy, Davis, Duff (1996), "An approximate minimum degree ordering algorithm" (without its
supervariables); Davis (2006), "Direct Methods for Sparse Linear Systems", chapter 7.
"""

from __future__ import annotations

import numpy as np

from refglmm._jit import inline, kernel

#: A row is dense if it has more than this many entries, or DENSE_FACTOR * sqrt(n), whichever is larger. The
#: factor is the one of Amestoy, Davis and Duff.
DENSE_MINIMUM = 16
DENSE_FACTOR = 10.0


@inline
def _adjacency(n, indptr, indices):
    """Off-diagonal pattern of the whole matrix from its lower triangle: (start, neighbours)."""
    degree = np.zeros(n, dtype=np.int64)
    for j in range(n):
        for p in range(indptr[j], indptr[j + 1]):
            i = indices[p]
            if i != j:
                degree[i] += 1
                degree[j] += 1
    start = np.zeros(n + 1, dtype=np.int64)
    for i in range(n):
        start[i + 1] = start[i] + degree[i]
    fill = start[:n].copy()
    neighbours = np.empty(start[n], dtype=np.int32)
    for j in range(n):
        for p in range(indptr[j], indptr[j + 1]):
            i = indices[p]
            if i != j:
                neighbours[fill[i]] = j
                neighbours[fill[j]] = i
                fill[i] += 1
                fill[j] += 1
    return start, neighbours


@inline
def _none(n):
    """Array of n times -1 (a loop, because ``np.full`` takes numba a second to compile)."""
    out = np.empty(n, dtype=np.int64)
    for i in range(n):
        out[i] = -1
    return out


@inline
def _insert(i, d, head, after, before, degree):
    """Put variable i at the front of the list of degree d."""
    degree[i] = d
    first = head[d]
    after[i] = first
    before[i] = -1
    if first >= 0:
        before[first] = i
    head[d] = i


@inline
def _remove(i, head, after, before, degree):
    """Take variable i out of its list."""
    if before[i] >= 0:
        after[before[i]] = after[i]
    else:
        head[degree[i]] = after[i]
    if after[i] >= 0:
        before[after[i]] = before[i]


@inline
def _gather_element(p, slot, n_elements, n_variables, lists, e_start, e_size, members, used, mark):
    """Write L_p behind the members in use, absorbing the elements of E_p; return the new end."""
    end = used
    mark[p] = p
    first = slot[p] + n_elements[p]
    for s in range(first, first + n_variables[p]):
        v = lists[s]
        if mark[v] != p:
            mark[v] = p
            members[end] = v
            end += 1
    for s in range(slot[p], first):
        e = lists[s]
        for m in range(e_start[e], e_start[e] + e_size[e]):
            v = members[m]
            if mark[v] != p:
                mark[v] = p
                members[end] = v
                end += 1
        e_size[e] = 0  # absorbed
    return end


@inline
def _count_outside(p, slot, n_elements, lists, e_start, e_size, members, outside, stamp):
    r"""|L_e \ L_p| for every element e next to L_p: |L_e| less one for each common member."""
    for m in range(e_start[p], e_start[p] + e_size[p]):
        i = members[m]
        for s in range(slot[i], slot[i] + n_elements[i]):
            e = lists[s]
            if e_size[e] > 0:
                if stamp[e] != p:
                    stamp[e] = p
                    outside[e] = e_size[e]
                outside[e] -= 1


@inline
def _prune(i, p, slot, n_elements, n_variables, lists, e_size, outside, mark):
    """Rewrite the lists of i after the elimination of p; return the part of its degree outside L_p.

    E_i keeps the elements that reach beyond L_p and gains p; A_i loses what L_p covers. The new lists fit
    into the old place: either p stood in A_i, or it shared an absorbed element with i.
    """
    write, d = slot[i], 0
    old_variables = slot[i] + n_elements[i]
    for s in range(slot[i], old_variables):
        e = lists[s]
        if e_size[e] > 0:
            if outside[e] == 0:
                e_size[e] = 0  # covered by L_p
            else:
                lists[write] = e
                write += 1
                d += outside[e]
    n_elements[i] = write - slot[i] + 1
    held = p
    for s in range(old_variables, old_variables + n_variables[i]):
        v = lists[s]
        if mark[v] != p:
            lists[write] = held
            held = v
            write += 1
            d += 1
    lists[write] = held
    n_variables[i] = write + 1 - slot[i] - n_elements[i]
    return d


@kernel
def minimum_degree(n, indptr, indices, dense):
    """Permutation that eliminates variables of small degree first.

    Parameters
    ----------
    n : int
        Order of the matrix.
    indptr, indices : int arrays
        Lower triangle in CSC form, diagonal included.
    dense : int
        Variables with more neighbours than this are put last, without looking at them further.

    Returns
    -------
    int64 array, shape (n,)
        ``perm[k]`` is the variable eliminated at step k.
    """
    slot, lists = _adjacency(n, indptr, indices)
    n_elements, n_variables = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    is_dense = np.zeros(n, dtype=np.bool_)
    e_start, e_size = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    members, used = np.empty(len(lists) + n, dtype=np.int32), 0
    mark, stamp = _none(n), _none(n)
    outside, degree = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    head, after, before = _none(n), _none(n), _none(n)
    perm = np.empty(n, dtype=np.int64)

    left = 0
    for i in range(n):
        is_dense[i] = slot[i + 1] - slot[i] > dense
    for i in range(n):
        if is_dense[i]:
            continue
        left += 1
        for s in range(slot[i], slot[i + 1]):
            if not is_dense[lists[s]]:
                lists[slot[i] + n_variables[i]] = lists[s]
                n_variables[i] += 1
        _insert(i, n_variables[i], head, after, before, degree)
    step, last = left, n
    for i in range(n - 1, -1, -1):
        if is_dense[i]:
            last -= 1
            perm[last] = i

    smallest = 0
    for step in range(left):
        while head[smallest] < 0:
            smallest += 1
        p = head[smallest]
        _remove(p, head, after, before, degree)
        perm[step] = p
        if used + left > len(members):
            grown = np.empty(2 * len(members) + left, dtype=np.int32)
            for m in range(used):
                grown[m] = members[m]
            members = grown
        end = _gather_element(p, slot, n_elements, n_variables, lists, e_start, e_size, members, used, mark)
        e_start[p], e_size[p] = used, end - used
        used = end
        _count_outside(p, slot, n_elements, lists, e_start, e_size, members, outside, stamp)
        for m in range(e_start[p], used):
            i = members[m]
            _remove(i, head, after, before, degree)
            d = _prune(i, p, slot, n_elements, n_variables, lists, e_size, outside, mark)
            d = min(d + e_size[p] - 1, left - step - 2)
            _insert(i, d, head, after, before, degree)
            smallest = min(smallest, d)
    return perm
