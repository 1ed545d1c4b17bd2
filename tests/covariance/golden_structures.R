# Golden numbers of test_structured_fits.py: glmmTMB 1.1.5 (TMB 1.9.2) on R 4.2.2, run with `Rscript golden_structures.R`.
# Prints logLik, fixed effects and theta (log SDs first) of generalized linear mixed models with structured terms.
suppressMessages(library(glmmTMB))
options(digits = 13)

show <- function(name, model) {
  at <- model$fit$par
  cat(name, "logLik", logLik(model), "\n  beta", at[names(at) == "beta"], "\n  theta", at[names(at) == "theta"],
      "\n  se", sqrt(diag(vcov(model)$cond)), "\n")
}

epil <- MASS::epil
epil$time <- numFactor(epil$period + (epil$period > 2))  # visits at 1, 2, 4, 5
show("ou", glmmTMB(y ~ trt + ou(0 + time | subject), epil, family = poisson))

# counts on a 7 x 7 lattice, three to a place, without random numbers
lattice <- expand.grid(z = 0:2, b = 0:6, a = 0:6)
eta <- with(lattice, 1 + sin(1.7 * a) * cos(1.1 * b) + 0.3 * z)
noise <- with(lattice, (7 * a + 11 * b * b + 5 * z * (a + 1)) %% 13)
lattice$count <- floor(exp(eta) * (0.5 + noise / 12))
lattice$all <- factor("one")
lattice$place <- numFactor(lattice$a, lattice$b)
for (structure in c("exp", "gau"))
  show(structure, glmmTMB(as.formula(sprintf("count ~ z + %s(0 + place | all)", structure)), lattice, family = poisson))

data(Salamanders)
for (d in 1:2)
  show(paste0("rr", d), glmmTMB(as.formula(sprintf("count ~ spp + rr(0 + spp | site, d = %d)", d)), Salamanders,
                                family = poisson))
show("toep", glmmTMB(count ~ mined + toep(0 + spp | site), Salamanders, family = poisson))
