"""Does ``rg.crosscheck`` tell the truth? Reports whose truth is known from elsewhere, and its verdicts on them.

``python -m validation.crosscheck`` runs every case and writes ``report.md`` with a confusion table. The truth of a case
never comes from crosscheck: it comes from independent maxima of the same objective, from fully converged fits of other
software, from log-likelihoods evaluated elsewhere at the reported estimates, or from what was done to the numbers.
"""
