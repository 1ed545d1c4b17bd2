# One process that fits with lme4 or glmmTMB, one fit per request (Rscript r_worker.R lme4).
# Requests and answers: see wire.py and wire.R.
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(here, "wire.R"))
program <- commandArgs(trailingOnly = TRUE)[1]
suppressPackageStartupMessages(library(program, character.only = TRUE))

state <- new.env()

peak_memory <- function() {
  if (!file.exists("/proc/self/status")) return(NA)
  line <- grep("^VmHWM:", readLines("/proc/self/status"), value = TRUE)
  1024 * as.numeric(sub("^VmHWM:\\s*([0-9]+).*", "\\1", line))
}

family_of <- function(name) switch(name, binomial = binomial(), poisson = poisson(), gaussian = gaussian())

fit_lme4 <- function() {
  if (!is.null(state$case$reml)) return(lmer(state$formula, state$data, REML = state$case$reml))
  glmer(state$formula, state$data, family = family_of(state$case$family), nAGQ = state$case$n_agq)
}

fit_glmmTMB <- function() {
  glmmTMB(state$formula, state$data, family = family_of(state$case$family), REML = isTRUE(state$case$reml))
}

# The values of one fit that the referee needs, read off after the clock has stopped.
describe <- function(model) {
  if (program == "lme4") {
    beta <- fixef(model)
    variances <- VarCorr(model)
  } else {
    beta <- fixef(model)$cond
    variances <- VarCorr(model)$cond
  }
  terms <- lapply(names(variances), function(group) {
    covariance <- variances[[group]]
    list(
      group = sub("\\.[0-9]+$", "", group), columns = I(rownames(covariance)),
      covariance = matrix(covariance, nrow(covariance))
    )
  })
  list(
    peak = peak_memory(), names = I(names(beta)), beta = I(unname(beta)), terms = terms, sigma = sigma(model),
    loglik = as.numeric(logLik(model)), messages = I(unique(state$messages))
  )
}

# As wire.burst: median times of some fits in a row, the first left out if there are others.
burst <- function(repeats) {
  runs <- lapply(seq_len(repeats), function(i) timed_fit())
  if (repeats > 1) runs <- runs[-1]
  list(wall = median(vapply(runs, `[[`, 0, "wall")), cpu = median(vapply(runs, `[[`, 0, "cpu")))
}

timed_fit <- function() {
  invisible(gc())
  state$messages <- character()
  wall <- as.numeric(Sys.time())
  cpu <- proc.time()[1:2]
  state$model <- withCallingHandlers(
    if (program == "lme4") fit_lme4() else fit_glmmTMB(),
    warning = function(w) {
      state$messages <- c(state$messages, substr(conditionMessage(w), 1, 200))
      invokeRestart("muffleWarning")
    },
    message = function(m) {
      state$messages <- c(state$messages, substr(conditionMessage(m), 1, 200))
      invokeRestart("muffleMessage")
    }
  )
  list(wall = as.numeric(Sys.time()) - wall, cpu = sum(proc.time()[1:2] - cpu))
}

respond <- function(request) {
  switch(request$do,
    version = list(version = as.character(packageVersion(program)), language = R.version$version.string),
    load = {
      state$case <- request
      state$data <- read_columns(request$folder)
      state$formula <- as.formula(request$formula)
      list(peak = peak_memory())
    },
    fit = burst(request$times),
    describe = describe(state$model)
  )
}

serve(respond)
