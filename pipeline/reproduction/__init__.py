"""The paper's Table 1 and Figure 4 again, with any data, and its figures beside ours.

data sets and columns (cells.py) -> data (data.py) -> the ordinary commands, a process each
(process.py, driver.py) -> Table (table.py) -> CSV, Markdown (markdown.py), picture (picture.py),
and MLflow's parent run
"""
