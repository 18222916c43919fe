"""Writes the same six records with pandas, polars, pyarrow and datasets, as their users would.

    pip install pandas polars pyarrow datasets
    python make.py

`x` is a list of three numbers, `grid` a nested one of 2 by 2, `age` has a missing value, `kind` is the name of a class.
"""

import os
import shutil

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

N = 6
x = [[float(i), i / 2, -float(i)] for i in range(N)]
grid = [[[i, i + 1], [i + 2, i + 3]] for i in range(N)]
age = [30, None, 32, 33, 34, 35]
kind = ["cat", "dog", "bird", "dog", "cat", "cat"]
score = [i / 4 for i in range(N)]
byte = [[0, 51, 255]] * N

frame = pd.DataFrame({"x": [np.array(row) for row in x], "age": age, "kind": pd.Categorical(kind), "score": score})
frame.to_parquet("pandas.parquet")
frame.to_feather("pandas.feather")
frame.drop(columns="x").to_csv("pandas.csv", index=False)

polar = pl.DataFrame(
    {"x": x, "grid": grid, "age": age, "kind": kind, "score": score},
    schema={
        "x": pl.Array(pl.Float32, 3),
        "grid": pl.List(pl.List(pl.Int64)),
        "age": pl.Int32,
        "kind": pl.Categorical,
        "score": pl.Float64,
    },
)
polar.write_parquet("polars.parquet")
polar.write_ipc("polars.arrow")
polar.drop("x", "grid").write_csv("polars.csv")

table = pa.table(
    {
        "x": pa.FixedSizeListArray.from_arrays(pa.array(np.array(x, np.float16).ravel()), 3),
        "grid": pa.array(grid, pa.list_(pa.list_(pa.uint16(), 2), 2)),
        "byte": pa.array(byte, pa.list_(pa.uint8())),
        "age": pa.array(age, pa.uint8()),
        "kind": pa.array(kind).dictionary_encode(),
        "score": pa.array(score),
    }
)
os.makedirs("parts", exist_ok=True)
pq.write_table(table.slice(0, 4), "parts/part-0.parquet", compression="zstd")
pq.write_table(table.slice(4), "parts/part-1.parquet", compression="none")
pyarrow.feather.write_feather(table, "pyarrow.feather", compression="zstd")

datasets.Dataset.from_dict({"x": x, "grid": grid, "age": age, "kind": kind, "score": score}).save_to_disk("saved")
shutil.move("saved/data-00000-of-00001.arrow", "datasets.arrow")
shutil.rmtree("saved")
