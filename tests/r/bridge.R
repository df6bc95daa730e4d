# Reference values of tests/unit/test_export.py and test_methods.py, from R itself.
#
#   Rscript tests/r/bridge.R FOLDER
#
# reads FOLDER/data/*.tsv (of reference.R) and writes FOLDER/bridge.tsv, one number per row.

arguments <- commandArgs(trailingOnly = TRUE)
folder <- if (length(arguments)) arguments[1] else "tests/r"
rows <- list()
note <- function(kind, case, ...) {
  values <- list(...)
  rows[[length(rows) + 1]] <<- data.frame(
    kind = kind, case = case, quantity = names(values), value = unname(unlist(values)))
}
read <- function(name) read.delim(file.path(folder, "data", paste0(name, ".tsv")))

# Blom's normal scores, of data with ties and missing values
for (case in list(c("airquality", "Ozone"), c("rounded", "left"), c("faithful", "eruptions"))) {
  values <- read(case[1])[[case[2]]]
  score <- qnorm((rank(values, na.last = "keep") - 3 / 8) / (sum(!is.na(values)) + 1 / 4))
  at <- c(1, 2, 3, 5, 26, 77, 100)
  note("blom", paste(case, collapse = "-"), sd = sd(score, na.rm = TRUE))
  shown <- as.list(score[at]); names(shown) <- paste0("at_", at)
  do.call(note, c(list("blom", paste(case, collapse = "-")), shown))
}

table <- do.call(rbind, rows)
table$value <- ifelse(is.na(table$value), "", formatC(table$value, digits = 17, format = "g", width = 0))
write.table(table, file.path(folder, "bridge.tsv"), sep = "\t", quote = FALSE, row.names = FALSE)
