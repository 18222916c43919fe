# Writes the six records of make.py with R's arrow, as its users would: a data frame with columns of lists and a factor.
#
#     Rscript make.R        # needs the package arrow

library(arrow)

i <- 0:5
frame <- data.frame(
  age = c(30L, NA, 32L, 33L, 34L, 35L),
  kind = factor(c("cat", "dog", "bird", "dog", "cat", "cat")),
  score = i / 4
)
frame$x <- lapply(i, function(i) c(i, i / 2, -i))
frame$grid <- lapply(i, function(i) list(c(i, i + 1), c(i + 2, i + 3)))

write_parquet(frame, "r.parquet")
write_feather(frame, "r.feather")
write_ipc_stream(frame, "r.stream.arrow")
