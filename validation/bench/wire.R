# What passes between the processes, the R half of wire.py. Scripts read it before the package that they run.
suppressPackageStartupMessages(library(jsonlite))

answer <- function(x) {
  cat("@answer ", toJSON(x, auto_unbox = TRUE, digits = NA, na = "null"), "\n", sep = "")
  flush(stdout())
}

# A data frame that write_columns of wire.py wrote.
read_columns <- function(folder) {
  listing <- fromJSON(file.path(folder, "columns.json"), simplifyVector = FALSE)
  data <- lapply(listing$columns, function(column) {
    file <- file.path(folder, column$file)
    if (is.null(column$levels)) return(readBin(file, "double", listing$rows))
    codes <- readBin(file, "integer", listing$rows) + 1L
    codes[codes == 0L] <- NA # pandas writes -1 for a missing value
    class <- if (isTRUE(column$ordered)) c("ordered", "factor") else "factor"
    structure(codes, levels = unlist(column$levels), class = class)
  })
  names(data) <- vapply(listing$columns, function(column) column$name, "")
  as.data.frame(data, optional = TRUE)
}

# Answer requests from standard input until it ends; an error becomes an answer too.
serve <- function(respond, failure = conditionMessage) {
  input <- file("stdin", "r")
  while (length(line <- readLines(input, n = 1)) > 0) {
    answer(tryCatch(respond(fromJSON(line)), error = function(e) list(error = failure(e))))
  }
}
