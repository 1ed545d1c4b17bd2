# One process that samples with rstanarm (Rscript r_worker.R). Requests and answers: see wire.py and wire.R of
# validation/bench.
# rstanarm's own model code is compiled with the package, so there is nothing to compile here.
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(here, "..", "bench", "wire.R"))
suppressPackageStartupMessages(library(rstanarm))

state <- new.env()

# Fixed effects in the order of the model matrix, then the SD of each grouping factor in the order asked for.
parameters <- function(fit) {
  draws <- as.array(fit)
  sd_names <- sprintf("Sigma[%s:(Intercept),(Intercept)]", state$case$groups)
  fixed <- names(fixef(fit))
  sds <- sqrt(draws[, , sd_names, drop = FALSE])
  values <- array(c(draws[, , fixed], sds), c(dim(draws)[1:2], length(fixed) + length(sd_names)))
  aperm(values, c(3, 1, 2)) # written column by column: parameters fastest, chains slowest
}

sample <- function(request) {
  priors <- state$case$priors
  wall <- as.numeric(Sys.time())
  fit <- suppressWarnings(stan_glmer(
    state$formula, state$data, family = binomial(), refresh = 0,
    prior = normal(0, priors$slope, autoscale = FALSE),
    prior_intercept = normal(0, priors$intercept, autoscale = FALSE),
    prior_covariance = decov(shape = 1, scale = priors$sd),
    chains = request$chains, iter = request$warmup + request$draws, warmup = request$warmup,
    cores = request$cores, seed = request$seed
  ))
  wall <- as.numeric(Sys.time()) - wall
  writeBin(as.double(parameters(fit)), request$file)
  info <- rstan::get_sampler_params(fit$stanfit, inc_warmup = FALSE)
  list(
    wall = wall, sampling = sum(rstan::get_elapsed_time(fit$stanfit)) / request$cores,
    divergent = sum(sapply(info, function(x) sum(x[, "divergent__"]))),
    leapfrogs = mean(sapply(info, function(x) mean(x[, "n_leapfrog__"])))
  )
}

respond <- function(request) {
  switch(request$do,
    version = list(
      version = as.character(packageVersion("rstanarm")),
      `stands on` = list(rstan = as.character(packageVersion("rstan")), R = R.version$version.string)
    ),
    load = {
      state$case <- request
      state$data <- read_columns(request$folder)
      state$formula <- as.formula(request$formula)
      list()
    },
    sample = sample(request)
  )
}

# stan_glmer() goes on with what is no fit when every chain failed to start, and fails in its turn.
failure <- function(e) {
  said <- conditionMessage(e)
  if (!grepl("atomic vectors", said, fixed = TRUE)) return(said)
  "no chain found a starting point of finite density in 100 attempts (drawn from (-2, 2) in the units of the data)"
}

serve(respond, failure)
