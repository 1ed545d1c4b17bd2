"""Comparison of refglmm with published figures and with other software.

``python -m validation`` fits every example that estimation can reach and writes ``validation/report.md``.
The modules, in reading order: ``tolerance`` (how far two correct programs may be apart, and why), ``prepare``
(the data of each example), ``models`` (one fit through the public interface, and the numbers read off it),
``entries`` (which entry of ``published.json`` is which fit), ``compare`` (one entry against our fits),
``peers`` (numbers of other software, run for this purpose), ``report`` (the table), ``explained``
(differences with a known cause), ``runner`` (walks all of it).
"""
