# A value as JSON: what has names becomes an object, a list or a longer vector an array, NULL and what is
# not finite null. Numbers keep 17 significant digits.
refglmm_json <- function(x, indent = "") {
  inner <- paste0(indent, "  ")
  text <- function(s) paste0("\"", gsub("([\"\\\\])", "\\\\\\1", enc2utf8(as.character(s))), "\"")
  wrap <- function(parts, open, close) {
    if (length(parts) == 0) return(paste0(open, close))
    paste0(open, "\n", paste0(inner, parts, collapse = ",\n"), "\n", indent, close)
  }
  if (is.null(x)) return("null")
  named <- !is.null(names(x))
  if (named || is.list(x) || length(x) != 1) {
    parts <- vapply(unname(as.list(x)), refglmm_json, "", indent = inner)
    if (named) return(wrap(paste0(text(names(x)), ": ", parts), "{", "}"))
    return(wrap(parts, "[", "]"))
  }
  if (is.na(x) || (is.numeric(x) && !is.finite(x))) return("null")
  if (is.logical(x)) return(if (x) "true" else "false")
  if (is.numeric(x)) return(format(x, digits = 17, scientific = NA))
  text(x)
}

# Standard deviations and correlations of one covariance matrix, one row each.
refglmm_rows <- function(group, covariance) {
  names <- colnames(covariance)
  sd <- sqrt(diag(covariance))
  rows <- lapply(seq_along(names), function(i)
    list(group = group, name = names[i], name2 = NULL, value = unname(sd[i])))
  for (j in seq_along(names)) for (i in seq_len(j - 1))
    rows <- c(rows, list(list(group = group, name = names[i], name2 = names[j],
                              value = covariance[i, j] / (sd[[i]] * sd[[j]]))))
  rows
}
