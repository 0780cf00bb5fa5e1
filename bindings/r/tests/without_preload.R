# In an R that was started without the preload, every function says how to start it, and nothing else is wrong.
library(exm)
if (!exm_present()) {
  message_of <- function(expr) tryCatch({ expr; "no error" }, error = conditionMessage)
  hint <- "start R with `exm R` or `spillway run R`"
  stopifnot(
    grepl(hint, message_of(exm_version()), fixed = TRUE),
    grepl(hint, message_of(exm_threshold()), fixed = TRUE),
    grepl(hint, message_of(exm_threshold("64M")), fixed = TRUE),
    grepl(hint, message_of(exm_path()), fixed = TRUE),
    grepl(hint, message_of(exm_path("/tmp")), fixed = TRUE),
    grepl(hint, message_of(exm_cow("shared")), fixed = TRUE),
    grepl(hint, message_of(exm_lookup(1)), fixed = TRUE),
    grepl(hint, message_of(exm_madvise(1, "random")), fixed = TRUE)
  )
} else {
  cat("SKIPPED: R runs under the preload\n")
}
