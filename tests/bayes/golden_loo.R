# Writes golden_loo.json: what R's loo says about golden_draws.csv. Run here: Rscript golden_loo.R
suppressMessages({library(loo); library(jsonlite)})
options(warn = -1)
draws <- read.csv("golden_draws.csv")
results <- list()
loos <- list()
for (model in c("a", "b")) {
  ll <- as.matrix(draws[paste0(model, 1:6)])
  smooth <- psis(-ll, r_eff = rep(0.7, 6))
  l <- loo(ll, r_eff = rep(0.7, 6))
  w <- waic(ll)
  loos[[model]] <- l
  results[[model]] <- list(
    khat = unname(pareto_k_values(smooth)), psis_ess = psis_n_eff_values(smooth),
    loo = unname(l$estimates), loo_elpd = unname(l$pointwise[, "elpd_loo"]),
    mcse = unname(l$pointwise[, "mcse_elpd_loo"]),
    waic = unname(w$estimates), waic_elpd = unname(w$pointwise[, "elpd_waic"]))
}
lpd <- sapply(loos, function(l) l$pointwise[, "elpd_loo"])
compared <- loo_compare(loos)
density_map <- sapply(c("iid", "sticky", "swinging", "apart", "wide"), function(name) {
  d <- density(draws[[name]], n = 2^15)
  d$x[which.max(d$y)]
})
out <- list(
  versions = list(R = as.character(getRversion()), loo = as.character(packageVersion("loo"))),
  data = list(file = "golden_draws.csv", md5 = unname(tools::md5sum("golden_draws.csv"))),
  models = results,
  compare = list(order = rownames(compared), elpd_diff = unname(compared[, "elpd_diff"]),
                 se_diff = unname(compared[, "se_diff"])),
  stacking = as.numeric(stacking_weights(lpd, optim_control = list(reltol = 1e-14))),
  pseudo_bma = as.numeric(pseudobma_weights(lpd, BB = FALSE)),
  density_map = as.list(density_map))
write(toJSON(out, auto_unbox = TRUE, digits = NA, pretty = TRUE), "golden_loo.json")
