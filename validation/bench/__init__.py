"""How fast the fits are, beside lme4, glmmTMB, glmm and gpboost, in one run on one machine.

``python -m validation.bench.run`` (``make bench``) writes ``validation/bench/report.md``, the picture
``time_against_n.png`` and ``results.json``, from which ``python -m validation.bench.report`` makes the
other two again. ``--quick`` takes two repeats of the small models; ``--only cbpp,VerbAgg`` measures some
models anew and keeps the rest of ``results.json``; ``--peers refglmm,glmm`` leaves software out; ``--budget
300`` is the number of seconds after which a fit is given up.

**How it is measured.** Every program runs in a process of its own, which is started for one model, reads
the data once and then fits once per request, so that the repeats of all programs alternate: what disturbs
the machine disturbs them all; one turn of a fast program is a few fits in a row. A fit goes from the data
frame to the fitted object. The first one is thrown away (it compiles and fills caches); of the others the
median counts. All run on one thread. A program whose first fit takes more than half a minute is not asked
again, and one that runs out of the budget is stopped; the report says so.

**What is compared besides time.** The estimates of every program go into refglmm's exact objective; ours
must not be worse. Peak memory is the kernel's own high-water mark of each process.

The modules, in reading order: ``cases`` (models and data), ``wire`` (data and requests between the
processes), ``worker_refglmm``, ``worker_python``, ``r_worker.R`` (one fit per request), ``referee``
(everybody's estimates in our objective), ``instrument`` (where the time goes), ``floor`` (the least it
could take), ``peers`` (starts and asks the workers), ``startup`` (fresh processes), ``plot``, ``report``,
``run``.
"""
