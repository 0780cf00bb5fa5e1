# The functions check what a person gave them; the C code behind them (src/exm.c) reaches the preloaded library and
# raises the error when there is none.

exm_present <- function() .Call(C_present)

exm_version <- function() .Call(C_version)

exm_threshold <- function(bytes) {
  if (missing(bytes)) return(.Call(C_threshold, 0))
  invisible(.Call(C_threshold, parse_size(bytes)))
}

exm_path <- function(path) {
  if (missing(path)) return(.Call(C_path, NULL))
  if (!is.character(path) || length(path) != 1L || is.na(path)) stop("'path' must be the name of one directory")
  # Absolute, so that a later setwd() does not move it.
  invisible(.Call(C_path, enc2native(normalizePath(path, mustWork = FALSE))))
}

cow_modes <- c(shared = 0L, "copy on write" = 1L, duplicate = 2L)

exm_cow <- function(mode = c("copy on write", "shared", "duplicate")) {
  mode <- match.arg(mode)
  in_force <- .Call(C_cow, cow_modes[[mode]])
  invisible(names(cow_modes)[match(in_force, cow_modes)])
}

exm_lookup <- function(object) .Call(C_lookup, object)

exm_madvise <- function(object, advice = c("normal", "random", "sequential")) {
  advice <- match.arg(advice)
  invisible(.Call(C_madvise, object, advice))
}

# Bytes from a number or from a text such as "64M": the sizes of `spillway run --threshold`.
parse_size <- function(size) {
  forms <- "a number of bytes, or a text such as \"4096\", \"64k\", \"64M\", \"1.5G\", \"64MiB\" or \"0x100000\""
  bytes <- NA_real_
  if (is.numeric(size) && length(size) == 1L) {
    bytes <- as.numeric(size)
  } else if (is.character(size) && length(size) == 1L && !is.na(size)) {
    number <- "(0x[0-9a-f]+|[0-9]+(?:\\.[0-9]+)?)"
    match <- regmatches(size, regexec(paste0("^\\s*", number, "\\s*(?:b|([kmgtp])i?b?)?\\s*$"), size, TRUE, TRUE))[[1L]]
    if (length(match)) {
      # A hexadecimal number takes all the letters it can: "0x1b" is 27.
      bytes <- as.numeric(match[2L]) * 1024^(match(tolower(match[3L]), c("", "k", "m", "g", "t", "p")) - 1)
    }
  }
  if (is.na(bytes) || bytes < 1 || bytes > 2^53) {
    stop("'bytes' is ", deparse(size, nlines = 1L)[1L], "; expected ", forms, call. = FALSE)
  }
  floor(bytes)
}
