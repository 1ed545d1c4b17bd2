# What the scripts of this folder share. Each is called with a folder, in which cases.json says what to fit and
# <data>/columns.json holds each data frame, and the file that gets one line of JSON a fit.

# Stop with one line, and without failing, where a package is missing.
needs <- function(package, how) {
  if (requireNamespace(package, quietly = TRUE)) return(invisible())
  cat(package, " is not installed here: ", how, "\n", sep = "")
  quit(status = 0)
}

needs("jsonlite", "apt-get install r-cran-jsonlite")
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(here, "..", "bench", "wire.R"))

versions_of <- function(packages) {
  found <- lapply(packages, function(package) as.character(packageVersion(package)))
  c(list(R = as.character(getRversion())), setNames(found, packages))
}

# Evaluate a call and keep what it says by the way; an error becomes a field.
fitted_by <- function(call, environment) {
  said <- character()
  start <- proc.time()[["elapsed"]]
  model <- withCallingHandlers(
    tryCatch(eval(parse(text = call), environment), error = identity),
    warning = function(w) {
      said <<- c(said, conditionMessage(w))
      invokeRestart("muffleWarning")
    },
    message = function(m) {
      said <<- c(said, conditionMessage(m))
      invokeRestart("muffleMessage")
    }
  )
  list(model = model, messages = I(unique(said)), seconds = round(proc.time()[["elapsed"]] - start, 3))
}

# Every case in turn; `describe` reads a fit, `refusal` gives the reason not to try a case, or NULL.
run_cases <- function(versions, environment, describe, refusal = function(case) NULL) {
  arguments <- commandArgs(trailingOnly = TRUE)
  folder <- arguments[1]
  out <- file(arguments[2], "w")
  cases <- fromJSON(file.path(folder, "cases.json"), simplifyVector = FALSE)
  for (name in unique(vapply(cases, function(case) case$data, ""))) {
    environment[[name]] <- read_columns(file.path(folder, name))
  }
  for (case in cases) {
    line <- list(case = case$case, versions = versions, call = case$call)
    why <- refusal(case)
    if (is.null(why)) {
      found <- fitted_by(case$call, environment)
      result <- tryCatch(describe(found$model), error = identity)
      if (inherits(found$model, "condition")) result <- found$model
      if (inherits(result, "condition")) result <- list(error = conditionMessage(result))
      line <- c(line, Filter(Negate(is.null), result), found[c("seconds", "messages")])
    } else {
      line$refused <- why
    }
    writeLines(toJSON(line, auto_unbox = TRUE, digits = I(12), na = "null", null = "null"), out)
    cat("@done ", case$case, "\n", sep = "")
    flush(stdout())
  }
  close(out)
}
