# Under the preload: every function, on vectors below and above the threshold.
library(exm)

message_of <- function(expr) tryCatch({ expr; "no error" }, error = conditionMessage)
is_error <- function(expr, text) grepl(text, message_of(expr), fixed = TRUE)

if (exm_present()) {
  stopifnot(is.numeric(exm_version()), exm_version() > 0)

  # The threshold: numbers, more than an integer can hold, texts; what is none of these changes nothing.
  stopifnot(
    identical(exm_threshold(3e9), 3e9), identical(exm_threshold(), 3e9),
    identical(exm_threshold("2 GiB"), 2^31), identical(exm_threshold("1.5G"), 1.5 * 2^30),
    identical(exm_threshold("0x100000"), 2^20), identical(exm_threshold("64k"), 65536),
    identical(exm_threshold("4096b"), 4096), identical(exm_threshold(2L^20L), 2^20)
  )
  for (bad in list("abc", "-1", "1e9x", "", "0x", "1..5", "100P", -1, 0, NA, NaN, Inf, NA_character_, 1:2, NULL, TRUE,
                   list(1))) {
    stopifnot(is_error(exm_threshold(bad), "expected a number of bytes, or a text such as"))
  }
  stopifnot(identical(exm_threshold(), 2^20))

  # Lookup: a file for the large vector, of at least its size, that can be opened; none for small objects. Where
  # large vectors are in memory and spill from there, there is none for any.
  exm_threshold("1M")
  large <- numeric(1e6) + 1
  path <- exm_lookup(large)
  in_files <- !is.null(path)
  if (in_files) {
    stopifnot(is.character(path), length(path) == 1L, file.exists(path), file.size(path) >= 8e6)
    file <- file(path, "rb")
    stopifnot(length(readBin(file, "raw", 4096)) == 4096)
    close(file)
    stopifnot(!is.null(exm_lookup(matrix(0L, 1000, 1000))), !is.null(exm_lookup(raw(2^20))),
              !is.null(exm_lookup(vector("list", 2^18))), !is.null(exm_lookup(complex(2^17))))
  }
  stopifnot(is.null(exm_lookup(pi)), is.null(exm_lookup(NULL)), is.null(exm_lookup(letters)),
            is.null(exm_lookup(globalenv())), is.null(exm_lookup(sum)), is.null(exm_lookup(quote(x))),
            is.null(exm_lookup(1:1e9)))  # compact: two numbers
  table <- data.frame(large)
  stopifnot(is.null(exm_lookup(table)), identical(is.null(exm_lookup(table$large)), !in_files))

  # Advice.
  for (advice in c("normal", "random", "sequential")) stopifnot(exm_madvise(large, advice), sum(large) == 1e6)
  stopifnot(is_error(exm_madvise(pi, "random"), "not a vector above exm_threshold()"),
            is_error(exm_madvise(large, "often"), "should be one of"))

  # The directory: later vectors are there, what exists stays readable, a bad one changes nothing.
  before <- exm_path()
  stopifnot(is.character(before), dir.exists(before))
  elsewhere <- file.path(getwd(), "exm-files")
  dir.create(elsewhere)
  stopifnot(identical(exm_path(elsewhere), normalizePath(elsewhere)), identical(exm_path(), normalizePath(elsewhere)))
  there <- numeric(1e6) + 2
  if (in_files) stopifnot(startsWith(Sys.readlink(exm_lookup(there)), normalizePath(elsewhere)))
  stopifnot(sum(there) == 2e6, sum(large) == 1e6)
  stopifnot(is_error(exm_path("/nonexistent/directory"), "'/nonexistent/directory' cannot hold files"),
            is_error(exm_path(NA_character_), "the name of one directory"),
            is_error(exm_path(c("/tmp", "/var/tmp")), "the name of one directory"),
            identical(exm_path(), normalizePath(elsewhere)))
  exm_path(before)

  # Forks. A copy is exact on both sides, whichever way it is made.
  in_child <- function(expr) parallel::mccollect(parallel::mcparallel(expr))[[1L]]
  for (mode in c("copy on write", "duplicate")) {
    stopifnot(identical(exm_cow(mode), mode))
    x <- numeric(1e6) + 3
    stopifnot(in_child({ x[] <- 4; sum(x) }) == 4e6, sum(x) == 3e6)
  }
  stopifnot(identical(exm_cow("shared"), "shared"), identical(exm_cow(), "copy on write"),
            is_error(exm_cow("maybe"), "should be one of"))
} else {
  cat("SKIPPED: R runs without the preload\n")
}
